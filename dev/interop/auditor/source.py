"""Where a log's files come from: a folder, or a server."""

import ssl
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from .fault import Unavailable

TIMEOUT = 60


class Source(Protocol):
    def read(self, path: str, most: int) -> bytes:
        """The file at this path below the log's prefix; of one longer than `most` bytes, one byte more than that."""
        ...


class Folder:
    """A copy of the log: the files that a mirror holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, path: str, most: int) -> bytes:
        try:
            with open(self.path / path, "rb") as file:
                return file.read(most + 1)
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error}") from error


class Server:
    """A server's `/log/`.

    Any certificate is taken: everything is verified by its contents, so whoever stands in between can withhold the log,
    as the server can, and do nothing else.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/"):
            raise Unavailable(f"{url} is not of the form https://host:port")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # The server tells its protocols apart by name.
        context.set_alpn_protocols(["http/1.1"])
        self.connection = HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT, context=context)

    def read(self, path: str, most: int) -> bytes:
        try:
            return self._ask(path, most)
        except (HTTPException, OSError):
            # A server may end an idle connection at any time; the second try opens a new one.
            self.connection.close()
        try:
            return self._ask(path, most)
        except (HTTPException, OSError) as error:
            raise Unavailable(f"/log/{path} cannot be fetched: {error}") from error

    def _ask(self, path: str, most: int) -> bytes:
        self.connection.request("GET", f"/log/{path}")
        response = self.connection.getresponse()
        data = response.read(most + 1)
        if response.status != 200 or len(data) > most:
            # What was not read to its end would stand before the next answer.
            self.connection.close()
        if response.status != 200:
            raise Unavailable(f"/log/{path} is answered with {response.status} {response.reason}")
        return data

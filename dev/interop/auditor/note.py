"""Notes, checkpoints, cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature; rules KT-1 and KT-2)."""

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256

from . import curve
from .fault import Fault, Malformed
from .merkle import EMPTY_ROOT

MAX_NOTE = 64 * 1024
MAX_LINES = 64
MAX_NAME = 512
# The types of signatures in key ids and verifier keys.
LOG, WITNESS = 0x01, 0x04
# Seconds by which a witness's clock may be ahead of ours.
MAX_AHEAD = 300


def unbase64(text: str) -> bytes:
    """Standard base64, padded, in the one form that encoding gives."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Malformed("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Malformed("base64 that is not in its one form")
    return data


def is_name(text: str) -> bool:
    """Whether a key or a log can have this name."""
    odd = (c == "+" or c.isspace() or unicodedata.category(c) == "Cc" for c in text)
    return 0 < len(text.encode()) <= MAX_NAME and not any(odd)


@dataclass(frozen=True)
class VerifierKey:
    """A key with the name under which it signs: `<name>+<key id>+<base64 of type and key>`."""

    name: str
    kind: int
    key: bytes

    @classmethod
    def parse(cls, text: str, kind: int) -> "VerifierKey":
        # The base64 may have a "+" in it, name and id have none.
        parts = text.split("+", 2)
        if len(parts) != 3 or not is_name(parts[0]):
            raise Malformed("a verifier key is name+id+key")
        typed = unbase64(parts[2])
        if len(typed) != 33 or typed[0] != kind:
            raise Malformed(f"the verifier key of {parts[0]} is not an Ed25519 key of type {kind}")
        key = cls(parts[0], kind, typed[1:])
        if key.id().hex() != parts[1]:
            raise Malformed(f"the verifier key of {parts[0]} has id {parts[1]}, its name and key make {key.id().hex()}")
        return key

    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key).digest()[:4]


@dataclass(frozen=True)
class Line:
    """A signature below a note: by whom it is said to be, and its bytes behind the key id."""

    name: str
    id: bytes
    blob: bytes

    def is_by(self, key: VerifierKey) -> bool:
        return (self.name, self.id) == (key.name, key.id())


@dataclass(frozen=True)
class Note:
    """A text, with the newline it ends in, and the lines below it."""

    text: str
    lines: list[Line]

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        if len(data) > MAX_NOTE:
            raise Malformed(f"the note has {len(data)} bytes, {MAX_NOTE} at most are allowed")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise Malformed("the note is not UTF-8") from error
        if any(c < " " and c != "\n" for c in whole):
            raise Malformed("the note has control characters")
        # The text may have empty lines of its own: the last one is the border.
        text, border, below = whole.rpartition("\n\n")
        if not border or not below.endswith("\n"):
            raise Malformed("the note has no signatures below its text")
        lines = below[:-1].split("\n")
        if len(lines) > MAX_LINES:
            raise Malformed(f"the note has {len(lines)} signatures, {MAX_LINES} at most are allowed")
        return cls(text + "\n", [_line(line) for line in lines])


def _line(text: str) -> Line:
    parts = text.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not is_name(parts[1]):
        raise Malformed(f"a malformed signature line: {text!r}")
    data = unbase64(parts[2])
    if len(data) < 5:
        raise Malformed(f"a signature line without a signature: {text!r}")
    return Line(parts[1], data[:4], data[4:])


@dataclass(frozen=True)
class Checkpoint:
    """What a log signed about itself, with the note as it came."""

    origin: str
    size: int
    root: bytes
    note: Note
    data: bytes


def _parse_checkpoint(data: bytes) -> Checkpoint:
    note = Note.parse(data)
    lines = note.text.split("\n")
    if len(lines) != 4 or lines[3] or not is_name(lines[0]):
        raise Malformed("a checkpoint has three lines: origin, size, root")
    digits = lines[1]
    if not re.fullmatch("0|[1-9][0-9]{0,19}", digits) or int(digits) >= 1 << 64:
        raise Malformed(f"the checkpoint's size is not a number: {digits[:30]!r}")
    size, root = int(digits), unbase64(lines[2])
    if len(root) != 32:
        raise Malformed("the checkpoint's root has not 32 bytes")
    if size == 0 and root != EMPTY_ROOT:
        raise Malformed(f"the checkpoint of an empty log has root {root.hex()}")
    return Checkpoint(lines[0], size, root, note, data)


def verify_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """Rule KT-1: a checkpoint of the log that this key belongs to, signed by it."""
    try:
        checkpoint = _parse_checkpoint(data)
    except Malformed as error:
        raise Fault("KT-1", str(error)) from error
    if checkpoint.origin != key.name:
        raise Fault("KT-1", f"the checkpoint is of {checkpoint.origin}, not of {key.name}")
    own = [line for line in checkpoint.note.lines if line.is_by(key)]
    if not own:
        raise Fault("KT-1", f"the checkpoint has no signature of {key.name} with key id {key.id().hex()}")
    # C2SP: a false signature of a known key spoils the note, even beside a good one.
    for line in own:
        if len(line.blob) != 64 or not curve.signed(key.key, checkpoint.note.text.encode(), line.blob):
            raise Fault("KT-1", f"the checkpoint of {checkpoint.size} leaves has a false signature of {key.name}")
    return checkpoint


def cosigned_at(checkpoint: Checkpoint, line: Line, key: VerifierKey) -> int | None:
    """The time of a witness's cosignature/v1 if it holds."""
    if len(line.blob) != 72:
        return None
    time = int.from_bytes(line.blob[:8], "big")
    message = f"cosignature/v1\ntime {time}\n{checkpoint.note.text}".encode()
    holds = 0 < time < 1 << 63 and curve.signed(key.key, message, line.blob[8:])
    return time if holds else None


def check_witnesses(checkpoint: Checkpoint, keys: list[VerifierKey], threshold: int, now: int) -> dict[str, int]:
    """Rule KT-2: as many of the known witnesses as are asked for cosigned, each counted once.

    Gives the newest time of each. Lines that do not hold merely do not count: whoever hands a checkpoint on could
    otherwise spoil it by adding one.
    """
    times: dict[str, int] = {}
    for key in keys:
        lines = (line for line in checkpoint.note.lines if line.is_by(key))
        found = (cosigned_at(checkpoint, line, key) for line in lines)
        good = [time for time in found if time is not None and time <= now + MAX_AHEAD]
        if good:
            times[key.name] = max(good)
    if len(times) < threshold:
        who = ", ".join(times) or "nobody"
        raise Fault("KT-2", f"{len(times)} of the witnesses cosigned ({who}), {threshold} have to")
    return times

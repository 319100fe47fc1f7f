#!/usr/bin/env python3
"""Audits a key directory of Undertone, independently of its own code.

    audit.py log --url https://host:port --log-key VKEY     a server's whole log
    audit.py folder DIR --log-key VKEY                      the same from files: DIR/checkpoint, DIR/tile/, DIR/audit/
    audit.py answer FILE --domain D --user U --log-key VKEY --vrf-key HEX
                                                            one answer to a look-up, as bytes

Exit status: 0 when everything holds; 1 with one line `KT-n: what is wrong` for the first fault; 2 when something could
not be read or the command line is wrong, which accuses nobody.
"""

import argparse
import os
import sys
import time
import unicodedata
from pathlib import Path

from auditor import answer, lists, log
from auditor.fault import Fault, Malformed, Unavailable
from auditor.note import LOG, WITNESS, VerifierKey
from auditor.source import Folder, Server
from auditor.vrf import PublicKey


def moment(text: str) -> answer.NewestAt:
    epoch, _, time_then = text.partition(":")
    return answer.NewestAt(int(epoch), int(time_then))


def arguments() -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--log-key", required=True, metavar="VKEY", help="the log's verifier key: name+id+key")
    common.add_argument("--witness", action="append", default=[], metavar="VKEY", help="a witness's verifier key")
    common.add_argument("--threshold", type=int, metavar="N", help="how many have to cosign (default: all named)")
    common.add_argument("--at", type=int, metavar="UNIX", help="the wall clock (default: now)")

    walk = argparse.ArgumentParser(add_help=False)
    walk.add_argument("--state", type=Path, help="what was seen before; replaced in the end")
    walk.add_argument("--vrf-key", metavar="HEX", help="the directory's VRF key, if it is known")

    parser = argparse.ArgumentParser(description="Audits a key directory of Undertone.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("log", parents=[common, walk], help="a server's whole log")
    command.add_argument("--url", required=True, help="https://host:port")
    command = commands.add_parser("folder", parents=[common, walk], help="the whole log from files")
    command.add_argument("folder", type=Path)
    command = commands.add_parser("answer", parents=[common], help="one answer to a look-up")
    command.add_argument("file", type=Path)
    command.add_argument("--domain", required=True)
    command.add_argument("--user", required=True, help="the name alone, or name@domain")
    command.add_argument("--vrf-key", required=True, metavar="HEX")
    command.add_argument("--seen", type=Path, help="what the asker had seen of the log (--state)")
    command.add_argument("--known", type=Path, help="the newest device list that the asker knew")
    command.add_argument(
        "--newest", type=moment, metavar="EPOCH:UNIX", help="up to when that list was the newest, by an earlier answer"
    )
    command.add_argument("--age", type=int, default=600, metavar="SECONDS", help="how old the directory may be (600)")
    return parser.parse_args()


def expectations(given: argparse.Namespace, seen: Path | None) -> log.Expectations:
    key = VerifierKey.parse(given.log_key, LOG)
    witnesses = [VerifierKey.parse(text, WITNESS) for text in given.witness]
    # The signed text does not name the witness, so with one key under two names one witness would count as two.
    if len({w.name for w in witnesses}) < len(witnesses) or len({w.key for w in witnesses}) < len(witnesses):
        raise Malformed("a witness is named twice")
    threshold = len(witnesses) if given.threshold is None else given.threshold
    if not 0 <= threshold <= len(witnesses):
        raise Malformed(f"{threshold} of {len(witnesses)} witnesses cannot be asked for")
    vrf_key = PublicKey(bytes.fromhex(given.vrf_key)).data if given.vrf_key else None
    remembered = log.Seen.parse(seen.read_bytes(), key) if seen and seen.exists() else None
    now = int(time.time()) if given.at is None else given.at
    return log.Expectations(key, witnesses, threshold, remembered, vrf_key, now)


def show(**lines: object) -> None:
    for name, value in lines.items():
        print(name, value.hex() if isinstance(value, bytes) else value)


def audit_log(given: argparse.Namespace) -> None:
    known = expectations(given, given.state)
    source = Server(given.url) if given.command == "log" else Folder(given.folder)
    report = log.audit(source, known)
    show(log=known.key.name, size=report.checkpoint.size, root=report.checkpoint.root)
    show(witnesses=" ".join(report.witnesses) or "none", seen=known.seen.checkpoint.size if known.seen else "nothing")
    if report.last is None:
        return
    show(epoch=report.last.epoch, directory=report.last.root, inserted=report.inserted, time=report.last.time)
    if given.state:
        # Either all of the old contents or all of the new ones: a damaged memory would end the comparing.
        partial = given.state.with_name(given.state.name + ".partial")
        partial.write_bytes(log.Seen(report.checkpoint, report.last).encode())
        os.replace(partial, given.state)


def audit_answer(given: argparse.Namespace) -> None:
    if given.seen and not given.seen.exists():
        raise Unavailable(f"{given.seen} is not there")
    known = expectations(given, given.seen)
    name, at, domain = given.user.partition("@")
    if at and domain != given.domain:
        raise Malformed(f"{given.user} is not of {given.domain}")
    # Names are compared as they stand in the directory; PRECIS, which brings them there, is not repeated here.
    if unicodedata.normalize("NFC", name.lower()) != name or given.domain.lower() != given.domain or not name:
        raise Malformed(f"write the user as the directory does, in small letters: {given.user}")
    user = f"{name}@{given.domain}"
    newest = lists.parse(given.known.read_bytes(), user) if given.known else None
    key = PublicKey(bytes.fromhex(given.vrf_key))
    question = answer.Question(given.domain, name, key, known, newest, given.newest, given.age)
    proven = answer.verify(given.file.read_bytes(), question)
    show(user=user)
    if proven.found:
        show(version=proven.found.version, list=proven.found.value, published=proven.found.published)
    else:
        show(version="none")
    show(epoch=proven.leaf.epoch, size=proven.checkpoint.size, root=proven.checkpoint.root, time=proven.leaf.time)
    show(witnesses=" ".join(proven.witnesses) or "none")


def main() -> int:
    given = arguments()
    try:
        if given.command == "answer":
            audit_answer(given)
        else:
            audit_log(given)
    except Fault as fault:
        print(fault)
        return 1
    except (Malformed, Unavailable, OSError, ValueError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

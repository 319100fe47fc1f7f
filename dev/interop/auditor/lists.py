"""Device lists (rules ID-2 and KT-7).

A list is signed by the account key, every record in it by its device, and each list is chained to the one before. A device
is let in by one that was there, or revokes all of those (rule ID-6). An account that begins anew says so (rule ID-7).
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from . import cbor, curve
from .fault import Malformed

LIST_LABEL = b"undertone/ID-2/list/v1\x00"
RECORD_LABEL = b"undertone/ID-2/record/v1\x00"
CONSENT_LABEL = b"undertone/ID-6/consent/v1\x00"
MAX_RECORDS = 64
MAX_LABEL = 64


@dataclass(frozen=True)
class Record:
    """One device, as it describes itself."""

    device: bytes
    version: int
    body: bytes
    identity: bytes
    # The consent that the device came with, and which device gave it.
    consent: tuple[bytes, bytes] | None
    by: bytes | None


@dataclass(frozen=True)
class DeviceList:
    """A list that holds by itself. Whether the account key is the right one is not for it to say."""

    hash: bytes
    account: bytes
    version: int
    previous: bytes | None
    records: list[Record]
    revoked: list[bytes]
    # The account key in whose place this list begins the account anew.
    anew: bytes | None

    def active(self) -> set[bytes]:
        """The devices that may act."""
        return {record.device for record in self.records} - set(self.revoked)


def parse(data: bytes, user: str) -> DeviceList:
    """Reads and checks a list of this user, CBOR [body, signature]."""
    body, signature = _signed(cbor.decode(data))
    fields = cbor.fields(cbor.decode(body), {0, 1, 2, 3, 5, 6}, {4, 7})
    if cbor.uint(fields[0], 8) != 1:
        raise Malformed(f"the list has format {fields[0]}")
    if cbor.text(fields[1]) != user:
        raise Malformed(f"the list is of {fields[1]}, not of {user}")
    account = cbor.octets(fields[2], 32)
    if not curve.signed(account, LIST_LABEL + body, signature):
        raise Malformed(f"the list is not signed by its account key {account.hex()}")
    version, previous = cbor.uint(fields[3], 32), fields.get(4)
    if previous is not None:
        cbor.octets(previous, 32)
    if version == 0 or (version == 1) != (previous is None):
        raise Malformed(f"version {version} of the list has a wrong link to the one before")
    records = [_record(record, user) for record in cbor.array(fields[5])]
    revoked = [cbor.octets(device, 16) for device in cbor.array(fields[6])]
    devices = {record.device for record in records}
    if len(records) > MAX_RECORDS or len(devices) != len(records):
        raise Malformed("the list has too many records, or two of one device")
    if revoked != sorted(set(revoked)) or not set(revoked) <= devices:
        raise Malformed("the list revokes devices out of order, twice, or that it does not name")
    anew = cbor.octets(fields[7], 32) if 7 in fields else None
    if anew is not None:
        alone = len(records) == 1 and records[0].consent is None and not revoked
        if not alone or version == 1 or anew == account:
            raise Malformed(f"version {version} of the list does not begin an account anew")
    found = DeviceList(sha256(data).digest(), account, version, previous, records, revoked, anew)
    for record in records:
        _check_consent(record, found, user)
    return found


def _check_consent(record: Record, within: DeviceList, user: str) -> None:
    """Rule ID-6: what a device came with is the word of another device in the list, about this one."""
    if record.consent is None:
        return
    body, signature = record.consent
    fields = cbor.fields(cbor.decode(body), {0, 1, 2, 3, 4})
    cbor.uint(fields[4])
    named = (cbor.uint(fields[0], 8), cbor.text(fields[1]), cbor.octets(fields[3], 16))
    if named != (1, user, record.device) or record.by == record.device:
        raise Malformed(f"device {record.device.hex()} came with a consent to something else")
    givers = [other.identity for other in within.records if other.device == record.by]
    if not givers or not curve.signed(givers[0], CONSENT_LABEL + body, signature):
        raise Malformed(f"device {record.device.hex()} came with a consent that no device of the list signed")


def check_next(before: DeviceList | None, newest: DeviceList, after: DeviceList) -> None:
    """What may stand behind the newest list; `before` is the one before that, if it was shown as well."""
    if (after.version, after.previous) != (newest.version + 1, newest.hash):
        raise Malformed(f"version {after.version} of the list does not follow version {newest.version}")
    if after.anew is not None:
        if after.anew != newest.account:
            raise Malformed(f"version {after.version} begins anew in the place of another account key")
    elif after.account == newest.account:
        _check_kept(newest, after)
    elif not (newest.anew and before and _takes_back(before, after)):
        raise Malformed(f"version {after.version} of the list is of another account key")


def _takes_back(before: DeviceList, after: DeviceList) -> bool:
    """Rule ID-7: the old key takes an announcement to begin anew back, and everything is as it was."""
    same = [record.body for record in before.records] == [record.body for record in after.records]
    return same and (before.account, before.revoked) == (after.account, after.revoked)


def _check_kept(before: DeviceList, after: DeviceList) -> None:
    """The same account key's next list takes nothing back, and adds nobody who was not let in."""
    kept = {record.device: record for record in after.records}
    for record in before.records:
        newer = kept.get(record.device)
        changed = newer is not None and newer.body != record.body
        if newer is None or (changed and (newer.version <= record.version or newer.consent != record.consent)):
            raise Malformed(f"version {after.version} takes back the record of device {record.device.hex()}")
    if not set(before.revoked) <= set(after.revoked):
        raise Malformed(f"version {after.version} of the list takes a revocation back")
    known = {record.device for record in before.records}
    alone = before.active() <= set(after.revoked)
    for record in after.records:
        let_in = alone if record.consent is None else record.by in before.active()
        if record.device not in known and not let_in:
            raise Malformed(f"device {record.device.hex()} was let in by none of the others")


def _signed(value: Any) -> tuple[bytes, bytes]:
    body, signature = cbor.array(value, 2)
    return cbor.octets(body), cbor.octets(signature, 64)


def _record(value: Any, user: str) -> Record:
    body, signature = _signed(value)
    fields = cbor.fields(cbor.decode(body), {0, 1, 2, 3, 6, 9, 11}, {4, 5, 12})
    identity, device = cbor.octets(fields[6], 32), cbor.octets(fields[2], 16)
    if cbor.uint(fields[0], 8) != 1 or cbor.text(fields[1]) != user:
        raise Malformed(f"a record of format {fields[0]} of {fields[1]} in a list of {user}")
    if device != sha256(identity).digest()[:16]:
        raise Malformed(f"device {device.hex()} has an identity key of another device")
    label = cbor.text(fields[11])
    if len(label.encode()) > MAX_LABEL or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in label):
        raise Malformed(f"device {device.hex()} has an impossible label")
    cbor.uint(fields[9])
    _check_keys(fields, device)
    if not curve.signed(identity, RECORD_LABEL + body, signature):
        raise Malformed(f"the record of device {device.hex()} is not signed by the device")
    consent = _signed(fields[12]) if 12 in fields else None
    by = None
    if consent:
        by = cbor.octets(cbor.fields(cbor.decode(consent[0]), {0, 1, 2, 3, 4})[2], 16)
    return Record(device, cbor.uint(fields[3], 32), body, identity, consent, by)


def _check_keys(fields: dict[int, Any], device: bytes) -> None:
    """The keys under which secrets reach the device are keys: P-256 uncompressed, RSA-2048 as SPKI."""
    try:
        if 4 in fields:
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), cbor.octets(fields[4], 65))
        if 5 in fields:
            key = load_der_public_key(cbor.octets(fields[5], 294))
            if not isinstance(key, RSAPublicKey) or key.key_size != 2048 or key.public_numbers().e != 65537:
                raise ValueError("not RSA-2048 with the exponent 65537")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(f"device {device.hex()} has a key that is none: {error}") from error

"""The log's leaves (rule KT-3), and the order in which they may stand (KT-8, KT-14)."""

from dataclasses import dataclass

from .fault import Malformed

LABEL = b"undertone/KT-3/leaf/v1\x00"
LENGTH = 103


@dataclass(frozen=True)
class Leaf:
    """One state of the directory: label, epoch 8, root 32, SHA-256 of the VRF key 32, unix time 8."""

    epoch: int
    root: bytes
    vrf_key: bytes
    time: int
    data: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Leaf":
        if len(data) != LENGTH or not data.startswith(LABEL):
            raise Malformed(f"{len(data)} bytes {data[:23]!r} are no leaf of a key directory")
        epoch, time = data[23:31], data[95:103]
        return cls(int.from_bytes(epoch, "big"), data[31:63], data[63:95], int.from_bytes(time, "big"), data)


def disorder(before: Leaf, after: Leaf, neighbours: bool) -> tuple[str, str] | None:
    """What keeps `after` from standing behind `before` in an honest log: the rule and the reason, or nothing.

    Of `neighbours` more is asked: no epoch is left out between them, and an epoch is repeated only with a newer time.
    """
    if after.epoch < before.epoch:
        return "KT-3", f"the epoch went back from {before.epoch} to {after.epoch}"
    if after.time < before.time:
        return "KT-8", f"the time went back from {before.time} to {after.time}"
    if after.epoch == before.epoch and after.root != before.root:
        return "KT-3", f"epoch {after.epoch} has two roots, {before.root.hex()} and {after.root.hex()}"
    if after.vrf_key != before.vrf_key:
        return "KT-14", f"the VRF key changed from {before.vrf_key.hex()} to {after.vrf_key.hex()} (SHA-256)"
    if neighbours and after.epoch == before.epoch and after.time == before.time:
        return "KT-8", f"epoch {after.epoch} is repeated at the same time {after.time}"
    if neighbours and after.epoch > before.epoch + 1:
        return "KT-3", f"the epochs between {before.epoch} and {after.epoch} are left out"
    return None

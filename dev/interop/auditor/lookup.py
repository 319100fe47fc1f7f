"""Whether a user is in the directory, with which newest version, or not at all (rules KT-5 and KT-6)."""

from dataclasses import dataclass
from typing import Any

from . import cbor, tree
from .fault import Fault, Malformed
from .vrf import PROOF_LENGTH, PublicKey

LABEL = b"undertone/KT-5/label/v1\x00"
STALE, FRESH = 0, 1
# Versions that are shown apart from the binary digits of a version: akd's list.
LANDMARKS = [1, 2, 4, 16, 256, 65536, 1 << 32]


def user_label(domain: str, name: str) -> bytes:
    """What the VRF is asked about: every part behind its length, so that no two users share a label."""
    parts = (part.encode() for part in (domain, name, "devices"))
    return LABEL + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def marker_versions(version: int) -> list[int]:
    """The earlier versions that a look-up of `version` has to show, in ascending order.

    They are the version without its lowest binary ones, and the largest landmark below it. An owner whose own history
    ends earlier has proven one of them absent, or the version itself.
    """
    if version in LANDMARKS:
        return []
    versions = {max(landmark for landmark in LANDMARKS if landmark < version)}
    rest = version & (version - 1)
    while rest:
        versions.add(rest)
        rest &= rest - 1
    return sorted(versions)


@dataclass(frozen=True)
class Found:
    """The newest version of a user, the hash of its list, and the epoch that published it."""

    version: int
    value: bytes
    published: int


@dataclass(frozen=True)
class Directory:
    """The tree of one epoch, seen through the proofs about one user."""

    key: PublicKey
    root: bytes
    epoch: int
    label: bytes

    def _place(self, kind: int, version: int, proof: bytes) -> str:
        """Rule KT-5: where a leaf of this user stands, by a VRF proof for exactly this leaf."""
        length = len(self.label).to_bytes(8, "big")
        alpha = tree.digest(length, self.label, bytes([kind]), version.to_bytes(8, "big"))
        try:
            output = self.key.verify(alpha, proof)
        except Malformed as error:
            raise Fault("KT-5", f"leaf {_name(kind, version)}: {error}") from error
        return tree.bits(output[:32])

    def _reaches(self, kind: int, version: int, path: list[tree.Node | None], label: str, value: bytes) -> None:
        """Rule KT-6: the way leads to the epoch's root."""
        try:
            root = tree.path_root(path, label, value)
        except Malformed as error:
            raise Fault("KT-6", f"leaf {_name(kind, version)}: {error}") from error
        if root != self.root:
            what = f"the path leads to root {root.hex()}, epoch {self.epoch} has {self.root.hex()}"
            raise Fault("KT-6", f"leaf {_name(kind, version)}: {what}")

    def present(self, kind: int, version: int, value: bytes, proof: "Present") -> None:
        place = self._place(kind, version, proof.vrf)
        self._reaches(kind, version, proof.path, place, value)

    def absent(self, kind: int, version: int, proof: "Absence") -> None:
        place = self._place(kind, version, proof.vrf)
        try:
            prefix = tree.excluding_prefix(place, proof.left, proof.right)
        except Malformed as error:
            raise Fault("KT-6", f"leaf {_name(kind, version)} is not excluded: {error}") from error
        self._reaches(kind, version, proof.path, prefix, tree.inner_value(proof.left, proof.right))

    def look_up(self, proof: "Lookup") -> Found:
        version, published = proof.version, proof.epoch
        # A user has one new version in an epoch at most.
        if not 1 <= version <= published <= self.epoch:
            what = f"version {version} cannot be of epoch {published} in a directory at epoch {self.epoch}"
            raise Fault("KT-6", what)
        due = marker_versions(version)
        if len(due) != len(proof.markers):
            raise Fault("KT-6", f"version {version} comes with {len(proof.markers)} earlier versions, due are {due}")
        self.absent(STALE, version, proof.freshness)
        self.present(FRESH, version, tree.fresh_value(proof.value, proof.nonce, published), proof.existence)
        for earlier, (value, leaf) in zip(due, proof.markers):
            self.present(FRESH, earlier, value, leaf)
        return Found(version, proof.value, published)

    def published(self, version: int, value: bytes, update: "Update") -> int:
        """The epoch that published an earlier version of this value."""
        if value != update.value:
            raise Fault("KT-6", f"version {version} has another value")
        self.present(FRESH, version, tree.fresh_value(value, update.nonce, update.epoch), update.existence)
        if (version == 1) != (update.superseded is None):
            raise Fault("KT-6", f"version {version} does not supersede the one before it")
        if update.superseded:
            self.present(STALE, version - 1, tree.stale_value(update.epoch), update.superseded)
        return update.epoch

    def deny(self, proof: "Absence") -> None:
        """Leaves never go away: whose first version is missing never had any."""
        self.absent(FRESH, 1, proof)


def _name(kind: int, version: int) -> str:
    return f'"{"fresh" if kind == FRESH else "stale"} {version}"'


@dataclass(frozen=True)
class Present:
    """CBOR [vrf, path]: a leaf is in the tree."""

    vrf: bytes
    path: list[tree.Node | None]

    @classmethod
    def take(cls, value: Any) -> "Present":
        vrf, path = cbor.array(value, 2)
        return cls(cbor.octets(vrf, PROOF_LENGTH), tree.unpack_path(cbor.octets(path)))


@dataclass(frozen=True)
class Absence:
    """CBOR [vrf, children, path]: a leaf is not in the tree. The path leads to the node with these children."""

    vrf: bytes
    left: tree.Node | None
    right: tree.Node | None
    path: list[tree.Node | None]

    @classmethod
    def take(cls, value: Any) -> "Absence":
        vrf, packed, path = cbor.array(value, 3)
        children = tree.unpack(cbor.octets(packed), 2)
        if len(children) != 2:
            raise Malformed("not two children")
        return cls(cbor.octets(vrf, PROOF_LENGTH), children[0], children[1], tree.unpack_path(cbor.octets(path)))


@dataclass(frozen=True)
class Lookup:
    """CBOR {0: epoch, 1: version, 2: value, 3: nonce, 4: present, 5: absence, 6: [[value, present]]}."""

    epoch: int
    version: int
    value: bytes
    nonce: bytes
    existence: Present
    freshness: Absence
    markers: list[tuple[bytes, Present]]

    @classmethod
    def take(cls, value: Any) -> "Lookup":
        proof = cbor.fields(value, set(range(7)))
        markers = [cbor.array(marker, 2) for marker in cbor.array(proof[6])]
        return cls(
            cbor.uint(proof[0]),
            cbor.uint(proof[1], 32),
            cbor.octets(proof[2], 32),
            cbor.octets(proof[3], 32),
            Present.take(proof[4]),
            Absence.take(proof[5]),
            [(cbor.octets(value, 32), Present.take(leaf)) for value, leaf in markers],
        )


@dataclass(frozen=True)
class Update:
    """CBOR [epoch, value, nonce, present, present or null]: one version of a history."""

    epoch: int
    value: bytes
    nonce: bytes
    existence: Present
    superseded: Present | None

    @classmethod
    def take(cls, value: Any) -> "Update":
        epoch, published, nonce, existence, superseded = cbor.array(value, 5)
        return cls(
            cbor.uint(epoch),
            cbor.octets(published, 32),
            cbor.octets(nonce, 32),
            Present.take(existence),
            None if superseded is None else Present.take(superseded),
        )

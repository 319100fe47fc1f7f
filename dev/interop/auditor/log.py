"""The whole of a log: its checkpoint, its growth, its leaves, and every epoch of the directory below it."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from . import cbor, merkle, tree
from .fault import Fault, Malformed, Unavailable
from .leaf import Leaf, disorder
from .note import MAX_NOTE, Checkpoint, VerifierKey, check_witnesses, verify_checkpoint
from .source import Source

# An entry is a leaf of 103 bytes; what is far longer is not worth reading to its end.
MAX_ENTRY = 4096


@dataclass(frozen=True)
class Seen:
    """What was seen of a log: its checkpoint and last leaf, CBOR {0: 1, 1: note, 2: leaf} as clients store it."""

    checkpoint: Checkpoint
    leaf: Leaf

    @classmethod
    def parse(cls, data: bytes, key: VerifierKey) -> "Seen":
        fields = cbor.fields(cbor.decode(data), {0, 1, 2})
        if fields[0] != 1:
            raise Malformed(f"what was seen is stored in an unknown format {fields[0]}")
        try:
            checkpoint = verify_checkpoint(cbor.octets(fields[1]), key)
        except Fault as error:
            # A damaged memory accuses nobody.
            raise Malformed(f"what was seen is not of this log: {error.what}") from error
        return cls(checkpoint, Leaf.parse(cbor.octets(fields[2])))

    def encode(self) -> bytes:
        return cbor.encode({0: 1, 1: self.checkpoint.data, 2: self.leaf.data})


@dataclass(frozen=True)
class Report:
    """What an audit proved."""

    checkpoint: Checkpoint
    witnesses: dict[str, int]
    last: Leaf | None
    inserted: int


@dataclass(frozen=True)
class Expectations:
    """What the auditor knows beforehand."""

    key: VerifierKey
    witnesses: list[VerifierKey]
    threshold: int
    seen: Seen | None
    vrf_key: bytes | None
    now: int


def check_growth(seen: Checkpoint, shown: Checkpoint) -> None:
    """What sizes and roots alone say about rule KT-4. Each of these is proven by two signatures of the log's key."""
    if shown.size < seen.size:
        raise Fault("KT-4", f"the log went back from {seen.size} to {shown.size} leaves")
    if shown.size == seen.size and shown.root != seen.root:
        what = f"the log has two trees of {shown.size} leaves, with roots {seen.root.hex()} and {shown.root.hex()}"
        raise Fault("KT-4", what)


def audit(source: Source, known: Expectations) -> Report:
    """Checks everything there is, in the order of what rests on what; the first fault ends it."""
    checkpoint = verify_checkpoint(source.read("checkpoint", MAX_NOTE), known.key)
    witnesses = check_witnesses(checkpoint, known.witnesses, known.threshold, known.now)
    if known.seen:
        check_growth(known.seen.checkpoint, checkpoint)
    pinned = _check_tiles(source, checkpoint, known.seen)
    last: Leaf | None = None
    inserted = 0
    for index, leaf in _leaves(source, checkpoint.size, pinned):
        _check_order(index, last, leaf, known)
        if last is None or leaf.epoch > last.epoch:
            start = last.root if last else tree.EMPTY_ROOT
            proof = source.read(f"audit/{leaf.epoch}", tree.MAX_APPEND_ONLY)
            inserted += tree.check_append_only(start, leaf.root, leaf.epoch, proof)
        last = leaf
    return Report(checkpoint, witnesses, last, inserted)


def _read_tile(source: Source, kind: str, index: int, width: int, most: int) -> bytes:
    """A tile or bundle. Once a partial tile is full a mirror may have the full one alone, which begins with it."""
    try:
        return source.read(merkle.tile_path(kind, index, width), most * width)
    except Unavailable:
        if width == merkle.TILE_WIDTH:
            raise
        try:
            full = source.read(merkle.tile_path(kind, index, merkle.TILE_WIDTH), most * merkle.TILE_WIDTH)
        except Unavailable:
            full = None
        if full is None:
            raise
    if kind != "entries":
        return full[: most * width]
    whole = merkle.entries(merkle.tile_path(kind, index, merkle.TILE_WIDTH), full, merkle.TILE_WIDTH)
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in whole[:width])


def _check_tiles(source: Source, checkpoint: Checkpoint, seen: Seen | None) -> list[bytes]:
    """Rule KT-4, from the tiles: they make up the checkpoint's tree, and it begins with the one seen before."""
    old = seen.checkpoint.size if seen else 0

    def read(level: int, index: int, width: int) -> bytes:
        return _read_tile(source, str(level), index, width, merkle.HASH_LENGTH)

    try:
        tiles = merkle.TileWalk(checkpoint.size, old, read)
    except Malformed as error:
        raise Fault("KT-4", f"the tree of {checkpoint.size} leaves: {error}") from error
    if tiles.root != checkpoint.root:
        what = f"the {checkpoint.size} leaf hashes have root {tiles.root.hex()}"
        what += f", the checkpoint says {checkpoint.root.hex()}"
        raise Fault("KT-4", f"{what}; {tiles.mismatch}" if tiles.mismatch else what)
    if tiles.mismatch:
        raise Fault("KT-4", tiles.mismatch)
    if seen and tiles.old_root != seen.checkpoint.root:
        what = f"the first {old} of its {checkpoint.size} leaves hash to {tiles.old_root.hex()}"
        raise Fault("KT-4", f"the log does not begin with what was seen: {what}, seen was {seen.checkpoint.root.hex()}")
    return tiles.pinned


def _leaves(source: Source, size: int, pinned: list[bytes]) -> Iterator[tuple[int, Leaf]]:
    """Rule KT-3: every entry is the one in the tree, and a leaf of a directory."""
    for index, width in merkle.widths(size):
        path = merkle.tile_path("entries", index, width)
        try:
            found = merkle.entries(path, _read_tile(source, "entries", index, width, 2 + MAX_ENTRY), width)
        except Malformed as error:
            raise Fault("KT-3", str(error)) from error
        if sha256(b"".join(map(merkle.leaf_hash, found))).digest() != pinned[index]:
            raise Fault("KT-3", f"{path} does not hash to {merkle.tile_path('0', index, width)}")
        for place, data in enumerate(found, start=index * merkle.TILE_WIDTH):
            try:
                yield place, Leaf.parse(data)
            except Malformed as error:
                raise Fault("KT-3", f"entry {place}: {error}") from error


def _check_order(index: int, last: Leaf | None, leaf: Leaf, known: Expectations) -> None:
    if last is None:
        if leaf.epoch != 1:
            raise Fault("KT-3", f"the log begins with epoch {leaf.epoch}, not with 1")
        if known.vrf_key and leaf.vrf_key != sha256(known.vrf_key).digest():
            raise Fault("KT-14", f"the directory's VRF key has SHA-256 {leaf.vrf_key.hex()}, which is another one's")
        return
    broken = disorder(last, leaf, neighbours=True)
    if broken:
        raise Fault(broken[0], f"leaf {index}: {broken[1]}")

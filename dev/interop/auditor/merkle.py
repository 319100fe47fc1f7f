"""The log's tree: RFC 6962, section 2.1, and its tiles (C2SP tlog-tiles).

Proofs are checked by the RFC's recursive definitions as they stand, from the root down.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256

from .fault import Malformed

EMPTY_ROOT = sha256(b"").digest()
TILE_WIDTH = 256
HASH_LENGTH = 32


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def split(data: bytes) -> list[bytes]:
    """The hashes that stand one after the other in these bytes."""
    if len(data) % HASH_LENGTH:
        raise Malformed(f"{len(data)} bytes are no whole number of hashes")
    return [data[at : at + HASH_LENGTH] for at in range(0, len(data), HASH_LENGTH)]


class Frontier:
    """A tree that grows by one leaf at a time and keeps only the roots of its complete subtrees, the largest first.

    They are as many as the size has binary ones, and their sizes are those ones' values.
    """

    def __init__(self) -> None:
        self.size = 0
        self.roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        # As in adding one to a binary number: every one at the end becomes a carry.
        size = self.size
        while size & 1:
            leaf = node_hash(self.roots.pop(), leaf)
            size >>= 1
        self.roots.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self.roots:
            return EMPTY_ROOT
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root


def root_of(hashes: list[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in hashes:
        frontier.append(leaf)
    return frontier.root()


def _left_part(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_root(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes:
    """The root to which a proof leads (RFC 6962, 2.1.1) that `leaf` is the index-th of `size` leaves."""
    if size == 1:
        if proof:
            raise Malformed("the proof is too long")
        return leaf
    if not proof:
        raise Malformed("the proof is too short")
    left = _left_part(size)
    if index < left:
        return node_hash(inclusion_root(index, left, leaf, proof[:-1]), proof[-1])
    return node_hash(proof[-1], inclusion_root(index - left, size - left, leaf, proof[:-1]))


def consistency_roots(old: int, size: int, old_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """The roots of the smaller and of the larger tree to which a proof leads (RFC 6962, 2.1.2); 0 < old < size.

    The proof leaves the smaller tree's root out where it is a subtree of the larger one: it is `old_root` there.
    """

    def subproof(old: int, size: int, proof: list[bytes], is_root: bool) -> tuple[bytes, bytes]:
        if old == size:
            if len(proof) != (0 if is_root else 1):
                raise Malformed("the proof has the wrong length")
            both = old_root if is_root else proof[0]
            return both, both
        if not proof:
            raise Malformed("the proof is too short")
        left, beside = _left_part(size), proof[-1]
        if old <= left:
            before, after = subproof(old, left, proof[:-1], is_root)
            return before, node_hash(after, beside)
        before, after = subproof(old - left, size - left, proof[:-1], False)
        return node_hash(beside, before), node_hash(beside, after)

    return subproof(old, size, proof, True)


def tile_path(kind: str, index: int, width: int) -> str:
    """Where a tile is served: `kind` is its level or "entries"."""
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def widths(count: int) -> Iterator[tuple[int, int]]:
    """The tiles over `count` hashes of one level: index and width of each."""
    for first in range(0, count, TILE_WIDTH):
        yield first // TILE_WIDTH, min(TILE_WIDTH, count - first)


class TileWalk:
    """Reads every tile of a tree of `size` leaves and computes its root from the leaf hashes alone.

    `read` takes level, index and width of a tile.
    """

    def __init__(self, size: int, old: int, read: Callable[[int, int, int], bytes]) -> None:
        self._read = read
        # For each level above 0, the hashes of which its next tile has to consist, and how many tiles it has had.
        self._due: list[list[bytes]] = []
        self._done: list[int] = []
        # The root when the tree had `old` leaves.
        self.old_root = EMPTY_ROOT
        # A hash of each tile of level 0: the entries have to lead to the same tiles later, and keeping all leaf hashes
        # until then would need too much memory.
        self.pinned: list[bytes] = []
        # The first tile of a higher level that does not hold what the tiles below it hash to. Which of them is false,
        # only the root can tell.
        self.mismatch: str | None = None
        frontier = Frontier()
        for index, width in widths(size):
            hashes = self._tile(0, index, width)
            self.pinned.append(sha256(b"".join(hashes)).digest())
            for leaf in hashes:
                frontier.append(leaf)
                if frontier.size == old:
                    self.old_root = frontier.root()
            if width == TILE_WIDTH:
                self._lift(0, hashes)
        for level, hashes in enumerate(self._due, start=1):
            if hashes:
                self._compare(level, hashes)
        self.root = frontier.root()

    def _tile(self, level: int, index: int, width: int) -> list[bytes]:
        data = self._read(level, index, width)
        due = width * HASH_LENGTH
        if len(data) != due:
            # Of a longer file not more than a byte too much is read.
            has = f"has {len(data)} bytes" if len(data) < due else "is longer than that"
            raise Malformed(f"{width} hashes have {due} bytes, {tile_path(str(level), index, width)} {has}")
        return split(data)

    def _lift(self, below: int, hashes: list[bytes]) -> None:
        """A tile of the level `below` is full, so the tile above it has one hash more."""
        if len(self._due) == below:
            self._due.append([])
            self._done.append(0)
        above = self._due[below]
        above.append(root_of(hashes))
        if len(above) == TILE_WIDTH:
            self._compare(below + 1, above)
            self._due[below] = []
            self._done[below] += 1
            self._lift(below + 1, above)

    def _compare(self, level: int, hashes: list[bytes]) -> None:
        index = self._done[level - 1]
        for place, (has, should) in enumerate(zip(self._tile(level, index, len(hashes)), hashes)):
            if has != should and self.mismatch is None:
                below = tile_path(str(level - 1), index * TILE_WIDTH + place, TILE_WIDTH)
                path = tile_path(str(level), index, len(hashes))
                self.mismatch = f"{below} hashes to {should.hex()}, {path} says {has.hex()}"


def entries(path: str, data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle: each behind its length in two bytes."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + 2 + length
        if at + 2 > len(data) or end > len(data):
            raise Malformed(f"{path} ends within entry {len(found)}")
        found.append(data[at + 2 : end])
        at = end
    if len(found) != width:
        raise Malformed(f"{path} has {len(found)} entries, {width} are due")
    return found

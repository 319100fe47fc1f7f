"""The directory's tree: akd 0.13 with its configuration WhatsAppV1, hashed with BLAKE3 (rules KT-6 and KT-12).

A node's label is written here as a text of "0" and "1": "is above" is then "is the beginning of", and sorting by label
puts a node before everything below it. The root's label is empty, a leaf's has 256 digits.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from blake3 import blake3

from . import cbor
from .fault import Fault, Malformed

LEAF_BITS = 256
MAX_PATH = 256
MAX_APPEND_ONLY = 32 << 20


def digest(*parts: bytes) -> bytes:
    return blake3(b"".join(parts)).digest()


@dataclass(frozen=True)
class Node:
    """A node below the root. A leaf's value is its commitment hashed with its epoch."""

    label: str
    value: bytes


def bits(data: bytes) -> str:
    return f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""


def brief(label: str) -> str:
    """A label for people: of a long one only its beginning."""
    return label if len(label) <= 32 else f"{label[:32]}... of {len(label)} bits"


def common(a: str, b: str) -> int:
    """How many digits two labels share from their beginning."""
    for place, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return place
    return min(len(a), len(b))


# Hashing. A label is hashed as its length in four bytes and 32 bytes, zero behind its end.


def _label_hash(length: int, padded: bytes) -> bytes:
    return digest(length.to_bytes(4, "big"), padded)


def label_hash(label: str) -> bytes:
    return _label_hash(len(label), int(label.ljust(LEAF_BITS, "0"), 2).to_bytes(32, "big"))


# What the empty tree and the empty place are made of: akd hashes a zero byte.
NOTHING = digest(b"\x00")
# The child that a root lacks has a label that no node has: length zero, yet 32 bytes of one.
_NO_CHILD_LABEL = _label_hash(0, b"\x01" * 32)
_NO_CHILD = digest(digest(NOTHING, _NO_CHILD_LABEL), _NO_CHILD_LABEL)


def _half(node: Node | None) -> bytes:
    return digest(node.value, label_hash(node.label)) if node else _NO_CHILD


def inner_value(left: Node | None, right: Node | None) -> bytes:
    return digest(_half(left), _half(right))


def root_hash(value: bytes) -> bytes:
    return digest(value, label_hash(""))


EMPTY_ROOT = root_hash(NOTHING)


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def leaf_value(commitment: bytes, epoch: int) -> bytes:
    return digest(commitment, epoch.to_bytes(8, "big"))


def stale_value(epoch: int) -> bytes:
    """The value of a leaf that says that a version was superseded."""
    return leaf_value(digest(b"\x00"), epoch)


def fresh_value(published: bytes, nonce: bytes, epoch: int) -> bytes:
    """The value of a leaf "fresh": what was published, hidden by a nonce."""
    return leaf_value(digest(_counted(published), _counted(nonce)), epoch)


# Packed nodes: length of the label in bits (2), the label's bytes, the value (32); length 0 alone where there is none.


def unpack(data: bytes, most: int | None = None) -> list[Node | None]:
    nodes: list[Node | None] = []
    at = 0
    while at < len(data):
        if most is not None and len(nodes) == most:
            raise Malformed(f"more than {most} nodes")
        length = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if length == 0:
            nodes.append(None)
        else:
            width = (length + 7) // 8
            label, value = data[at : at + width], data[at + width : at + width + 32]
            at += width + 32
            if length > LEAF_BITS or len(value) != 32:
                raise Malformed("a node with an impossible label, or cut off")
            digits = bits(label)
            if "1" in digits[length:]:
                raise Malformed("a label with bits behind its end")
            nodes.append(Node(digits[:length], value))
        if at > len(data):
            raise Malformed("nodes that end too early")
    return nodes


def unpack_path(data: bytes) -> list[Node | None]:
    """The nodes beside a way from the root down, the root's child first. Only a root can have a single child."""
    path = unpack(data, MAX_PATH)
    if None in path[1:]:
        raise Malformed("a path that lacks a node below the root's children")
    return path


def path_root(path: list[Node | None], label: str, value: bytes) -> bytes:
    """The root of the tree in which these nodes stand beside the way to this node.

    The inner nodes on the way are not shown: each is where the way parts from the node beside it.
    """
    forks = [common(label, beside.label) if beside else 0 for beside in path]
    # The way begins at the root, and every fork is below the one before: other labels are those of no tree.
    begins = forks[0] == 0 if forks else label == ""
    descends = all(above < below for above, below in pairwise(forks + [len(label)]))
    parts = all(beside is None or fork < len(beside.label) for fork, beside in zip(forks, path))
    if not (begins and descends and parts):
        raise Malformed("the path leads to this place in no tree")
    node = Node(label, value)
    for fork, beside in zip(reversed(forks), reversed(path)):
        children = (node, beside) if label[fork] == "0" else (beside, node)
        node = Node(label[:fork], inner_value(*children))
    return root_hash(node.value)


def excluding_prefix(place: str, left: Node | None, right: Node | None) -> str:
    """The label of the inner node with these two children, if they leave no way on to `place` (rule KT-6).

    It is not enough that neither child is the place. A child whose label begins the place's is a subtree in which the
    place may well be, and such children must prove nothing.
    """
    children = [child for child in (left, right) if child is not None]
    if not children:
        raise Malformed("a node without children excludes nothing")
    at = common(left.label, right.label) if left and right else 0
    for child, side in ((left, "0"), (right, "1")):
        if child is not None and child.label[at : at + 1] != side:
            raise Malformed("no node has these two children")
    for child in children:
        if child.label[:at] != place[:at]:
            raise Malformed(f"the children stand below {brief(child.label[:at])}, where the place is not")
        if place.startswith(child.label):
            raise Malformed(f"the child {brief(child.label)} leads to the place")
    return place[:at]


# KT-12: an epoch only added leaves.


def parse_append_only(data: bytes) -> tuple[list[Node], list[Node]]:
    """The nodes that stayed, and the leaves that came with their commitments; each in order."""
    if len(data) > MAX_APPEND_ONLY:
        raise Malformed(f"more than {MAX_APPEND_ONLY} bytes")
    proof = cbor.fields(cbor.decode(data), {0, 1})
    return _sorted_nodes(proof[0]), _sorted_nodes(proof[1])


def _sorted_nodes(value: object) -> list[Node]:
    nodes: list[Node] = []
    for node in unpack(cbor.octets(value)):
        if node is None:
            raise Malformed("a missing node in a list of nodes")
        # A label sorts before those it begins, and so do the bytes on the wire.
        if nodes and nodes[-1].label >= node.label:
            raise Malformed("nodes that are not in order")
        nodes.append(node)
    return nodes


def tree_root(nodes: list[Node]) -> bytes:
    """The root of the tree whose lowest known nodes are these, in order."""
    for above, below in pairwise(nodes):
        if below.label.startswith(above.label):
            raise Malformed(f"two nodes stand in one place: {brief(above.label)} and {brief(below.label)}")
    if not nodes:
        return EMPTY_ROOT
    labels = [node.label for node in nodes]

    def children(start: int, end: int, depth: int) -> bytes:
        """The value of the inner node above nodes start to end, whose label has `depth` digits."""
        border = bisect_left(labels, labels[start][:depth] + "1", start, end)
        return inner_value(subtree(start, border), subtree(border, end))

    def subtree(start: int, end: int) -> Node | None:
        if start == end:
            return None
        if end - start == 1:
            return nodes[start]
        depth = common(labels[start], labels[end - 1])
        return Node(labels[start][:depth], children(start, end, depth))

    return root_hash(children(0, len(nodes), 0))


def check_append_only(start: bytes, end: bytes, epoch: int, data: bytes) -> int:
    """Rule KT-12: the tree of `epoch` with root `end` is that with root `start` and new leaves. Gives their number.

    The nodes that stayed make up the old tree and are part of the new one. No new leaf may stand in or below one of
    them: what stayed would then be in the one tree only. `tree_root` refuses that.
    """
    try:
        stayed, came = parse_append_only(data)
        for node in came:
            if len(node.label) != LEAF_BITS:
                raise Malformed(f"{brief(node.label)} was inserted, which is no leaf")
        before = tree_root(stayed)
        leaves = [Node(node.label, leaf_value(node.value, epoch)) for node in came]
        after = tree_root(sorted(stayed + leaves, key=lambda node: node.label))
    except Malformed as error:
        raise Fault("KT-12", f"the proof that epoch {epoch} only added: {error}") from error
    if before != start:
        what = f"what stayed in epoch {epoch} has root {before.hex()}, the epoch before had {start.hex()}"
        raise Fault("KT-12", what)
    if after != end:
        what = f"what stayed and came in epoch {epoch} has root {after.hex()}, its leaf says {end.hex()}"
        raise Fault("KT-12", what)
    return len(came)

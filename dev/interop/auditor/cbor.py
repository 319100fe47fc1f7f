"""Deterministic CBOR (RFC 8949, section 4.2.1), as far as the directory's structures use it.

There are unsigned integers, byte strings, texts, arrays, maps with integer keys, and null. Everything else is refused,
and so is every encoding but the shortest: where bytes are hashed or signed, two encodings of one value would be two
things.
"""

from typing import Any

from .fault import Malformed

UINT, BYTES, TEXT, ARRAY, MAP, SIMPLE = 0, 2, 3, 4, 5, 7
NULL = 22
# No structure of ours is nested deeper; more would only be there to exhaust the stack.
MAX_DEPTH = 16


class Reader:
    """Reads values from the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Malformed("the bytes end too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def head(self) -> tuple[int, int]:
        """The major type and the argument of the next item."""
        first = self.take(1)[0]
        major, short = first >> 5, first & 31
        if short < 24:
            return major, short
        if short > 27:
            raise Malformed("an indefinite length or a reserved form")
        width = 1 << (short - 24)
        argument = int.from_bytes(self.take(width), "big")
        # The next shorter form would have held it; below 24 that is the first byte itself.
        if argument < (24 if width == 1 else 1 << (4 * width)):
            raise Malformed("a number that is longer than it has to be")
        return major, argument

    def value(self, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        major, argument = self.head()
        if major == UINT:
            return argument
        if major == BYTES:
            return self.take(argument)
        if major == TEXT:
            try:
                return self.take(argument).decode()
            except UnicodeDecodeError as error:
                raise Malformed("a text that is not UTF-8") from error
        if major == ARRAY:
            return [self.value(depth + 1) for _ in range(self.bounded(argument))]
        if major == MAP:
            return self.map(self.bounded(argument), depth)
        if (major, argument) == (SIMPLE, NULL):
            return None
        raise Malformed(f"an item of a type that is not used here ({major})")

    def bounded(self, count: int) -> int:
        # Every item has a byte at least, so a larger count is known to be false before anything is stored.
        if count > len(self.data) - self.at:
            raise Malformed("the bytes end too early")
        return count

    def map(self, count: int, depth: int) -> dict[int, Any]:
        entries: dict[int, Any] = {}
        last = -1
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, int) or key <= last:
                raise Malformed("map keys that are no ascending numbers")
            entries[key] = self.value(depth + 1)
            last = key
        return entries


def decode(data: bytes) -> Any:
    """The one value that the bytes are."""
    reader = Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise Malformed("something follows the value")
    return value


def encode(value: Any) -> bytes:
    """The encoding of a value made of integers, byte strings and maps: what the auditor itself has to write."""
    if isinstance(value, int):
        return _head(UINT, value)
    if isinstance(value, bytes):
        return _head(BYTES, len(value)) + value
    if isinstance(value, dict):
        entries = (encode(key) + encode(value[key]) for key in sorted(value))
        return _head(MAP, len(value)) + b"".join(entries)
    raise TypeError(type(value))


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * width):
            return bytes([major << 5 | code]) + argument.to_bytes(width, "big")
    raise ValueError(argument)


# Shapes. Python's values say nothing about what was expected, so every field is taken through one of these.


def uint(value: Any, bits: int = 64) -> int:
    if not isinstance(value, int) or value >> bits:
        raise Malformed(f"not a number of {bits} bits")
    return value


def octets(value: Any, length: int | None = None) -> bytes:
    if not isinstance(value, bytes) or (length is not None and len(value) != length):
        raise Malformed("not a byte string" if length is None else f"not {length} bytes")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("not a text")
    return value


def array(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise Malformed("not an array" if length is None else f"not an array of {length}")
    return value


def fields(value: Any, required: set[int], optional: frozenset[int] | set[int] = frozenset()) -> dict[int, Any]:
    """A map that has all of the required keys and none but those and the optional ones."""
    if not isinstance(value, dict) or not required <= value.keys() <= required | optional:
        raise Malformed("not a map with the keys expected")
    # A key whose value is missing is left out, so null under a key is a second encoding.
    if any(entry is None for entry in value.values()):
        raise Malformed("a map with a null in it")
    return value

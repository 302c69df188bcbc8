"""Avro's primitive types, read one at a time: each step takes the bytes and where it begins, and tells where it ends.

The encodings are those of the Avro specification 1.12, "Binary Encoding". Every step holds a length against what is
left before it takes it, so that time and memory are bounded by the value.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from processor.avro.fault import Fault

Step = Callable[[bytes, int], tuple[Any, int]]
"""Reads what begins at a byte; gives the value and the byte after it.

Raises:
    Fault: the bytes do not hold it.
"""

LONGEST_LONG = 10
"""Bytes of the longest variable-length number."""

_FLOAT = Struct("<f")
_DOUBLE = Struct("<d")
INT_LIMIT = 1 << 31
LONG_LIMIT = 1 << 63


def read_null(data: bytes, at: int) -> tuple[None, int]:
    """Nothing, which takes no bytes."""
    return None, at


def read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    """One byte, 0 or 1."""
    byte = data[at] if at < len(data) else None
    if byte is None:
        raise Fault(at, "the value ends where a boolean should be")
    if byte > 1:
        raise Fault(at, f"a boolean is 00 or 01, not {byte:02x}")
    return byte == 1, at + 1


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, its sign in the lowest bit of all."""
    begin = at
    number = shift = 0
    try:
        if (byte := data[at]) <= 0x7F:
            return (byte >> 1) ^ -(byte & 1), at + 1
        while (byte := data[at]) > 0x7F:
            number |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift == 7 * LONGEST_LONG:
                raise Fault(begin, f"a number takes more than {LONGEST_LONG} bytes")
    except IndexError:
        raise Fault(begin, "the value ends where a number should be") from None
    number |= byte << shift
    number = (number >> 1) ^ -(number & 1)
    if not -LONG_LIMIT <= number < LONG_LIMIT:
        raise Fault(begin, f"the number {number} does not fit into 64 bits")
    return number, at + 1


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """The same within 32 bits."""
    if at < len(data) and (byte := data[at]) <= 0x7F:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, end = read_long(data, at)
    if not -INT_LIMIT <= number < INT_LIMIT:
        raise Fault(at, f"the number {number} does not fit into an int's 32 bits")
    return number, end


def read_float(data: bytes, at: int) -> tuple[float, int]:
    """Four bytes, IEEE 754, little-endian."""
    end = at + 4
    if end > len(data):
        raise Fault(at, f"a float takes 4 bytes, and {_left(data, at)}")
    return _FLOAT.unpack_from(data, at)[0], end


def single(number: int) -> float:
    """The number as a float of 32 bits has it."""
    rounded: float = _FLOAT.unpack(_FLOAT.pack(number))[0]
    return rounded


def read_double(data: bytes, at: int) -> tuple[float, int]:
    """Eight bytes, IEEE 754, little-endian."""
    end = at + 8
    if end > len(data):
        raise Fault(at, f"a double takes 8 bytes, and {_left(data, at)}")
    return _DOUBLE.unpack_from(data, at)[0], end


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A length, and as many bytes."""
    begin, end = _block(data, at, "")
    return data[begin:end], end


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """A length, and as many bytes of UTF-8. Most are shorter than 64 bytes: their length is one byte, doubled."""
    size = data[at] if at < len(data) else 0xFF
    begin, end = (at + 1, at + 1 + (size >> 1)) if not size & 0x81 else _block(data, at, "a string of ")
    if end > len(data):
        begin, end = _block(data, at, "a string of ")
    try:
        return data[begin:end].decode(), end
    except UnicodeDecodeError as error:
        raise Fault(begin + error.start, f"a string is not UTF-8: {error.reason}") from None


def read_fixed(size: int) -> Step:
    """So many bytes."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if size > len(data) - at:
            raise Fault(at, f"a fixed takes {size} bytes, and {_left(data, at)}")
        return data[at : at + size], at + size

    return read


def _block(data: bytes, at: int, noun: str) -> tuple[int, int]:
    """Where the bytes behind a length begin and end."""
    size, begin = read_long(data, at)
    end = begin + size
    if size < 0:
        raise Fault(at, f"{noun}{size} bytes is no length")
    if end > len(data):
        raise Fault(at, f"{noun}{size} bytes should follow, and {_left(data, begin)}")
    return begin, end


def _left(data: bytes, at: int) -> str:
    left = len(data) - at
    return "none is left" if not left else "1 is left" if left == 1 else f"{left} are left"


PRIMITIVE_STEPS: dict[str, Step] = {
    "null": read_null,
    "boolean": read_boolean,
    "int": read_int,
    "long": read_long,
    "float": read_float,
    "double": read_double,
    "bytes": read_bytes,
    "string": read_string,
}

"""Decoders of Avro's primitive types (Avro specification 1.12, "Binary Encoding").

Each compares a length with the bytes that remain before it uses it. The value's size therefore bounds time and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from processor.avro.fault import Fault

Decoder = Callable[[bytes, int], tuple[Any, int]]
"""Decodes the value that begins at an offset; returns it and the offset of the byte after it.

Raises:
    Fault: the bytes are not a valid encoding of the type.
"""

LONGEST_LONG = 10
"""Maximum size of a variable-length number in bytes."""

_FLOAT = Struct("<f")
_DOUBLE = Struct("<d")
INT_LIMIT = 1 << 31
LONG_LIMIT = 1 << 63


def read_null(data: bytes, at: int) -> tuple[None, int]:
    """Null takes no bytes."""
    return None, at


def read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    """A boolean is one byte, 0 or 1."""
    byte = data[at] if at < len(data) else None
    if byte is None:
        raise Fault(at, "the value ends before a boolean")
    if byte > 1:
        raise Fault(at, f"a boolean must be 00 or 01, not {byte:02x}")
    return byte == 1, at + 1


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag-encoded number of up to 64 bits in groups of seven bits, the least significant group first."""
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
                raise Fault(begin, f"a variable-length number has more than {LONGEST_LONG} bytes")
    except IndexError:
        raise Fault(begin, "the value ends before or inside a number") from None
    number |= byte << shift
    number = (number >> 1) ^ -(number & 1)
    if not -LONG_LIMIT <= number < LONG_LIMIT:
        raise Fault(begin, f"the number {number} does not fit into 64 bits")
    return number, at + 1


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """A number in the encoding of a long that fits into 32 bits."""
    if at < len(data) and (byte := data[at]) <= 0x7F:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, end = read_long(data, at)
    if not -INT_LIMIT <= number < INT_LIMIT:
        raise Fault(at, f"the number {number} does not fit into the 32 bits of an int")
    return number, end


def read_float(data: bytes, at: int) -> tuple[float, int]:
    """Four bytes, IEEE 754, little-endian."""
    end = at + 4
    if end > len(data):
        raise Fault(at, f"a float takes 4 bytes, but {_remaining(data, at)}")
    return _FLOAT.unpack_from(data, at)[0], end


def single(number: int) -> float:
    """The number rounded to a 32-bit float."""
    rounded: float = _FLOAT.unpack(_FLOAT.pack(number))[0]
    return rounded


def read_double(data: bytes, at: int) -> tuple[float, int]:
    """Eight bytes, IEEE 754, little-endian."""
    end = at + 8
    if end > len(data):
        raise Fault(at, f"a double takes 8 bytes, but {_remaining(data, at)}")
    return _DOUBLE.unpack_from(data, at)[0], end


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A length, followed by that many bytes."""
    begin, end = _block(data, at, "bytes value")
    return data[begin:end], end


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """A length, followed by that many bytes of UTF-8. A length below 64, as most are, is one byte: twice the length."""
    size = data[at] if at < len(data) else 0xFF
    begin, end = (at + 1, at + 1 + (size >> 1)) if not size & 0x81 else _block(data, at, "string")
    if end > len(data):
        begin, end = _block(data, at, "string")
    try:
        return data[begin:end].decode(), end
    except UnicodeDecodeError as error:
        raise Fault(begin + error.start, f"a string is not UTF-8: {error.reason}") from None


def fixed_decoder(size: int) -> Decoder:
    """A decoder of exactly `size` bytes."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if size > len(data) - at:
            raise Fault(at, f"a fixed takes {size} bytes, but {_remaining(data, at)}")
        return data[at : at + size], at + size

    return read


def _block(data: bytes, at: int, kind: str) -> tuple[int, int]:
    """Offsets of the first byte after a length and of the end of the bytes that it declares."""
    size, begin = read_long(data, at)
    end = begin + size
    if size < 0:
        raise Fault(at, f"a {kind} declares a negative length of {size} bytes")
    if end > len(data):
        raise Fault(at, f"a {kind} declares {size} bytes, but {_remaining(data, begin)}")
    return begin, end


def _remaining(data: bytes, at: int) -> str:
    left = len(data) - at
    return "none remain" if not left else "only 1 remains" if left == 1 else f"only {left} remain"


PRIMITIVE_DECODERS: dict[str, Decoder] = {
    "null": read_null,
    "boolean": read_boolean,
    "int": read_int,
    "long": read_long,
    "float": read_float,
    "double": read_double,
    "bytes": read_bytes,
    "string": read_string,
}

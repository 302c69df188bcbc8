"""What is settled above the commit point, as the metadata of a commit, and back.

Format, version 1: the text `p1:` and, in URL-safe base64 without padding, a CRC-32 (4 bytes, big
endian) of what follows; one byte, 0 for plain and 1 for deflated; then numbers as LEB128 varints:
the base, and for each settled range its distance from the end of the one before (at first from the
base) and its length.

The base is the committed offset that the map belongs to. Another tool that resets the group's
offsets leaves no metadata, or metadata whose base is another offset: both are ignored.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Sequence

from processor.engine.offsets import Range

MAX_CHARACTERS = 4096
"""The brokers' default `offset.metadata.max.bytes`."""

FIRST_TRY = 1024
"""Ranges that are tried first, then twice as many: what does not fit by far is not packed to be told so. With a
hundred thousand ranges 10 ms, where halving from above took 90 in the same run."""

_PREFIX = "p1:"
_PLAIN, _DEFLATED = b"\x00", b"\x01"
_MAX_INFLATED = 1 << 20  # 4,096 characters of honest runs inflate to far less


class SkipMapError(Exception):
    """The metadata is no skip map for the committed offset; the message says why."""


def encode(base: int, ranges: Sequence[Range], limit: int = MAX_CHARACTERS) -> tuple[str, int]:
    """The metadata for a commit at `base`, and how many of the ascending `ranges` are in it.

    Where they do not all fit into `limit` characters the furthest are left out. No ranges, or none
    that fits, is the empty text.
    """
    text, fits, tried = "", 0, min(len(ranges), FIRST_TRY)
    while tried > fits:
        candidate = _text(base, ranges[:tried])
        if len(candidate) > limit:
            return _cut(base, ranges, limit, (text, fits), tried)
        text, fits, tried = candidate, tried, min(2 * tried, len(ranges))
    return text, fits


def _cut(base: int, ranges: Sequence[Range], limit: int, best: tuple[str, int], fails: int) -> tuple[str, int]:
    """The longest map between one that fits and one that does not."""
    text, fits = best
    while fails - fits > 1:
        middle = (fits + fails) // 2
        candidate = _text(base, ranges[:middle])
        if len(candidate) <= limit:
            text, fits = candidate, middle
        else:
            fails = middle
    return text, fits


def decode(text: str, committed: int) -> list[Range]:
    """The settled ranges of a commit at `committed`, ascending; none for an empty text.

    Raises:
        SkipMapError: foreign, damaged, of another version, or for another offset.
    """
    if not text:
        return []
    if not text.startswith(_PREFIX):
        raise SkipMapError("it was not written by this version of this program")
    numbers = _numbers(_body(text[len(_PREFIX) :]))
    try:
        base = next(numbers)
    except StopIteration:
        raise SkipMapError("it has no base") from None
    if base != committed:
        raise SkipMapError(f"it belongs to offset {base}")
    return _ranges(base, list(numbers))


def _text(base: int, ranges: Iterable[Range]) -> str:
    numbers = [base]
    end = base
    for low, high in ranges:
        numbers += (low - end, high - low)
        end = high
    plain = _varints(numbers)
    deflated = zlib.compress(plain, 6)
    body = _DEFLATED + deflated if len(deflated) < len(plain) else _PLAIN + plain
    checked = zlib.crc32(body).to_bytes(4) + body
    return _PREFIX + base64.urlsafe_b64encode(checked).decode("ascii").rstrip("=")


def _body(text: str) -> bytes:
    try:
        checked = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SkipMapError("it is no base64") from None
    body = checked[4:]
    if len(body) < 2 or zlib.crc32(body).to_bytes(4) != checked[:4]:
        raise SkipMapError("its checksum is wrong")
    if body[:1] == _PLAIN:
        return body[1:]
    if body[:1] != _DEFLATED:
        raise SkipMapError("its packing is unknown")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(body[1:], _MAX_INFLATED)
    except zlib.error:
        raise SkipMapError("it cannot be inflated") from None
    if not inflater.eof:
        raise SkipMapError("it is too long, or cut off")
    return plain


def _varints(numbers: Sequence[int]) -> bytes:
    if max(numbers[1:]) < 0x80:  # nearly always, and bytes() is a hundred times faster than the loop
        return _varint(numbers[0]) + bytes(numbers[1:])
    return b"".join(map(_varint, numbers))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
        elif shift > 63:
            raise SkipMapError("a number in it is too large")
    if shift:
        raise SkipMapError("it ends inside a number")


def _ranges(base: int, numbers: list[int]) -> list[Range]:
    if len(numbers) % 2:
        raise SkipMapError("a range in it has no length")
    ranges = []
    end = base
    for distance, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not length:
            raise SkipMapError("a range in it is empty")
        ranges.append((end + distance, end + distance + length))
        end += distance + length
    return ranges

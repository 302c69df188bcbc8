"""The skip map: encodes the ranges that are settled above the commit point as commit metadata, and decodes them.

Format, version 1: the text `p1:`, followed by URL-safe base64 without padding of
- a CRC-32 (4 bytes, big-endian) of the bytes after it,
- one byte: 0 for plain, 1 for deflated,
- numbers as LEB128 varints: the base, then two per settled range: its distance from the end of the previous range (for
  the first one, from the base), and its length.

The base is the committed offset that the map belongs to. If another tool resets the group's offsets, the metadata is
missing or has another base. Both are ignored.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Sequence

from processor.engine.commit_note import split
from processor.engine.offsets import Range

MAX_CHARACTERS = 4096
"""The brokers' default `offset.metadata.max.bytes`."""

FIRST_TRY = 1024
"""Number of ranges of the first attempt; each further one doubles it. A list that is far too long is thus not encoded
as a whole: 100,000 ranges take 10 ms, where halving from the full list took 90 ms in the same run."""

_PREFIX = "p1:"
_PLAIN, _DEFLATED = b"\x00", b"\x01"
_MAX_INFLATED = 1 << 20  # a valid map of 4,096 characters inflates to far less


class SkipMapError(Exception):
    """The metadata is not a valid skip map for the committed offset. The message completes "the metadata: …"."""


def encode(base: int, ranges: Sequence[Range], limit: int = MAX_CHARACTERS) -> tuple[str, int]:
    """Encodes the ascending `ranges` for a commit at `base`. Returns the metadata, and how many ranges it contains.

    If not all ranges fit into `limit` characters, the highest ones are left out. If none fits, or there are none, the
    metadata is the empty text.
    """
    text, fits, tried = "", 0, min(len(ranges), FIRST_TRY)
    while tried > fits:
        candidate = _text(base, ranges[:tried])
        if len(candidate) > limit:
            return _cut(base, ranges, limit, (text, fits), tried)
        text, fits, tried = candidate, tried, min(2 * tried, len(ranges))
    return text, fits


def extend(
    base: int, ranges: Sequence[Range], known: Sequence[Range], limit: int = MAX_CHARACTERS
) -> tuple[str, Sequence[Range]] | None:
    """Encodes as `encode` does, and leaves out nothing that an earlier map said: `known`, which is part of `ranges`.

    Returns the metadata and the ranges that it contains, or None where not even the known ones fit any more.
    """
    text, fits = encode(base, ranges, limit)
    if fits == len(ranges):
        return text, ranges
    known = [(low, high) for low, high in known if low >= base]
    best, fails = None, fits + 1
    fits = -1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        kept = _with_known(ranges[:middle], known)
        text = _text(base, kept) if kept else ""
        if len(text) <= limit:
            best, fits = (text, kept), middle
        else:
            fails = middle
    return best


def _with_known(ranges: Sequence[Range], known: Sequence[Range]) -> Sequence[Range]:
    """Return these ranges and the known ones above them."""
    end = ranges[-1][1] if ranges else 0
    return [*ranges, *((low, high) for low, high in known if low >= end)]


def _cut(base: int, ranges: Sequence[Range], limit: int, best: tuple[str, int], fails: int) -> tuple[str, int]:
    """Finds the longest map by bisection between a length that fits and one that does not."""
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
    """Decodes the settled ranges of a commit at `committed`, ascending; empty for an empty text. Ignores a note.

    Raises:
        SkipMapError: the text was written by another program or version, is damaged, or is for another offset.
    """
    text, _ = split(text)
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
        raise SkipMapError("it is not valid base64") from None
    body = checked[4:]
    if len(body) < 2 or zlib.crc32(body).to_bytes(4) != checked[:4]:
        raise SkipMapError("its checksum is wrong")
    if body[:1] == _PLAIN:
        return body[1:]
    if body[:1] != _DEFLATED:
        raise SkipMapError("its compression is unknown")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(body[1:], _MAX_INFLATED)
    except zlib.error:
        raise SkipMapError("it cannot be inflated") from None
    if not inflater.eof:
        raise SkipMapError("it is too long, or truncated")
    return plain


def _varints(numbers: Sequence[int]) -> bytes:
    if max(numbers[1:]) < 0x80:  # the usual case, in which bytes() is a hundred times faster than the loop
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

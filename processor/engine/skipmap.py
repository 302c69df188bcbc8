"""The skip map: encodes the ranges that are settled above the commit point as commit metadata, and decodes them.

Format, version 2: the text `p2:`, followed by URL-safe base64 without padding of
- a CRC-32 (4 bytes, big-endian) of the bytes after it,
- one byte: 0 for plain, 1 for deflated (RFC 1951),
- numbers as LEB128 varints: the base, then chunks. Each begins where the previous one ends, the first one at the base.

The first number of a chunk is `4 * count + kind`; `count` numbers follow. An encoder takes, chunk by chunk, the kind
that needs the fewest:
- kind 0: two per settled range, its distance from the end of the previous range and its length;
- kind 1: one per unsettled offset, how many offsets after it are settled;
- kind 2: one per settled offset, how many offsets before it are unsettled.

Kinds 1 and 2 are for settled offsets scattered among unsettled ones. Deflate's Huffman codes bring their numbers within
7 % of the entropy. A bitmap does not get closer, and it is worse the rarer settled or unsettled offsets are.

Version 1, `p1:`, is still decoded. There all of it is like one chunk of kind 0 without its first number, and deflated
means zlib's format (RFC 1950). A consumer that knows version 1 only ignores version 2, and reports so.

A map that is too long for metadata can be the value of a record, see `progress_record.py`: `p2:`, and the same bytes
without base64.

The base is the committed offset that the map belongs to. If another tool resets the group's offsets, the metadata is
missing or has another base. Both are ignored.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Sequence
from itertools import chain
from operator import sub
from typing import TypeVar

from processor.engine.commit_note import split
from processor.engine.offsets import Range

MAX_CHARACTERS = 4096
"""The brokers' default `offset.metadata.max.bytes`."""

MOST_RANGES = 65_536
"""The most ranges that `encode` considers. Ranges of random lengths fill the metadata long before. A regular pattern,
of which deflate could take more, is cut here, so that the time for a map is bounded."""

RECORD_BYTES = 900_000
"""The longest value of a record. Brokers and topics accept batches of 1 MiB by default."""

RECORD_RANGES = 500_000
"""The most ranges that `encode_record` considers. They take about a quarter of a second."""

FIRST_TRY = 2048
"""Number of ranges of the first attempt for metadata. Each further number is estimated from the previous length."""

CHUNK = 256
"""Ranges per chunk."""

UNUSED = 64
"""If at most one part in this many of the limit is unused, another attempt is not worth its time."""

BASE_CHARACTERS = 22
"""The longest map without a range."""

Text = TypeVar("Text", str, bytes)

_PREFIX, _PREFIX_1 = "p2:", "p1:"
_PLAIN, _DEFLATED = b"\x00", b"\x01"
_RANGES, _UNSETTLED, _SETTLED = range(3)
_MAX_INFLATED = 1 << 22  # `MOST_RANGES`, with the largest numbers that offsets can differ by, are less
_MAX_RECORD_INFLATED = 1 << 24  # the same for `RECORD_RANGES`


class SkipMapError(Exception):
    """The metadata is not a valid skip map for the committed offset. The message completes "the metadata: …"."""


def encode(base: int, ranges: Sequence[Range], limit: int = MAX_CHARACTERS) -> tuple[str, int]:
    """Encodes the ascending `ranges` for a commit at `base`. Returns the metadata, and how many ranges it contains.

    If not all ranges fit into `limit` characters, or there are more than `MOST_RANGES`, the highest ones are left out.
    If none fits, or there are none, the metadata is the empty text.
    """
    body = _Body(base, ranges)
    return _longest(lambda count: _text(body.first(count)), min(len(ranges), MOST_RANGES), limit, ("", FIRST_TRY))


def encode_base(base: int) -> str:
    """Return a map without a range for a commit at `base`: it shows which offset the notes behind it belong to."""
    return _text(varint(base))


def encode_record(base: int, ranges: Sequence[Range], limit: int = RECORD_BYTES) -> tuple[bytes, int]:
    """Encodes the ascending `ranges` for a commit at `base` as a record's value. Returns it, and how many it contains.

    If not all ranges fit into `limit` bytes, or there are more than `RECORD_RANGES`, the highest ones are left out.
    """
    body, prefix = _Body(base, ranges), _PREFIX.encode()
    most = min(len(ranges), RECORD_RANGES)
    return _longest(lambda count: prefix + _checked(body.first(count), level=1), most, limit, (b"", most))


def extend(
    base: int, ranges: Sequence[Range], known: Sequence[Range], limit: int = MAX_CHARACTERS
) -> tuple[str, Sequence[Range]] | None:
    """Encodes as `encode` does, but always includes `known`: the ranges of an earlier map, which are part of `ranges`.

    If `ranges` has more than `MOST_RANGES`, it need not reach as far as `known` does.

    Returns the metadata and the ranges that it contains, or None if not even the known ones fit any more.
    """
    text, fits = encode(base, ranges, limit)
    if fits == len(ranges):
        return text, ranges
    known = [(max(low, base), high) for low, high in known if high > base]
    if not _above(known, ranges[fits - 1][1] if fits else base):
        return text, ranges[:fits]
    body = _Body(base, ranges)

    def with_known(count: int) -> str:
        end = ranges[count - 1][1] if count else base
        above = _above(known, end)
        return _text(body.first(count) + b"".join(_chunks(end, above)))

    least = with_known(0)
    if len(least) > limit:
        return None
    text, fits = _longest(with_known, fits, limit, (least, FIRST_TRY))
    return text, [*ranges[:fits], *_above(known, ranges[fits - 1][1] if fits else base)]


def _above(ranges: Sequence[Range], end: int) -> list[Range]:
    return [(low, high) for low, high in ranges if low >= end]


def _longest(text_of: Callable[[int], Text], most: int, limit: int, begin_with: tuple[Text, int]) -> tuple[Text, int]:
    """Return the longest text that fits into the limit, or nearly that, and its number of ranges, at most `most`.

    Attempts alternate between an estimate and the middle, since deflate is not linear.

    Args:
        text_of: encodes the given number of ranges, the first ones.
        most: the highest number of ranges.
        limit: the greatest length.
        begin_with: the text of no range, and the number of ranges of the first attempt.
    """
    text, first = begin_with
    fits, fails, tried = 0, most + 1, min(most, first)
    is_estimate = True
    while fits < tried < fails:
        candidate = text_of(tried)
        if len(candidate) > limit:
            fails = tried
        else:
            text, fits = candidate, tried
            if limit - len(text) <= limit // UNUSED:
                break
        estimate = tried * limit // len(candidate)
        tried = estimate if is_estimate or fails > most else (fits + fails) // 2
        tried = max(fits + 1, min(tried, fails - 1, most))
        is_estimate = not is_estimate
    return text, fits


def decode(text: str, committed: int) -> list[Range]:
    """Decodes the settled ranges of a commit at `committed`, ascending; empty for an empty text. Ignores a note.

    Raises:
        SkipMapError: the text was written by another program or version, is damaged, or is for another offset.
    """
    text, _ = split(text)
    if not text:
        return []
    numbers = _numbers(_text_body(text))
    _check_base(numbers, committed)
    ranges: list[Range] = []
    if text.startswith(_PREFIX_1):
        _add_ranges(numbers[1:], committed, ranges)
    else:
        _add_chunks(numbers, committed, ranges)
    return ranges


def base_of(text: str) -> int | None:
    """Return the offset that a map belongs to; None for an empty text. Does not decode the map, and ignores a note.

    Raises:
        SkipMapError: the text was written by another program or version, or is damaged.
    """
    text, _ = split(text)
    if not text:
        return None
    body = _text_body(text)
    end = next((index for index, byte in enumerate(body) if byte < 0x80), len(body))
    return _numbers(body[: end + 1])[0]


def decode_record(value: bytes, committed: int) -> list[Range]:
    """Decodes a record's value, as `decode` does metadata.

    Raises:
        SkipMapError: the value was written by another program or version, is damaged, or is for another offset.
    """
    prefix = _PREFIX.encode()
    if not value.startswith(prefix):
        raise SkipMapError("it was not written by this version of this program")
    numbers = _numbers(_body(value[len(prefix) :], -zlib.MAX_WBITS, _MAX_RECORD_INFLATED))
    _check_base(numbers, committed)
    ranges: list[Range] = []
    _add_chunks(numbers, committed, ranges)
    return ranges


def _check_base(numbers: Sequence[int], committed: int) -> None:
    if not numbers:
        raise SkipMapError("it has no base")
    if numbers[0] != committed:
        raise SkipMapError(f"it belongs to offset {numbers[0]}")


class _Body:
    """The numbers of a map as bytes. Each full chunk is encoded once, however many attempts contain it."""

    def __init__(self, base: int, ranges: Sequence[Range]) -> None:
        self._base = base
        self._ranges = ranges
        self._chunks = [varint(base)]

    def first(self, count: int) -> bytes:
        """Return the base and the first `count` ranges."""
        full = count - count % CHUNK
        known = (len(self._chunks) - 1) * CHUNK
        self._chunks += _chunks(self._end(known), self._ranges[known:full])
        rest = _chunks(self._end(full), self._ranges[full:count])
        return b"".join(chain(self._chunks[: full // CHUNK + 1], rest))

    def _end(self, count: int) -> int:
        return self._ranges[count - 1][1] if count else self._base


def _chunks(end: int, ranges: Sequence[Range]) -> list[bytes]:
    """Encode ranges that follow an offset."""
    chunks = []
    for first in range(0, len(ranges), CHUNK):
        chunk = ranges[first : first + CHUNK]
        chunks.append(_chunk(end, chunk))
        end = chunk[-1][1]
    return chunks


def _chunk(end: int, ranges: Sequence[Range]) -> bytes:
    lows, highs = zip(*ranges, strict=True)
    gaps, lengths = list(map(sub, lows, (end, *highs))), list(map(sub, highs, lows))
    kind = _kind(2 * len(ranges), sum(gaps), sum(lengths)) if min(gaps) else _RANGES
    if kind == _RANGES:
        numbers = list(chain.from_iterable(zip(gaps, lengths, strict=True)))
    elif kind == _UNSETTLED:
        numbers = []
        for gap, length in zip(gaps, lengths, strict=True):
            if gap > 1:
                numbers += [0] * (gap - 1)
            numbers.append(length)
    else:
        numbers = []
        for gap, length in zip(gaps, lengths, strict=True):
            numbers.append(gap)
            if length > 1:
                numbers += [0] * (length - 1)
    return varint(4 * len(numbers) + kind) + _varints(numbers)


def _kind(bounds: int, unsettled: int, settled: int) -> int:
    """Return the kind with the fewest numbers, with a preference for kind 1.

    All chunks of a map share one Huffman code, so a kind that differs from that of its neighbours costs more. So the
    other kinds are taken only if kind 1 needs at least a quarter more numbers.
    """
    if 5 * min(bounds, settled) > 4 * unsettled:
        return _UNSETTLED
    return _RANGES if bounds < settled else _SETTLED


def _text(body: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(_checked(body)).decode("ascii").rstrip("=")


def _checked(body: bytes, level: int = 6) -> bytes:
    """Return what follows the version: the checksum, and the numbers in the shortest form."""
    strategies = zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY
    deflated = min((_deflate(body, level, strategy) for strategy in strategies), key=len)
    body = _DEFLATED + deflated if len(deflated) < len(body) else _PLAIN + body
    return zlib.crc32(body).to_bytes(4) + body


def _deflate(body: bytes, level: int, strategy: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return deflater.compress(body) + deflater.flush()


def _unquoted(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SkipMapError("it is not valid base64") from None


def _text_body(text: str) -> bytes:
    """Return the numbers of a map in metadata as bytes."""
    prefix = text[: len(_PREFIX)]
    if prefix not in (_PREFIX, _PREFIX_1):
        raise SkipMapError("it was not written by this version of this program")
    window = zlib.MAX_WBITS if prefix == _PREFIX_1 else -zlib.MAX_WBITS
    return _body(_unquoted(text[len(prefix) :]), window, _MAX_INFLATED)


def _body(checked: bytes, window: int, most: int) -> bytes:
    """Return the numbers as bytes, inflated with zlib's `window`, at most `most` of them."""
    body = checked[4:]
    if len(body) < 2 or zlib.crc32(body).to_bytes(4) != checked[:4]:
        raise SkipMapError("its checksum is wrong")
    if body[:1] == _PLAIN:
        return body[1:]
    if body[:1] != _DEFLATED:
        raise SkipMapError("its compression is unknown")
    inflater = zlib.decompressobj(window)
    try:
        plain = inflater.decompress(body[1:], most)
    except zlib.error:
        raise SkipMapError("it cannot be inflated") from None
    if not inflater.eof:
        raise SkipMapError("it is too long, or truncated")
    return plain


def _varints(numbers: Sequence[int]) -> bytes:
    if max(numbers) < 0x80:  # the usual case, in which bytes() is a hundred times faster than the loop
        return bytes(numbers)
    return b"".join(map(varint, numbers))


def varint(number: int) -> bytes:
    """Return a number as LEB128: seven bits a byte, the lowest first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(body: bytes) -> list[int]:
    numbers = []
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
        elif shift > 63:
            raise SkipMapError("a number in it is too large")
    if shift:
        raise SkipMapError("it ends inside a number")
    return numbers


def _add_chunks(numbers: Sequence[int], end: int, ranges: list[Range]) -> None:
    """Decode the chunks that follow the first of these numbers."""
    first = 1
    while first < len(numbers):
        count, kind = divmod(numbers[first], 4)
        chunk = numbers[first + 1 : first + 1 + count]
        if not chunk or len(chunk) < count:
            raise SkipMapError("a chunk in it is empty, or truncated")
        if kind >= len(_KINDS):
            raise SkipMapError("the kind of a chunk in it is unknown")
        end = _KINDS[kind](chunk, end, ranges)
        first += 1 + count


def _add_ranges(numbers: Sequence[int], end: int, ranges: list[Range]) -> int:
    if len(numbers) % 2:
        raise SkipMapError("a range in it has no length")
    for distance, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not length:
            raise SkipMapError("a range in it is empty")
        ranges.append((end + distance, end + distance + length))
        end += distance + length
    return end


def _add_between_unsettled(numbers: Sequence[int], end: int, ranges: list[Range]) -> int:
    for settled in numbers:
        end += 1
        if settled:
            ranges.append((end, end + settled))
            end += settled
    return end


def _add_settled(numbers: Sequence[int], end: int, ranges: list[Range]) -> int:
    low = end
    for unsettled in numbers:
        if unsettled:
            if end > low:
                ranges.append((low, end))
            low = end = end + unsettled
        end += 1
    ranges.append((low, end))
    return end


_KINDS = _add_ranges, _add_between_unsettled, _add_settled

"""A skip map that is too long for a commit's metadata: a record of the progress topic, and the reference to it.

The record's key is a JSON list: the group, and the topic and the number of the partition that the map is about. A
partition has a second key, with a 1 at the end of the list: compaction keeps the last record of each key, so a record
must not have the key of the one that the commit refers to until a commit refers to it instead. The record's value is
the map as `skipmap.encode_record` writes it. The commit's metadata is a reference: the text `r1:`, followed by
URL-safe base64 without padding of
- a CRC-32 (4 bytes, big-endian) of the bytes after it,
- numbers as LEB128 varints: the base of the map, the number of the progress topic's partition, the record's offset, and
  a CRC-32 of its value,
- the name of the progress topic in UTF-8.

The record is acknowledged before the offset is committed with the reference, so offset and map take effect in one step.
A record without a reference means nothing. A record counts only if its key is one of the partition's, its value has the
checksum, and the map in it has the base that is committed.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from processor.engine.commit_note import kept_in, split
from processor.engine.offsets import Range
from processor.engine.skipmap import SkipMapError, base_of, decode_record, varint

_PREFIX = "r1:"
_NUMBERS = 4
_LONGEST_NUMBERS = 30  # bytes of a reference's numbers: three below 2**63, and a checksum


class Reference(NamedTuple):
    """Where the skip map of a commit is."""

    topic: str
    """The progress topic."""
    number: int
    """The number of the record's partition."""
    offset: int
    """The offset of the record."""
    base: int
    """The committed offset that the map belongs to."""
    checksum: int
    """CRC-32 of the record's value."""

    def __str__(self) -> str:
        numbers = b"".join(map(varint, (self.base, self.number, self.offset, self.checksum)))
        body = numbers + self.topic.encode()
        return _PREFIX + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode("ascii").rstrip("=")


def reference_to(topic: str, number: int, offset: int, base: int, value: bytes) -> Reference:
    """Return the reference to a record that was acknowledged with this value."""
    return Reference(topic, number, offset, base, zlib.crc32(value))


def longest_reference(topic: str) -> int:
    """Return how many characters a reference to this topic may have."""
    return len(_PREFIX) + -(-(4 + _LONGEST_NUMBERS + len(topic.encode())) * 4 // 3)


def keys_of(group: str, topic: str, number: int) -> Sequence[bytes]:
    """Return the two keys of the records with a partition's maps. Compaction keeps the last record of each."""
    names = [group, topic, number]
    return [json.dumps(key, separators=(",", ":")).encode() for key in (names, [*names, 1])]


def next_key(keys: Sequence[bytes], committed: bytes | None) -> bytes:
    """Return which of a partition's keys its next record has.

    Args:
        keys: both, from `keys_of`.
        committed: the key of the record that the group's commit refers to; None if it refers to none.
    """
    first, second = keys
    return second if committed == first else first


def reference_in(metadata: str, committed: int) -> Reference | None:
    """Return the reference in the metadata of a commit at `committed`; None if it has none. Ignores a note.

    Raises:
        SkipMapError: the reference is damaged, or is for another offset.
    """
    text, _ = split(metadata)
    if not text.startswith(_PREFIX):
        return None
    text = text[len(_PREFIX) :]
    try:
        checked = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SkipMapError("its reference is not valid base64") from None
    body = checked[4:]
    if not body or zlib.crc32(body).to_bytes(4) != checked[:4]:
        raise SkipMapError("the checksum of its reference is wrong")
    (base, number, offset, checksum), topic = _numbers(body)
    if base != committed:
        raise SkipMapError(f"it belongs to offset {base}")
    return Reference(topic, number, offset, base, checksum)


def noted_until(metadata: str, committed: int) -> int | None:
    """Return the offset below which a commit notes that every task is settled; None if it notes none.

    Metadata that another tool has copied to another offset notes nothing. The record of a reference is not checked.
    """
    kept = kept_in(metadata)
    if not kept:
        return None
    try:
        belongs = reference_in(metadata, committed) is not None or base_of(metadata) == committed
    except SkipMapError:
        return None
    return committed + kept if belongs else None


def settled_in(reference: Reference, keys: Sequence[bytes], key: bytes | None, value: bytes | None) -> list[Range]:
    """Return the settled ranges in the record at the reference's place.

    Args:
        reference: where the record was found.
        keys: those of the partition, from `keys_of`.
        key: the record's.
        value: the record's.

    Raises:
        SkipMapError: it is not the record that the reference is to.
    """
    if key not in keys or value is None or zlib.crc32(value) != reference.checksum:
        raise SkipMapError("it refers to the place of another record")
    return decode_record(value, reference.base)


def _numbers(body: bytes) -> tuple[list[int], str]:
    """Return the numbers of a reference, and the name of the topic behind them."""
    numbers, number, shift = list[int](), 0, 0
    for index, byte in enumerate(body):
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
            if len(numbers) == _NUMBERS:
                return numbers, _name(body[index + 1 :])
        elif shift > 63:
            break
    raise SkipMapError("its reference is incomplete")


def _name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise SkipMapError("its reference is incomplete") from None

"""The datum of a `processor.Task`, read and written by hand.

Every task of the default format passes here, and a general reader or writer takes two or three times as long over
this one layout. Only the shipped layout is: a schema with another fingerprint goes the general way.

A length is not held against what is left, for a slice ends where its bytes end: the next field then finds
nothing to begin with, and the last field, a number, has no length. So memory is bounded by the value.
"""

from __future__ import annotations

from functools import lru_cache

from processor.codec.body import JSON_TYPE, read_body
from processor.handlers.task import Content

LAYOUT = bytes.fromhex("9cda608e494710c2")
"""The fingerprint of the schema whose layout this is: `schemas/task.avsc`."""

LONGEST_LONG = 10
"""Bytes of the longest variable-length number (Avro specification 1.12, "Binary Encoding")."""

USUAL_END = b"\x20application/json\x00"
"""The content type and the headers of almost every task: 16 bytes of text, then a map with nothing in it."""

Body = bytes | str | None


def read_envelope(value: bytes, at: int) -> Content:
    """What the task says that begins at `at` and takes the rest of `value`.

    Raises:
        IndexError: the value ends too early.
        ValueError: it does not have this layout, or some text is not UTF-8.
        DecodeError: the payload is not what its content type claims.
    """
    task_id, at = _text(value, at)
    session_id, at = _text(value, at)
    name, at = _text(value, at)
    payload, at = _payload(value, at)
    content_type, headers = JSON_TYPE, None
    if value.startswith(USUAL_END, at):
        at += len(USUAL_END)
    else:
        content_type, at = _text(value, at)
        headers, at = _headers(value, at)
    _check_end(value, at)
    return Content(read_body(payload, content_type), name or None, task_id or None, session_id or None, headers or None)


def write_envelope(
    frame: bytes, task_id: str, session_id: str, name: str, body: bytes, content_type: str, created_at: int
) -> bytes:
    """A value: `frame`, then the task's datum, without headers.

    Raises:
        UnicodeError: some text has no UTF-8.
        AttributeError: some text is none.
    """
    end = USUAL_END if content_type == JSON_TYPE else _written(content_type.encode()) + b"\x00"
    return b"".join(
        (
            frame,
            _written(task_id.encode()),
            _written(session_id.encode()),
            _written(name.encode()),
            b"\x02",  # the payload's branch of bytes
            _written(body),
            end,
            _number(created_at),
        )
    )


def _written(block: bytes) -> bytes:
    size = len(block)
    return (SHORT[size] if size < len(SHORT) else _number(size)) + block


@lru_cache(maxsize=16)
def _number(number: int) -> bytes:
    """A long; those of a moment repeat, as the clock's milliseconds do."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


SHORT = tuple(bytes((size << 1,)) for size in range(64))
"""The sizes that take one byte."""


def _payload(value: bytes, at: int) -> tuple[Body, int]:
    """A union: the number of the branch, which is one byte with the number doubled, then what the branch has."""
    branch = value[at]
    if branch == 2:
        return _block(value, at + 1)
    if branch == 4:
        return _text(value, at + 1)
    if branch:
        raise ValueError("the payload is neither null nor bytes nor a string")
    return None, at + 1


def _headers(value: bytes, at: int) -> tuple[dict[str, bytes | None], int]:
    """A map: blocks of entries, each begun by their number; a negative one is followed by the block's size."""
    headers: dict[str, bytes | None] = {}
    count, at = _long(value, at)
    while count:
        if count < 0:
            _, at = _long(value, at)
        for _ in range(abs(count)):
            name, at = _text(value, at)
            headers[name], at = _block(value, at)
        count, at = _long(value, at)
    return headers, at


def _check_end(value: bytes, at: int) -> None:
    """`created_at`, which nothing reads, must be all that is left."""
    last = at
    while value[last] > 0x7F:
        last += 1
    if last - at >= LONGEST_LONG:
        raise ValueError("created_at is no number")
    if last + 1 != len(value):
        raise ValueError(f"{len(value) - last - 1} bytes follow its end")


def _text(value: bytes, at: int) -> tuple[str, int]:
    """A block of UTF-8. Most are shorter than 64 bytes: their length is one byte, the number doubled."""
    size = value[at]
    if size & 0x81:
        block, at = _block(value, at)
        return block.decode(), at
    end = at + 1 + (size >> 1)
    return value[at + 1 : end].decode(), end


def _block(value: bytes, at: int) -> tuple[bytes, int]:
    """A number of bytes, then as many bytes."""
    size, at = _long(value, at)
    if size < 0:
        raise ValueError(f"a length is {size}")
    return value[at : at + size], at + size


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, its sign in the lowest bit of all."""
    number = shift = 0
    while (byte := value[at]) > 0x7F:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift == 7 * LONGEST_LONG:
            raise ValueError(f"a number takes more than {LONGEST_LONG} bytes")
    number |= byte << shift
    return (number >> 1) ^ -(number & 1), at + 1

"""Hand-written readers and a writer for the datum of a `processor.Task`.

Every task in the default format passes through them; the general reader and writer take two to three times as long.
They support only the shipped layout. A schema with another fingerprint takes the general path.

`usual_reader` makes readers of the form that almost every task has. Such a reader is one function, because a call costs
as much as reading a field. It decodes only the payload; the other fields are decoded on access. `read_envelope` reads
any task, and reports what is wrong with it.

Lengths are not compared with the bytes that remain: a slice ends at the end of the value, and reading the next field
then raises. The last field, a number, has no length. The value's size therefore bounds memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from processor.codec.body import JSON_TYPE, decode_json, read_body
from processor.handlers.task import Content

LAYOUT = bytes.fromhex("9cda608e494710c2")
"""Fingerprint of the schema with this layout, `schemas/task.avsc`."""

LONGEST_LONG = 10
"""Maximum size of a variable-length number in bytes (Avro specification 1.12, "Binary Encoding")."""

USUAL_END = b"\x20application/json\x00"
"""Content type and headers of almost every task: 16 bytes of text, then an empty map."""

BYTES_BRANCH = 2
"""The byte that selects the branch `bytes` of the payload's union: twice the index of the branch."""

ONE_BYTE, TWO_BYTES = (1 << 7) - 1, (1 << 14) - 1
"""The largest unsigned numbers that fit into one byte and into two bytes, at seven bits per byte."""

is_usual_end = re.compile(USUAL_END + rb"[\x80-\xff]{0,9}[\x00-\x7f]", re.DOTALL).fullmatch
"""Matches if the rest of a value from an offset on is the usual end and one number, `created_at`."""

Body = bytes | str | None


class UsualContent(msgspec.Struct, frozen=True, eq=False):
    """A task in its usual form, of which only the payload is decoded yet: few handlers use the other fields."""

    payload: Any
    _value: bytes
    _at: int
    """Offset of the length of the ID. The texts were checked: each is ASCII after one byte, twice its length."""
    _session: int
    _name: int
    """Offsets of the lengths of the session ID and the name."""

    @property
    def id(self) -> str | None:
        """The ID, if there is one."""
        return self._value[self._at + 1 : self._session].decode() or None

    @property
    def session_id(self) -> str | None:
        """The session ID, if there is one."""
        return self._value[self._session + 1 : self._name].decode() or None

    @property
    def name(self) -> str | None:
        """The name, if there is one."""
        begin = self._name + 1
        return self._value[begin : begin + (self._value[self._name] >> 1)].decode() or None

    @property
    def headers(self) -> None:
        """None: a task in this form sets no headers."""
        return None


def usual_reader(frame: bytes) -> Callable[[bytes], UsualContent | None]:
    """Return a reader of values that begin with `frame` and continue with a task in its usual form to their end.

    Its texts are ASCII of less than 64 characters each, its payload is JSON of less than 8 KiB in `bytes`, and it sets
    no headers. It returns None for any other value, valid or not: `read_envelope` reads or reports those.
    """
    at, first = len(frame), len(frame) + 1

    def read(value: bytes) -> UsualContent | None:
        try:
            session = first + (value[at] >> 1)
            name = session + 1 + (value[session] >> 1)
            branch = name + 1 + (value[name] >> 1)
            size, begin = value[branch + 1], branch + 2
            if size > ONE_BYTE:
                size += (value[begin] - 1) << 7
                begin += 1
            end = begin + (size >> 1)
            if (
                not value.startswith(frame)
                or (value[at] | value[session] | value[name] | size) & 1  # a length is negative
                or size > TWO_BYTES
                or value[branch] != BYTES_BRANCH
                or not value[at:branch].isascii()  # the texts, and their lengths
                or is_usual_end(value, end) is None
            ):
                return None
            return UsualContent(decode_json(value[begin:end]), value, at, session, name)
        except Exception:  # noqa: BLE001 — whatever is wrong, `read_envelope` finds it again and reports it
            return None

    return read


def read_envelope(value: bytes, at: int) -> Content:
    """Decodes the task that begins at byte `at` and extends to the end of `value`.

    Raises:
        IndexError: the value ends too early.
        ValueError: the value does not have this layout, or text in it is not UTF-8.
        DecodeError: the payload does not match its content type.
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


TaskFields = tuple[str, str, str, bytes, str, int]
"""ID, session ID, name, body, content type, and creation time in epoch milliseconds."""


def write_envelope(frame: bytes, fields: TaskFields) -> bytes:
    """Encodes a value: `frame`, followed by the task's datum without headers.

    Raises:
        UnicodeError: a text cannot be encoded as UTF-8.
        AttributeError: an argument that must be text is not.
    """
    task_id, session_id, name, body, content_type, created_at = fields
    end = USUAL_END if content_type == JSON_TYPE else _written(content_type.encode()) + b"\x00"
    return b"".join(
        (
            frame,
            _written(task_id.encode()),
            _written(session_id.encode()),
            _written(name.encode()),
            bytes((BYTES_BRANCH,)),
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
    """Encodes a long. The cache serves `created_at`, which many tasks share within a millisecond."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


SHORT = tuple(bytes((size << 1,)) for size in range(64))
"""Encoded lengths that take one byte."""


def _payload(value: bytes, at: int) -> tuple[Body, int]:
    """A union: the index of the branch, which is one byte (twice the index), then the branch's value."""
    branch = value[at]
    if branch == BYTES_BRANCH:
        return _block(value, at + 1)
    if branch == 4:
        return _text(value, at + 1)
    if branch:
        raise ValueError("the payload is neither null nor bytes nor a string")
    return None, at + 1


def _headers(value: bytes, at: int) -> tuple[dict[str, bytes | None], int]:
    """A map: blocks of entries, each after its count. A negative count is followed by the block's size in bytes."""
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
    """Checks that the value ends with `created_at`, which is skipped."""
    last = at
    while value[last] > 0x7F:
        last += 1
    if last - at >= LONGEST_LONG:
        raise ValueError("created_at is not a valid number")
    if last + 1 != len(value):
        raise ValueError(f"{len(value) - last - 1} bytes follow the end of the datum")


def _text(value: bytes, at: int) -> tuple[str, int]:
    """A length and that many bytes of UTF-8. A length below 64, as most are, is one byte: twice the length."""
    size = value[at]
    if size & 0x81:
        block, at = _block(value, at)
        return block.decode(), at
    end = at + 1 + (size >> 1)
    return value[at + 1 : end].decode(), end


def _block(value: bytes, at: int) -> tuple[bytes, int]:
    """A length, followed by that many bytes."""
    size, at = _long(value, at)
    if size < 0:
        raise ValueError(f"a length is negative: {size}")
    return value[at : at + size], at + size


def _long(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag-encoded number in groups of seven bits, the least significant group first."""
    number = shift = 0
    while (byte := value[at]) > 0x7F:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift == 7 * LONGEST_LONG:
            raise ValueError(f"a variable-length number has more than {LONGEST_LONG} bytes")
    number |= byte << shift
    return (number >> 1) ^ -(number & 1), at + 1

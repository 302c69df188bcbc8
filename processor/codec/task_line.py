"""`TaskLine`: a record decoded as the task that a handler would get, in a form to print."""

from __future__ import annotations

from typing import Any

import msgspec

from processor.engine.record import Record
from processor.errors import DecodeError
from processor.handlers.exceptions import InvalidHeader
from processor.handlers.joins import is_of_join, returned_by
from processor.handlers.task import NO_CONTENT, Content, Decoded, headers_of, identity_of
from processor.runtime.ports import Codec


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    """A task, as `processor tail -o json` prints one in each line."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """milliseconds since the epoch; -1 if the record has none"""
    session: str
    name: str
    id: str
    headers: dict[str, str | None]
    """bytes that are not UTF-8 as \\xNN"""
    payload: Any
    """decoded; bytes as text if they are UTF-8, else as base64; null for a record without a value"""
    error: str | None
    """why the value cannot be decoded"""
    size: int | None
    """bytes of the value; null for a record without a value"""

    @property
    def payload_text(self) -> str:
        """The payload as JSON."""
        return msgspec.json.encode(self.payload, enc_hook=str).decode()


def task_line(record: Record, codec: Codec) -> TaskLine:
    """Decode a record. One that cannot be decoded has an error, and the fields that its key and headers set."""
    content: Decoded = NO_CONTENT
    error = None
    try:
        content = Content(returned_by(record)) if is_of_join(record) else codec.decode(record)
    except (DecodeError, InvalidHeader) as caught:
        error = str(caught)
    task, value = identity_of(record, content), record.value()
    kind, milliseconds = record.timestamp()
    return TaskLine(
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        timestamp=milliseconds if kind else -1,
        session=task.session_id,
        name=task.name,
        id=task.id,
        headers={name: header_text(text) for name, text in headers_of(record, content).items()},
        payload=_readable(content.payload),
        error=error,
        size=len(value) if value is not None else None,
    )


def header_text(value: bytes | None) -> str | None:
    """Return a header's value as text, with an escape for each byte that is not UTF-8."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _readable(payload: Any) -> Any:
    if not isinstance(payload, bytes):
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload

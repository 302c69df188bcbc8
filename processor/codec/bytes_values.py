"""`BytesCodec`: the value is the payload."""

from __future__ import annotations

from typing import Any

from processor.codec.messages import Outgoing
from processor.engine.record import Headers, Record
from processor.errors import EncodeError
from processor.handlers.task import Content, Task


class BytesCodec:
    """Values as they are. A task's name and ID travel in the record's headers."""

    def decode(self, record: Record) -> Content:
        """The value, or None, as the payload."""
        return Content(record.value())

    def encode_task(self, outgoing: Outgoing) -> bytes | None:
        """The payload; None is a record without a value, which a compacted topic takes for a deletion.

        Raises:
            EncodeError: the payload is neither bytes nor text nor None.
        """
        return None if outgoing.payload is None else _written(outgoing.payload, "the payload")

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """The headers that carry what the value cannot."""
        named = (("task-id", outgoing.id), ("task-name", outgoing.name))
        return [(header, _written(text, f"the header {header}")) for header, text in named if text]

    def encode_result(self, task: Task, result: Any) -> bytes:
        """The return value; None never comes here: the runtime sends no result for it.

        Raises:
            EncodeError: it is neither bytes nor text.
        """
        return _written(result, "the handler's return value")


def _written(value: Any, noun: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode() if isinstance(value, str) else bytes(memoryview(value))
    except TypeError:
        kind = type(value).__name__
        raise EncodeError(f"{noun} is of type {kind}; with --value-format bytes it must be bytes or text") from None
    except UnicodeEncodeError as error:
        raise EncodeError(f"{noun} has no UTF-8: {error}") from error

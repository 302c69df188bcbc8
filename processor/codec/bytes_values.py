"""`BytesCodec`: the value is the payload."""

from __future__ import annotations

from typing import Any, Final

from processor.codec.messages import Outgoing
from processor.codec.value_codec import CodecInputs
from processor.engine.record import Headers, Record
from processor.errors import EncodeError
from processor.handlers.task import Content, Task


class BytesCodec:
    """Passes values through unchanged. A task's name and ID are headers of the record."""

    passes_values: Final = True

    def decode(self, record: Record) -> Content:
        """The value as the payload; None for a record without one."""
        return Content(record.value())

    def encode_task(self, outgoing: Outgoing) -> bytes | None:
        """The payload; None for a record without a value, which is a tombstone in a compacted topic.

        Raises:
            EncodeError: the payload is neither bytes nor text nor None, or its memory was released.
        """
        return None if outgoing.payload is None else _written(outgoing.payload, "the payload")

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """The headers `task-id` and `task-name`, as far as they are set."""
        named = (("task-id", outgoing.id), ("task-name", outgoing.name))
        return [(header, _written(text, f"the header {header}")) for header, text in named if text]

    def encode_result(self, task: Task, result: Any) -> bytes:
        """The return value. It is never None: the runtime sends no result then.

        Raises:
            EncodeError: the return value is neither bytes nor text, or its memory was released.
        """
        return _written(result, "the handler's return value")


def codec(inputs: CodecInputs) -> BytesCodec:
    """The codec of this format, which needs nothing."""
    return BytesCodec()


def _written(value: Any, noun: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode() if isinstance(value, str) else bytes(memoryview(value))
    except TypeError:
        kind = type(value).__name__
        raise EncodeError(f"{noun} has type {kind}; --value-format bytes requires bytes or text") from None
    except UnicodeEncodeError as error:
        raise EncodeError(f"{noun} cannot be encoded as UTF-8: {error}") from error
    except ValueError as error:  # a `memoryview` or an `mmap` that is released or closed
        raise EncodeError(f"{noun} cannot be read: {error}") from error

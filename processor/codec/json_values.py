"""`JsonCodec`: an object with a `payload` member is an envelope, any other JSON is the payload."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from processor.codec.body import JSON_TYPE, read_json, write_json
from processor.codec.messages import Outgoing, result_of
from processor.codec.value_codec import CodecInputs
from processor.engine.record import Headers, Record
from processor.errors import DecodeError
from processor.handlers.task import Content, Task


class _Envelope(msgspec.Struct):
    id: str | msgspec.UnsetType
    session_id: str
    name: str
    payload: Any


class JsonCodec:
    """Reads and writes values in JSON, encoded as UTF-8."""

    passes_values: Final = False

    def decode(self, record: Record) -> Content:
        """Decodes the value.

        Raises:
            DecodeError: it is not JSON, or a member of an envelope has the wrong type.
        """
        value = record.value()
        if value is None:
            return Content(None)
        if not value:
            raise DecodeError("the value is empty; --value-format json requires JSON")
        document = read_json(value, "the value")
        if type(document) is dict and "payload" in document:
            return _opened(document)
        return Content(document)

    def encode_task(self, outgoing: Outgoing) -> bytes:
        """Encodes an envelope.

        Raises:
            EncodeError: the payload has no JSON form.
        """
        task_id = msgspec.UNSET if outgoing.id is None else outgoing.id
        envelope = _Envelope(task_id, outgoing.session_id, outgoing.name, outgoing.payload)
        return write_json(envelope, "the payload")

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """Always empty: the value carries every field."""
        return []

    def encode_result(self, task: Task, result: Any) -> bytes:
        """Encodes the fields of `schemas/task_result.avsc` as an object whose `result` is the return value itself.

        Raises:
            EncodeError: the return value has no JSON form.
        """
        return write_json(result_of(task, result, JSON_TYPE), "the handler's return value")


def codec(inputs: CodecInputs) -> JsonCodec:
    """The codec of this format, which needs nothing."""
    return JsonCodec()


def _opened(envelope: dict[str, Any]) -> Content:
    headers = envelope.get("headers")
    return Content(
        envelope["payload"],
        _text(envelope, "name"),
        _text(envelope, "id"),
        _text(envelope, "session_id"),
        _headers(headers) if headers is not None else None,
    )


def _text(envelope: dict[str, Any], member: str) -> str | None:
    value = envelope.get(member)
    if value is None or type(value) is str:
        return value
    raise DecodeError(f"the member {member!r} must be text, not {_kind(value)}")


def _headers(value: Any) -> dict[str, bytes | None]:
    if type(value) is not dict:
        raise DecodeError(f"the member 'headers' must be an object, not {_kind(value)}")
    return {name: _header(name, text) for name, text in value.items()}


def _header(name: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if type(value) is str:
        return value.encode()
    raise DecodeError(f"the header {name!r} must be text or null, not {_kind(value)}")


def _kind(value: Any) -> str:
    """The value's type in JSON, with its article."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return {str: "text", list: "an array", dict: "an object", type(None): "null"}[type(value)]

"""`Anatomy`: a record's value taken apart: framing, schema, datum, and the position of the first error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from processor.avro.fault import NOTHING, Fault
from processor.avro.schema import Schema
from processor.codec.avro_values import TASK, AvroCodec, schema_header
from processor.codec.body import read_body
from processor.codec.framing import CONFLUENT, CONFLUENT_FRAME, SINGLE_OBJECT
from processor.engine.record import Record
from processor.errors import DecodeError
from processor.handlers.task import Decoded
from processor.runtime.ports import Codec


class DecodeFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and why a value cannot be decoded."""

    reason: str
    byte: int | None = None
    """Offset from 0, counted from the start of the value, framing included."""
    field: str | None = None
    """The field's path, such as `lines[2].price`."""

    def message(self, schema: str | None) -> str:
        """The failure in one line."""
        if self.byte is None or schema is None:
            return self.reason
        field = f", field {self.field}" if self.field else ""
        return f"the value is not a valid {schema}: byte {self.byte}{field}: {self.reason}"


class Anatomy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A value taken apart. Members that are not known are not set."""

    framing: str
    """`single-object`, `confluent`, `header` (a header names the schema), or `none`."""
    schema: str | None = None
    """The schema's full name."""
    fingerprint: str | None = None
    """The schema's fingerprint, as in single-object encoding, in hexadecimal digits."""
    schema_id: int | None = None
    """The schema's ID in a registry."""
    value: Any = msgspec.UNSET
    """The datum. For a task, the payload is decoded and headers are text where they can be."""
    partial: Any = msgspec.UNSET
    """If the value cannot be decoded: the part of it that could be."""
    error: DecodeFailure | None = None

    def json(self, record: Mapping[str, Any] | None = None) -> bytes:
        """Indented JSON; bytes are base64, decimals are text, times are ISO 8601.

        Args:
            record: the record's own fields, such as topic and offset; they come first.
        """
        members = {name: member for name, member in self._members() if member is not msgspec.UNSET}
        document = {**({"record": record} if record else {}), **members}
        return msgspec.json.format(msgspec.json.encode(document), indent=2)

    def _members(self) -> list[tuple[str, Any]]:
        members = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, member) for name, member in members if member is not None or name in ("value", "partial")]


def anatomy_of(record: Record, codec: Codec) -> Anatomy:
    """Takes the value of `record` apart, as `codec` decodes it. Never raises: a failure is part of the result."""
    if isinstance(codec, AvroCodec) and record.value() is not None:
        return _of_avro(record, codec)
    try:
        return Anatomy(framing="none", value=_content_fields(codec.decode(record)))
    except DecodeError as error:
        return Anatomy(framing="none", error=DecodeFailure(str(error)))


def _content_fields(content: Decoded) -> Any:
    """The payload alone, or all fields of the task if the value sets more than the payload."""
    headers = {name: _as_text(header) for name, header in (content.headers or {}).items()}
    texts = {"name": content.name, "id": content.id, "session_id": content.session_id, "headers": headers or None}
    given = {name: text for name, text in texts.items() if text is not None}
    fields = {"payload": _as_text(content.payload), **given}
    return fields if len(fields) > 1 else fields["payload"]


def _of_avro(record: Record, codec: AvroCodec) -> Anatomy:
    value = record.value() or b""
    framing, schema_id = _framing(value) if schema_header(record) is None else ("header", None)
    try:
        schema, frame = codec.schema_of(record)
    except DecodeError as error:
        byte = len(SINGLE_OBJECT) if framing == "single-object" else 1 if framing == "confluent" else 0
        return Anatomy(framing=framing, schema_id=schema_id, error=DecodeFailure(str(error), min(byte, len(value))))
    parts = Anatomy(framing=framing, schema=schema.name, fingerprint=schema.fingerprint.hex(), schema_id=schema_id)
    anatomy = _read(parts, schema, value, frame)
    return anatomy if anatomy.error is None or not _is_decodable(record, codec) else _ignoring_created_at(anatomy)


def _framing(value: bytes) -> tuple[str, int | None]:
    if value.startswith(SINGLE_OBJECT):
        return "single-object", None
    if value[:1] == bytes([CONFLUENT]):
        is_complete = len(value) >= CONFLUENT_FRAME
        return "confluent", int.from_bytes(value[1:CONFLUENT_FRAME], "big") if is_complete else None
    return "none", None


def _read(parts: Anatomy, schema: Schema, value: bytes, frame: int) -> Anatomy:
    try:
        datum = schema.read(value, frame)
    except Fault as fault:
        partial = msgspec.UNSET if fault.partial is NOTHING else fault.partial
        error = DecodeFailure(fault.reason, fault.at, fault.path or None)
        return msgspec.structs.replace(parts, partial=partial, error=error)
    if schema.name != TASK:
        return msgspec.structs.replace(parts, value=datum)
    try:
        return msgspec.structs.replace(parts, value=_opened(datum))
    except DecodeError as caught:
        return msgspec.structs.replace(parts, partial=datum, error=DecodeFailure(str(caught), field="payload"))


def _is_decodable(record: Record, codec: AvroCodec) -> bool:
    try:
        codec.decode(record)
    except DecodeError:
        return False
    return True


def _ignoring_created_at(anatomy: Anatomy) -> Anatomy:
    """Accepts a task whose `created_at` is out of range for Python: a consumer does not read that field."""
    return msgspec.structs.replace(anatomy, value=_opened(anatomy.partial), partial=msgspec.UNSET, error=None)


def _opened(task: dict[str, Any]) -> dict[str, Any]:
    """A task with its payload decoded, as its handler gets it."""
    payload = _as_text(read_body(task.get("payload"), task.get("content_type") or ""))
    headers = {name: _as_text(header) for name, header in (task.get("headers") or {}).items()}
    return {**task, "payload": payload, "headers": headers}


def _as_text(value: Any) -> Any:
    """Bytes as text if they are UTF-8; any other value unchanged."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def record_fields(record: Record) -> dict[str, Any]:
    """A record's position, key, timestamp and headers. A repeated header has the list of its values."""
    headers: dict[str, Any] = {}
    for name, value in record.headers() or ():
        headers[name] = _as_text(value) if name not in headers else [*_listed(headers[name]), _as_text(value)]
    kind, milliseconds = record.timestamp()
    fields = {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "key": _as_text(record.key()),
        "timestamp": milliseconds if kind else None,
        "headers": headers,
    }
    return {name: field for name, field in fields.items() if field not in (None, {})}


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]

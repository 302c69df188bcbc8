"""`Anatomy`: what a record's value is made of, and where it stops making sense."""

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
from processor.handlers.task import Content
from processor.runtime.ports import Codec


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and why a value cannot be read."""

    reason: str
    byte: int | None = None
    """Counted from 0 at the value's begin, its framing included."""
    field: str | None = None
    """As in `lines[2].price`."""

    def sentence(self, schema: str | None) -> str:
        """In one line."""
        if self.byte is None or schema is None:
            return self.reason
        field = f", field {self.field}" if self.field else ""
        return f"the value is no {schema}: byte {self.byte}{field}: {self.reason}"


class Anatomy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A value taken apart, for people and for JSON. What is not known is not set."""

    framing: str
    """`single-object`, `confluent`, `header` (the schema is named in a header), or `none`."""
    schema: str | None = None
    """The schema's full name."""
    fingerprint: str | None = None
    """Of the schema, as single-object encoding has it, in hexadecimal digits."""
    schema_id: int | None = None
    """The schema's ID in a registry."""
    value: Any = msgspec.UNSET
    """The datum; of a task, its payload and its headers readable where they can be."""
    read: Any = msgspec.UNSET
    """Where the value cannot be read: what was read of it."""
    error: Trouble | None = None

    def json(self, record: Mapping[str, Any] | None = None) -> bytes:
        """As indented JSON; bytes are base64, decimals text, times ISO 8601.

        Args:
            record: what is known of where the value comes from; it stands first.
        """
        members = {name: member for name, member in self._members() if member is not msgspec.UNSET}
        document = {**({"record": record} if record else {}), **members}
        return msgspec.json.format(msgspec.json.encode(document), indent=2)

    def _members(self) -> list[tuple[str, Any]]:
        told = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, member) for name, member in told if member is not None or name in ("value", "read")]


def anatomy_of(record: Record, codec: Codec) -> Anatomy:
    """The value of `record`, taken apart as `codec` would read it. It never raises: what is wrong is part of it."""
    if isinstance(codec, AvroCodec) and record.value() is not None:
        return _of_avro(record, codec)
    try:
        return Anatomy(framing="none", value=_unframed(codec.decode(record)))
    except DecodeError as error:
        return Anatomy(framing="none", error=Trouble(str(error)))


def _unframed(content: Content) -> Any:
    """The payload; of a task that tells more of itself, all that it tells."""
    headers = {name: _shown(header) for name, header in (content.headers or {}).items()}
    told = {**msgspec.structs.asdict(content), "payload": _shown(content.payload), "headers": headers or None}
    told = {name: member for name, member in told.items() if member is not None or name == "payload"}
    return told if len(told) > 1 else told["payload"]


def _of_avro(record: Record, codec: AvroCodec) -> Anatomy:
    value = record.value() or b""
    framing, schema_id = _framing(value) if schema_header(record) is None else ("header", None)
    try:
        schema, frame = codec.schema_of(record)
    except DecodeError as error:
        byte = len(SINGLE_OBJECT) if framing == "single-object" else 1 if framing == "confluent" else 0
        return Anatomy(framing=framing, schema_id=schema_id, error=Trouble(str(error), min(byte, len(value))))
    parts = Anatomy(framing=framing, schema=schema.name, fingerprint=schema.fingerprint.hex(), schema_id=schema_id)
    anatomy = _read(parts, schema, value, frame)
    return anatomy if anatomy.error is None or not _is_taken(record, codec) else _without_its_end(anatomy)


def _framing(value: bytes) -> tuple[str, int | None]:
    if value.startswith(SINGLE_OBJECT):
        return "single-object", None
    if value[:1] == bytes([CONFLUENT]):
        whole = len(value) >= CONFLUENT_FRAME
        return "confluent", int.from_bytes(value[1:CONFLUENT_FRAME], "big") if whole else None
    return "none", None


def _read(parts: Anatomy, schema: Schema, value: bytes, frame: int) -> Anatomy:
    try:
        datum = schema.read(value, frame)
    except Fault as fault:
        read = msgspec.UNSET if fault.partial is NOTHING else fault.partial
        return msgspec.structs.replace(parts, read=read, error=Trouble(fault.reason, fault.at, fault.path or None))
    if schema.name != TASK:
        return msgspec.structs.replace(parts, value=datum)
    try:
        return msgspec.structs.replace(parts, value=_opened(datum))
    except DecodeError as error:
        return msgspec.structs.replace(parts, read=datum, error=Trouble(str(error), field="payload"))


def _is_taken(record: Record, codec: AvroCodec) -> bool:
    try:
        codec.decode(record)
    except DecodeError:
        return False
    return True


def _without_its_end(anatomy: Anatomy) -> Anatomy:
    """A task whose `created_at` is no time that Python has: nothing reads it, and so it is taken all the same."""
    return msgspec.structs.replace(anatomy, value=_opened(anatomy.read), read=msgspec.UNSET, error=None)


def _opened(task: dict[str, Any]) -> dict[str, Any]:
    """A task with its payload as its handler gets it."""
    payload = _shown(read_body(task.get("payload"), task.get("content_type") or ""))
    headers = {name: _shown(header) for name, header in (task.get("headers") or {}).items()}
    return {**task, "payload": payload, "headers": headers}


def _shown(value: Any) -> Any:
    """Bytes as text where they are UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def shown_record(record: Record) -> dict[str, Any]:
    """Where a record stands and what it has beside its value; a header that repeats has all its values in a list."""
    headers: dict[str, Any] = {}
    for name, value in record.headers() or ():
        headers[name] = _shown(value) if name not in headers else [*_listed(headers[name]), _shown(value)]
    kind, milliseconds = record.timestamp()
    told = {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "key": _shown(record.key()),
        "timestamp": milliseconds if kind else None,
        "headers": headers,
    }
    return {name: member for name, member in told.items() if member not in (None, {})}


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]

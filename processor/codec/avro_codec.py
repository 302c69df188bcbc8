"""`AvroCodec`: a record of `processor.Task` is an envelope, a datum of any other schema is the payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import msgspec
from fastavro import schemaless_writer

from processor.codec.body import read_body, write_body
from processor.codec.envelope import LAYOUT, read_envelope
from processor.codec.fault import Fault, Unresolvable
from processor.codec.outcome import epoch_milliseconds, outcome_of
from processor.codec.outgoing import Outgoing
from processor.codec.readers import written_names
from processor.codec.registry import SchemaRegistry
from processor.codec.resolution import Resolution
from processor.codec.schema import Schema
from processor.codec.schemas import Schemas, shipped_schemas
from processor.errors import DecodeError, EncodeError
from processor.task import Content, Headers, Record, Task

TASK = "processor.Task"
RESULT = "processor.TaskResult"

SINGLE_OBJECT = b"\xc3\x01"
"""How single-object encoding begins; eight bytes of fingerprint follow (Avro specification 1.12, by that name)."""
SINGLE_OBJECT_FRAME = 10

CONFLUENT = 0
"""How Confluent's wire format begins; a schema ID of four bytes, big-endian, follows."""
CONFLUENT_FRAME = 5


class AvroCodec:
    """Values in Avro, framed with what tells their schema. Reads both framings, writes single-object encoding."""

    def __init__(
        self,
        schemas: Schemas | None = None,
        registry: SchemaRegistry | None = None,
        clock: Callable[[], int] = epoch_milliseconds,
        readers: Iterable[Schema] = (),
    ) -> None:
        """`readers` are the schemas that handlers declare: records that one of them can be made of are read as it."""
        self._registry = registry
        self._clock = clock
        shipped = shipped_schemas()
        self._task = shipped.by_name[TASK]
        self._result = shipped.by_name[RESULT]
        known = (schemas or shipped).by_fingerprint
        self._readers = {TASK: self._task, **{name: reader for reader in readers for name in written_names(reader)}}
        self._resolutions: dict[Schema, Resolution] = {}
        """How records are read that a reader's schema is there for, by their writers' schemas."""
        self._by_frame = {SINGLE_OBJECT + fingerprint: schema for fingerprint, schema in known.items()}

    def decode(self, record: Record) -> Content:
        """What the value says.

        Raises:
            DecodeError: it has no framing, its schema is not known, or its bytes are not that schema's.
        """
        value = record.value()
        if value is None:
            return Content(None)
        schema, frame = self._by_frame.get(value[:SINGLE_OBJECT_FRAME]), SINGLE_OBJECT_FRAME
        if schema is None:
            schema, frame = self._unframed(value)
        try:
            return self._content(schema, value, frame)
        except DecodeError:
            raise
        except Unresolvable as fault:
            raise DecodeError(f"{self._pair(schema)}: {fault}") from None
        except Fault as fault:
            raise DecodeError(f"the value is no {_noun(schema)}: {fault}") from None
        except (IndexError, ValueError) as error:  # of the task's own reader, which does not know where it is
            raise DecodeError(f"the value is no {_noun(schema)}: {_precisely(schema, value, frame, error)}") from None

    def schema_of(self, record: Record) -> tuple[Schema, int]:
        """The schema that the record's value names, and the byte at which its datum begins.

        Raises:
            DecodeError: it has no framing, or its schema is not known.
        """
        value = record.value() or b""
        schema = self._by_frame.get(value[:SINGLE_OBJECT_FRAME])
        return self._unframed(value) if schema is None else (schema, SINGLE_OBJECT_FRAME)

    def encode_task(self, outgoing: Outgoing) -> bytes:
        """A `processor.Task`; bytes as they are, any other payload as JSON.

        Raises:
            EncodeError: there is no JSON for the payload, or a name is no text.
        """
        payload, content_type = write_body(outgoing.payload, "the payload")
        fields = {
            "id": outgoing.id or "",
            "session_id": outgoing.session_id,
            "name": outgoing.name,
            "payload": payload,
            "content_type": content_type,
            "created_at": self._clock(),
        }
        return _written(self._task, fields)

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """None: the value says everything."""
        return []

    def encode_result(self, task: Task, result: Any) -> bytes:
        """A `processor.TaskResult`; bytes as they are, any other return value as JSON.

        Raises:
            EncodeError: there is no JSON for the return value.
        """
        body, content_type = write_body(result, "the handler's return value")
        return _written(self._result, msgspec.structs.asdict(outcome_of(task, body, content_type)))

    def _content(self, schema: Schema, value: bytes, frame: int) -> Content:
        if schema.fingerprint == LAYOUT:
            return read_envelope(value, frame)
        datum = self._resolution(schema).read(value, frame)
        # Of an older or a newer task: fields that it lacks have their defaults, those that it adds are left out.
        return _opened(datum) if schema.name == TASK else Content(datum, schema.name)

    def _resolution(self, written: Schema) -> Resolution:
        reader = self._readers.get(written.name or "")
        if reader is None:
            return written.resolution
        if written not in self._resolutions:
            self._resolutions[written] = written.read_by(reader)
        return self._resolutions[written]

    def _pair(self, written: Schema) -> str:
        reader = self._readers[written.name or ""]
        theirs, ours = written.fingerprint.hex(), reader.fingerprint.hex()
        return f"the value's schema {written.name} ({theirs}) does not fit the reader's {reader.name} ({ours})"

    def _unframed(self, value: bytes) -> tuple[Schema, int]:
        """The schema of a value that is not framed with a known fingerprint, and where its datum begins."""
        if not value:
            raise DecodeError("the value is empty; with --value-format avro it must be framed Avro")
        if value[0] == CONFLUENT:
            return self._registered(value), CONFLUENT_FRAME
        if not value.startswith(SINGLE_OBJECT):
            raise DecodeError(
                f"the value begins with {value[:2].hex(' ')}: neither Avro's single-object encoding (c3 01)"
                " nor Confluent's wire format (00)"
            )
        if len(value) < SINGLE_OBJECT_FRAME:
            raise DecodeError("the value ends inside its schema's fingerprint")
        fingerprint = value[len(SINGLE_OBJECT) : SINGLE_OBJECT_FRAME].hex()
        raise DecodeError(f"no schema has the fingerprint {fingerprint}: add its .avsc file to --schemas")

    def _registered(self, value: bytes) -> Schema:
        if len(value) < CONFLUENT_FRAME:
            raise DecodeError("the value ends inside its schema's ID")
        schema_id = int.from_bytes(value[1:CONFLUENT_FRAME], "big")
        if self._registry is None:
            raise DecodeError(f"the value names schema {schema_id} of a registry, and --schema-registry is not set")
        return self._registry.schema_by_id(schema_id)


def _noun(schema: Schema) -> str:
    return schema.name or "datum of its schema"


def _precisely(schema: Schema, value: bytes, frame: int, error: Exception) -> str:
    """What the slower reader says, which tells the byte and the field."""
    try:
        schema.read(value, frame)
    except Fault as fault:
        return str(fault)
    return str(error)


def _opened(envelope: dict[str, Any]) -> Content:
    return Content(
        read_body(envelope["payload"], envelope["content_type"]),
        envelope["name"] or None,
        envelope["id"] or None,
        envelope["session_id"] or None,
        envelope["headers"] or None,
    )


def _written(schema: Schema, fields: dict[str, Any]) -> bytes:
    stream = BytesIO()
    stream.write(SINGLE_OBJECT + schema.fingerprint)
    try:
        schemaless_writer(stream, schema.parsed, fields)
    except Exception as error:
        raise EncodeError(f"no {schema.name} can be written: {type(error).__name__}: {error}") from error
    return stream.getvalue()

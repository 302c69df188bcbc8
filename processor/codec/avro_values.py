"""`AvroCodec`: a record of `processor.Task` is an envelope, a datum of any other schema is the payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import msgspec

from processor.avro.fault import Fault, Unresolvable
from processor.avro.readers import written_names
from processor.avro.resolution import Resolution
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, shipped_schemas
from processor.codec.body import read_body, write_body
from processor.codec.envelope import LAYOUT, read_envelope, write_envelope
from processor.codec.framing import (
    CONFLUENT,
    CONFLUENT_FRAME,
    SINGLE_OBJECT,
    SINGLE_OBJECT_FRAME,
    single_object,
    written,
)
from processor.codec.messages import Outgoing, epoch_milliseconds, outcome_of
from processor.codec.registry_port import Framing, SchemaRegistry
from processor.engine.record import Headers, Record
from processor.errors import DecodeError, EncodeError
from processor.handlers.task import Content, Task

TASK = "processor.Task"
TASK_FIELDS = ("id", "session_id", "name", "payload", "content_type", "created_at")
"""Those that are written; the record's headers are headers of its own."""
RESULT = "processor.TaskResult"

SCHEMA_HEADER = "__value_schema_id"
"""The header that tells the schema of a value that is bare Avro: a byte 01 and the GUID, or a byte 00 and the ID.

This and the wire format are Confluent's: `SchemaId` and `dual_schema_id_deserializer` of their Python client.
"""
NO_REGISTRY = "the value names schema {} of a registry, and --schema-registry is not set"

BY_GUID = 1

MOST_RESOLUTIONS = 1000

GUID_HEADER = 17


class AvroCodec:
    """Values in Avro, framed with what tells their schema.

    Reads all framings; writes Confluent's wire format where there is a registry, else single-object encoding.
    """

    def __init__(
        self,
        schemas: Schemas | None = None,
        registry: SchemaRegistry | None = None,
        clock: Callable[[], int] = epoch_milliseconds,
        readers: Iterable[Schema] = (),
        *,
        task_topic: str | None = None,
        results_topic: str | None = None,
    ) -> None:
        """Opens what it needs.

        Args:
            schemas: those of files, by fingerprint.
            registry: where there is one.
            clock: milliseconds since the epoch.
            readers: schemas that handlers declare: records that one of them can be made of are read as it.
            task_topic: where tasks are written to, if they are; the registry is asked at once.
            results_topic: where results are written to, if they are; the registry is asked with the first task.

        Raises:
            LoadError: the registry does not take the schema of tasks.
            RegistryError: it cannot be asked.
        """
        self._registry = registry
        self._clock = clock
        shipped = shipped_schemas()
        self._task = shipped.by_name[TASK]
        self._task_framing = single_object(self._task)
        self._result_framing: Framing | None = single_object(shipped.by_name[RESULT])
        self._results_topic = results_topic
        if registry is not None and task_topic is not None:
            self._task_framing = registry.framing_for(task_topic, self._task)
        if registry is not None and results_topic is not None:
            self._result_framing = None
        known = (schemas or shipped).by_fingerprint
        self._readers = {TASK: self._task, **{name: reader for reader in readers for name in written_names(reader)}}
        self._resolutions: dict[Schema, Resolution] = {}
        """How records are read that a reader's schema is there for, by their writers' schemas."""
        self._by_frame = {SINGLE_OBJECT + fingerprint: schema for fingerprint, schema in known.items()}

    def decode(self, record: Record) -> Content:
        """What the value says.

        Raises:
            DecodeError: it has no framing, its schema is not known, or its bytes are not that schema's.
            NotNow: the registry cannot say now how it is to be read, or how its result is to be written.
        """
        if self._result_framing is None:  # no handler may run whose result could not be written afterwards
            self._result_framing = self._framing_of_results()
        value = record.value()
        if value is None:
            return Content(None)
        schema, frame = self._by_frame.get(value[:SINGLE_OBJECT_FRAME]), SINGLE_OBJECT_FRAME
        if schema is None:
            schema, frame = self._unframed(record, value)
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
            NotNow: the registry cannot say now.
        """
        value = record.value() or b""
        schema = self._by_frame.get(value[:SINGLE_OBJECT_FRAME])
        return self._unframed(record, value) if schema is None else (schema, SINGLE_OBJECT_FRAME)

    def encode_task(self, outgoing: Outgoing) -> bytes:
        """A `processor.Task`; bytes as they are, any other payload as JSON.

        Raises:
            EncodeError: there is no JSON for the payload, or a name is no text.
        """
        payload, content_type = write_body(outgoing.payload, "the payload")
        frame, schema = self._task_framing
        fields = (outgoing.id or "", outgoing.session_id, outgoing.name, payload, content_type, self._clock())
        if schema.fingerprint != LAYOUT:
            return written(self._task_framing, dict(zip(TASK_FIELDS, fields, strict=True)))
        try:
            return write_envelope(frame, *fields)
        except (AttributeError, UnicodeError) as error:
            raise EncodeError(f"no {TASK} can be written: {type(error).__name__}: {error}") from error

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """None: the value says everything."""
        return []

    def encode_result(self, task: Task, result: Any) -> bytes:
        """A `processor.TaskResult`; bytes as they are, any other return value as JSON.

        Raises:
            EncodeError: there is no JSON for the return value.
            NotNow: the registry cannot say now how it is to be written; never once a task was decoded.
        """
        framing = self._result_framing or self._framing_of_results()
        body, content_type = write_body(result, "the handler's return value")
        return written(framing, msgspec.structs.asdict(outcome_of(task, body, content_type)))

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
        resolution = self._resolutions.get(written)
        if resolution is None:
            if len(self._resolutions) >= MOST_RESOLUTIONS:  # a registry forgets schemas, and makes them anew
                self._resolutions.clear()
            resolution = self._resolutions[written] = written.read_by(reader)
        return resolution

    def _pair(self, written: Schema) -> str:
        reader = self._readers[written.name or ""]
        theirs, ours = written.fingerprint.hex(), reader.fingerprint.hex()
        return f"the value's schema {written.name} ({theirs}) does not fit the reader's {reader.name} ({ours})"

    def _framing_of_results(self) -> Framing:
        if self._registry is None or self._results_topic is None:
            raise AssertionError("results need the registry only where there is one")
        return self._registry.framing_for(self._results_topic, shipped_schemas().by_name[RESULT])

    def _unframed(self, record: Record, value: bytes) -> tuple[Schema, int]:
        """The schema of a value that is not framed with a known fingerprint, and where its datum begins."""
        header = schema_header(record)
        if header is not None:
            return self._named_in_header(header), 0
        if not value:
            raise DecodeError("the value is empty; with --value-format avro it must be framed Avro")
        if value[0] == CONFLUENT:
            if len(value) < CONFLUENT_FRAME:
                raise DecodeError("the value ends inside its schema's ID")
            return self._by_id(value[1:CONFLUENT_FRAME]), CONFLUENT_FRAME
        if not value.startswith(SINGLE_OBJECT):
            raise DecodeError(
                f"the value begins with {value[:2].hex(' ')}: neither Avro's single-object encoding (c3 01)"
                " nor Confluent's wire format (00)"
            )
        if len(value) < SINGLE_OBJECT_FRAME:
            raise DecodeError("the value ends inside its schema's fingerprint")
        fingerprint = value[len(SINGLE_OBJECT) : SINGLE_OBJECT_FRAME].hex()
        raise DecodeError(f"no schema has the fingerprint {fingerprint}: add its .avsc file to --schemas")

    def _named_in_header(self, header: bytes) -> Schema:
        if len(header) == GUID_HEADER and header[0] == BY_GUID:
            if self._registry is None:
                raise DecodeError(NO_REGISTRY.format(f"with the GUID {UUID(bytes=header[1:])}"))
            return self._registry.schema_by_guid(header[1:])
        if len(header) == CONFLUENT_FRAME and header[0] == CONFLUENT:
            return self._by_id(header[1:])
        raise DecodeError(f"the header {SCHEMA_HEADER} holds {header[:32].hex(' ')}, which names no schema")

    def _by_id(self, big_endian: bytes) -> Schema:
        schema_id = int.from_bytes(big_endian, "big")
        if self._registry is None:
            raise DecodeError(NO_REGISTRY.format(schema_id))
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


def schema_header(record: Record) -> bytes | None:
    """What names the schema of a bare datum: the first of that name, as Confluent's readers take it."""
    for name, header in record.headers() or ():
        if name == SCHEMA_HEADER:
            return header
    return None

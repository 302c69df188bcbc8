"""`AvroCodec`: a datum of `processor.Task` is an envelope, a datum of any other schema is the payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import msgspec

from processor.avro.fault import Fault, Unresolvable
from processor.avro.readers import reader_schema, written_names
from processor.avro.resolution import Resolution
from processor.avro.schema import Schema
from processor.avro.schemas import Schemas, load_schemas, shipped_schemas
from processor.codec.body import read_body, write_body
from processor.codec.envelope import LAYOUT, read_envelope, usual_reader, write_envelope
from processor.codec.framing import (
    CONFLUENT,
    CONFLUENT_FRAME,
    SINGLE_OBJECT,
    SINGLE_OBJECT_FRAME,
    encoded,
    single_object,
)
from processor.codec.messages import Outgoing, epoch_milliseconds, result_of
from processor.codec.registry_port import Framing, SchemaRegistry
from processor.codec.value_codec import CodecInputs
from processor.engine.record import Headers, Record
from processor.errors import DecodeError, EncodeError
from processor.handlers.table import Handlers
from processor.handlers.task import Content, Decoded, Task

TASK = "processor.Task"
TASK_FIELDS = ("id", "session_id", "name", "payload", "content_type", "created_at")
"""The fields that a producer writes; headers are sent as headers of the record."""
RESULT = "processor.TaskResult"

SCHEMA_HEADER = "__value_schema_id"
"""The header that identifies the schema of an unframed Avro value: 01 and the GUID, or 00 and the ID.

It is Confluent's, like the wire format: see `SchemaId` and `dual_schema_id_deserializer` of their Python client.
"""
NO_REGISTRY = "the value refers to schema {} of a registry, but --schema-registry is not set"

BY_GUID = 1

MAX_RESOLUTIONS = 1000

GUID_HEADER = 17


class AvroCodec:
    """Reads and writes values in Avro.

    Reads every framing. Writes Confluent's wire format if there is a registry, else single-object encoding.
    """

    passes_values: Final = False

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
        """Prepares the framings for reading and writing.

        Args:
            schemas: schemas from files, which fingerprints refer to; the shipped ones if None.
            registry: resolves schema IDs and GUIDs, if there is one.
            clock: returns milliseconds since the epoch.
            readers: schemas that handlers declare. Records with the name or an alias of one are read as it.
            task_topic: the topic that tasks are written to, if any. Its schema is requested from the registry at once.
            results_topic: the topic that results are written to, if any. Its schema is requested with the first task.

        Raises:
            LoadError: the registry rejects the schema of tasks.
            RegistryError: the registry does not respond.
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
        """Compiled resolutions by the writer's schema, for those that have a reader's schema."""
        self._by_frame = {SINGLE_OBJECT + fingerprint: schema for fingerprint, schema in known.items()}
        frame = SINGLE_OBJECT + LAYOUT
        self._read_usual = usual_reader(frame) if frame in self._by_frame else _read_nothing
        """Reads almost every value."""

    def decode(self, record: Record) -> Decoded:
        """Decodes the value.

        Raises:
            DecodeError: it has no valid framing, its schema is unknown, or its bytes do not match its schema.
            NotReady: the registry has not answered yet how to read it, or how to write its result.
        """
        if self._result_framing is None:  # else a handler would run, and its result could not be written
            self._result_framing = self._framing_of_results()
        value = record.value()
        if value is None:
            return Content(None)
        content = self._read_usual(value)
        if content is not None:
            return content
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
            raise DecodeError(f"the value is not a valid {_label(schema)}: {fault}") from None
        except (IndexError, ValueError) as error:  # from `read_envelope`, which reports no position
            located = _located(schema, value, frame, error)
            raise DecodeError(f"the value is not a valid {_label(schema)}: {located}") from None

    def schema_of(self, record: Record) -> tuple[Schema, int]:
        """The schema that the record's value refers to, and the offset of its datum in bytes.

        Raises:
            DecodeError: it has no valid framing, or its schema is unknown.
            NotReady: the registry has not answered yet.
        """
        value = record.value() or b""
        schema = self._by_frame.get(value[:SINGLE_OBJECT_FRAME])
        return self._unframed(record, value) if schema is None else (schema, SINGLE_OBJECT_FRAME)

    def encode_task(self, outgoing: Outgoing) -> bytes:
        """Encodes a `processor.Task`. Payloads of bytes are written unchanged, all others as JSON.

        Raises:
            EncodeError: the payload has no JSON form, or a name is not text.
        """
        payload, content_type = write_body(outgoing.payload, "the payload")
        frame, schema = self._task_framing
        fields = (outgoing.id or "", outgoing.session_id, outgoing.name, payload, content_type, self._clock())
        if schema.fingerprint != LAYOUT:
            return encoded(self._task_framing, dict(zip(TASK_FIELDS, fields, strict=True)))
        try:
            return write_envelope(frame, fields)
        except (AttributeError, UnicodeError) as error:
            raise EncodeError(f"cannot encode a {TASK}: {type(error).__name__}: {error}") from error

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """Always empty: the value carries every field."""
        return []

    def encode_result(self, task: Task, result: Any) -> bytes:
        """Encodes a `processor.TaskResult`. Return values of bytes are written unchanged, all others as JSON.

        Raises:
            EncodeError: the return value has no JSON form.
            NotReady: the registry has not answered yet how to write it. This cannot happen after a task was decoded.
        """
        framing = self._result_framing or self._framing_of_results()
        body, content_type = write_body(result, "the handler's return value")
        return encoded(framing, msgspec.structs.asdict(result_of(task, body, content_type)))

    def _content(self, schema: Schema, value: bytes, frame: int) -> Content:
        if schema.fingerprint == LAYOUT:
            return read_envelope(value, frame)
        datum = self._resolution(schema).read(value, frame)
        # The task's schema may be older or newer: missing fields have their defaults, unknown ones are skipped.
        return _opened(datum) if schema.name == TASK else Content(datum, schema.name)

    def _resolution(self, written: Schema) -> Resolution:
        reader = self._readers.get(written.name or "")
        if reader is None:
            return written.resolution
        resolution = self._resolutions.get(written)
        if resolution is None:
            if len(self._resolutions) >= MAX_RESOLUTIONS:  # the registry's cache replaces schemas by new objects
                self._resolutions.clear()
            resolution = self._resolutions[written] = written.read_by(reader)
        return resolution

    def _pair(self, written: Schema) -> str:
        reader = self._readers[written.name or ""]
        theirs, ours = f"{written.name} ({written.fingerprint.hex()})", f"{reader.name} ({reader.fingerprint.hex()})"
        return f"the value's schema {theirs} does not match the reader's schema {ours}"

    def _framing_of_results(self) -> Framing:
        if self._registry is None or self._results_topic is None:
            raise AssertionError("the framing of results is undecided only if there is a registry")
        return self._registry.framing_for(self._results_topic, shipped_schemas().by_name[RESULT])

    def _unframed(self, record: Record, value: bytes) -> tuple[Schema, int]:
        """The schema of a value without a known fingerprint, and the offset of its datum in bytes."""
        header = schema_header(record)
        if header is not None:
            return self._named_in_header(header), 0
        if not value:
            raise DecodeError("the value is empty; --value-format avro requires framed Avro")
        if value[0] == CONFLUENT:
            if len(value) < CONFLUENT_FRAME:
                raise DecodeError("the value ends inside the schema ID")
            return self._by_id(value[1:CONFLUENT_FRAME]), CONFLUENT_FRAME
        if not value.startswith(SINGLE_OBJECT):
            raise DecodeError(
                f"the value begins with {value[:2].hex(' ')}, which is neither Avro's single-object encoding (c3 01)"
                f" nor Confluent's wire format (00){_hint(value)}"
            )
        if len(value) < SINGLE_OBJECT_FRAME:
            raise DecodeError("the value ends inside the schema fingerprint")
        fingerprint = value[len(SINGLE_OBJECT) : SINGLE_OBJECT_FRAME].hex()
        raise DecodeError(f"no schema has the fingerprint {fingerprint}: add its .avsc file to --schemas")

    def _named_in_header(self, header: bytes) -> Schema:
        if len(header) == GUID_HEADER and header[0] == BY_GUID:
            if self._registry is None:
                raise DecodeError(NO_REGISTRY.format(f"with the GUID {UUID(bytes=header[1:])}"))
            return self._registry.schema_by_guid(header[1:])
        if len(header) == CONFLUENT_FRAME and header[0] == CONFLUENT:
            return self._by_id(header[1:])
        raise DecodeError(f"the header {SCHEMA_HEADER} must contain a schema ID or GUID, not {header[:32].hex(' ')!r}")

    def _by_id(self, big_endian: bytes) -> Schema:
        schema_id = int.from_bytes(big_endian, "big")
        if self._registry is None:
            raise DecodeError(NO_REGISTRY.format(schema_id))
        return self._registry.schema_by_id(schema_id)


def codec(inputs: CodecInputs) -> AvroCodec:
    """The codec of this format.

    Raises:
        LoadError: a schema cannot be loaded or found, two handlers are registered for the same records, or the
            registry rejects the schema of tasks.
        RegistryError: the registry does not respond.
    """
    schemas = load_schemas(inputs.schemas)
    return AvroCodec(
        schemas,
        inputs.registry,
        readers=_bound_readers(inputs.app, schemas, inputs.schemas) if inputs.app is not None else (),
        task_topic=inputs.task_topic,
        results_topic=inputs.results_topic,
    )


def _bound_readers(app: Handlers, schemas: Schemas, folder: str | None) -> list[Schema]:
    """Return the schemas that handlers declare, after binding each handler to the records that its schema reads."""
    readers = {declared: reader_schema(declared, schemas, folder) for declared in app.schemas}
    for declared, reader in readers.items():
        app.bind(declared, written_names(reader))
    return list(readers.values())


def _read_nothing(_value: bytes) -> None:
    """Return None for every value. It is used if the schema of the shipped layout is not known."""


def _hint(value: bytes) -> str:
    """Return advice if the value seems to be in another format, as it is if `--value-format` was forgotten."""
    return "; it looks like JSON: --value-format json reads it" if value.lstrip()[:1] in (b"{", b"[") else ""


def _label(schema: Schema) -> str:
    return schema.name or "datum of its schema"


def _located(schema: Schema, value: bytes, frame: int, error: Exception) -> str:
    """The error with its byte and field, from the general reader, which is slower but knows them."""
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
    """The header that identifies the schema of an unframed value: the first of that name, as Confluent's readers do."""
    for name, header in record.headers() or ():
        if name == SCHEMA_HEADER:
            return header
    return None

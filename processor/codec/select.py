"""`codec_for` and `codec_of`: the codec for a value format, without and with the schemas of an application."""

from __future__ import annotations

from typing import Protocol, assert_never

from processor.avro.readers import reader_schema, written_names
from processor.avro.schemas import load_schemas
from processor.codec.avro_values import AvroCodec
from processor.codec.bytes_values import BytesCodec
from processor.codec.json_values import JsonCodec
from processor.codec.messages import Outgoing
from processor.codec.registry_port import SchemaRegistry
from processor.engine.record import Headers
from processor.errors import LoadError
from processor.handlers.table import Handlers
from processor.options.values import ValueFormat
from processor.runtime.ports import Codec


class ValueCodec(Codec, Protocol):
    """Reads and writes values in one format, for consumers and producers. Threads may share it."""

    def encode_task(self, outgoing: Outgoing) -> bytes | None:
        """Encodes a task as a record's value; None is a record without a value.

        Raises:
            EncodeError: the task cannot be encoded in this format.
        """

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """The record's headers for those fields of the task that the value cannot carry.

        Raises:
            EncodeError: a field cannot be encoded.
        """


def codec_of(
    app: Handlers,
    value_format: ValueFormat,
    schemas: str | None = None,
    registry: SchemaRegistry | None = None,
    *,
    results_topic: str | None = None,
) -> ValueCodec:
    """The codec for the handlers of `app`. Registers each handler that declares a schema for that schema's records.

    Raises:
        LoadError: a schema cannot be loaded or found, or two handlers are registered for the same records.
    """
    if not app.schemas:
        return codec_for(value_format, schemas, registry, results_topic=results_topic)
    if value_format != "avro":
        raise LoadError(
            f"a handler declares the schema {app.schemas[0]!r}, which requires --value-format avro, not {value_format}"
        )
    loaded = load_schemas(schemas)
    readers = {declared: reader_schema(declared, loaded, schemas) for declared in app.schemas}
    for declared, reader in readers.items():
        app.bind(declared, written_names(reader))
    return AvroCodec(loaded, registry, readers=list(readers.values()), results_topic=results_topic)


def codec_for(
    value_format: ValueFormat,
    schemas: str | None = None,
    registry: SchemaRegistry | None = None,
    *,
    task_topic: str | None = None,
    results_topic: str | None = None,
) -> ValueCodec:
    """The codec for a value format.

    Args:
        value_format: the encoding of values.
        schemas: a folder of `.avsc` files, in addition to the shipped ones; for Avro only.
        registry: the schema registry, if there is one; for Avro only.
        task_topic: the topic that tasks are written to, if any.
        results_topic: the topic that results are written to, if any.

    Raises:
        LoadError: a schema cannot be loaded, or the registry rejects it.
        RegistryError: the registry does not respond.
    """
    match value_format:
        case "avro":
            loaded = load_schemas(schemas)
            return AvroCodec(loaded, registry, task_topic=task_topic, results_topic=results_topic)
        case "json":
            return JsonCodec()
        case "bytes":
            return BytesCodec()
    assert_never(value_format)

"""`codec_for`, the codec that a value format names."""

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
    """Values in one format, for consumers and producers. Any thread may call it."""

    def encode_task(self, outgoing: Outgoing) -> bytes | None:
        """A task as a record's value; None for a record without one.

        Raises:
            EncodeError: it cannot be written in this format.
        """

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """What of the task must travel in the record's headers, because the value cannot carry it.

        Raises:
            EncodeError: it cannot be written.
        """


def codec_of(
    app: Handlers,
    value_format: ValueFormat,
    schemas: str | None = None,
    registry: SchemaRegistry | None = None,
    *,
    results_topic: str | None = None,
) -> ValueCodec:
    """The codec that reads for the handlers of `app`; those that declare a schema are registered for its records.

    Raises:
        LoadError: a schema cannot be loaded or found, or two handlers take the same records.
    """
    if not app.schemas:
        return codec_for(value_format, schemas, registry, results_topic=results_topic)
    if value_format != "avro":
        raise LoadError(
            f"a handler declares the schema {app.schemas[0]!r}, and --value-format {value_format} has none: use avro"
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
    """The codec for `--value-format`.

    Args:
        value_format: what a value is.
        schemas: a folder of `.avsc` files, added to the shipped ones.
        registry: where there is one, for Avro only.
        task_topic: where tasks are written to, if they are.
        results_topic: where results are written to, if they are.

    Raises:
        LoadError: a schema cannot be loaded, or the registry does not take it.
        RegistryError: the registry cannot be asked.
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

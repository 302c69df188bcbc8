"""`codec_for` and `codec_of`: the codec for a value format, without and with the schemas of an application."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from processor.codec.registry_port import SchemaRegistry
from processor.codec.value_codec import CodecInputs, ValueCodec
from processor.errors import LoadError
from processor.handlers.table import Handlers
from processor.options.value_formats import WITH_SCHEMAS, ValueFormat, traits_of


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
        SettingsError: the format does not exist.
    """
    if app.schemas and not traits_of(value_format).has_schemas:
        raise LoadError(
            f"a handler declares the schema {app.schemas[0]!r}, which requires --value-format {WITH_SCHEMAS}, "
            f"not {value_format}"
        )
    return _made(value_format, CodecInputs(schemas=schemas, registry=registry, app=app, results_topic=results_topic))


def codec_for(
    value_format: ValueFormat,
    schemas: str | None = None,
    registry: SchemaRegistry | None = None,
    *,
    task_topic: str | None = None,
    results_topic: str | None = None,
) -> ValueCodec:
    """The codec for a value format. The arguments are those of `CodecInputs`.

    Raises:
        LoadError: a schema cannot be loaded, or the registry rejects it.
        RegistryError: the registry does not respond.
        SettingsError: the format does not exist.
    """
    inputs = CodecInputs(schemas=schemas, registry=registry, task_topic=task_topic, results_topic=results_topic)
    return _made(value_format, inputs)


def _made(value_format: ValueFormat, inputs: CodecInputs) -> ValueCodec:
    """Call `codec` in the module of the format. It is imported by name, so that no format loads another's libraries."""
    _ = traits_of(value_format)  # raises for an unknown format, so that no other module can be imported
    make: Callable[[CodecInputs], ValueCodec] = import_module(f"processor.codec.{value_format}_values").codec
    return make(inputs)

"""The codec of a command that reads values: the value format, its schemas, and the registry while the command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from processor.codec.select import codec_for
from processor.codec.value_codec import ValueCodec
from processor.options.values import ReadingOptions


@contextmanager
def open_codec(values: ReadingOptions) -> Iterator[ValueCodec]:
    """Return the codec inside the context, with a connection to the registry if there is one.

    Raises:
        LoadError: a schema cannot be loaded, or a library for the registry is missing.
    """
    if values.registry is None:
        yield codec_for(values.value_format, values.schemas)
        return
    from processor.kafka.registry.consumer import BlockingRegistry, open_registry  # not at the top: it loads slowly

    with open_registry(values.registry) as client:
        yield codec_for(values.value_format, values.schemas, BlockingRegistry(client))

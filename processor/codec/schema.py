"""`Schema`: one Avro schema that stands by itself, ready to read with."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec
from fastavro import _read_py, parse_schema, schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

from processor.codec.decimals import bounded


class Schema(msgspec.Struct, frozen=True, eq=False):
    """A schema with every type that it names inside it."""

    name: str | None
    """The full name; None for a type that has none (an array, a union)."""
    fingerprint: bytes
    """CRC-64-AVRO of the Parsing Canonical Form, as single-object encoding has it: 8 bytes, little-endian."""
    parsed: Any
    """What fastavro reads and writes with."""
    reader: Callable[..., Any]

    def read(self, stream: BytesIO, wanted: Schema | None = None) -> Any:
        """The next datum of `stream`, as `wanted` has it where that is given.

        Whatever is wrong with the bytes comes out as some `Exception`; memory is bounded by their number.
        """
        return self.reader(stream, self.parsed, None if wanted is None else wanted.parsed)


def compiled(name: str | None, definition: Any, recursive: bool) -> Schema:
    """A schema from its self-contained definition.

    Raises:
        Exception: whatever fastavro has to say against the definition.
    """
    canonical_form = to_parsing_canonical_form(definition)
    return Schema(
        name=name,
        # fastavro writes the bytes in little-endian order, as the Java library does and the specification asks.
        fingerprint=bytes.fromhex(fingerprint(canonical_form, "CRC-64-AVRO")),
        parsed=parse_schema(bounded(definition)),
        # The compiled reader recurses on the C stack without a limit: a type that contains itself, and a
        # kilobyte of bytes that say so, would end the process. The one in Python raises RecursionError.
        reader=_read_py.schemaless_reader if recursive else schemaless_reader,
    )

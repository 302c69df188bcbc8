"""`Schema`: one self-contained Avro schema, compiled for reading and writing."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from processor.avro.resolution import Resolution


class Schema(msgspec.Struct, frozen=True, eq=False):
    """A schema that contains every type it references."""

    name: str | None
    """The full name; None for a type without one (an array, a union)."""
    fingerprint: bytes
    """CRC-64-AVRO of the Parsing Canonical Form, as in single-object encoding: 8 bytes, little-endian."""
    definition: Any
    """The schema as JSON data: full names throughout; a named type is defined at its first use."""
    parsed: Any
    """fastavro's form of the schema, for writing."""
    resolution: Resolution
    """Reads data as they were written."""
    canonical_form: str
    """The Parsing Canonical Form, from which the fingerprint is computed."""

    def read(self, data: bytes, at: int) -> Any:
        """Decodes the datum that begins at byte `at` and extends to the end of `data`; its size bounds time and memory.

        Raises:
            Fault: the bytes do not match this schema.
        """
        return self.resolution.read(data, at)

    def write(self, stream: BytesIO, datum: Any) -> None:
        """Appends the datum to `stream`.

        Raises:
            Exception: of any type, from fastavro: the datum does not match this schema.
        """
        schemaless_writer(stream, self.parsed, datum)

    def read_by(self, reader: Schema) -> Resolution:
        """Compiles the resolution of data of this schema as `reader`. Nothing is cached."""
        return Resolution(self.definition, reader.definition)


def compile_schema(name: str | None, definition: Any) -> Schema:
    """Compiles a self-contained definition.

    Raises:
        Exception: of any type, from fastavro: the definition is invalid.
    """
    canonical_form = to_parsing_canonical_form(definition)
    return Schema(
        name=name,
        # fastavro returns the bytes in little-endian order, as the specification requires.
        fingerprint=bytes.fromhex(fingerprint(canonical_form, "CRC-64-AVRO")),
        definition=definition,
        parsed=parse_schema(definition),
        resolution=Resolution(definition),
        canonical_form=canonical_form,
    )

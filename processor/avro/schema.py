"""`Schema`: one Avro schema that stands by itself, ready to read with."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from processor.avro.resolution import Resolution


class Schema(msgspec.Struct, frozen=True, eq=False):
    """A schema with every type that it names inside it."""

    name: str | None
    """The full name; None for a type that has none (an array, a union)."""
    fingerprint: bytes
    """CRC-64-AVRO of the Parsing Canonical Form, as single-object encoding has it: 8 bytes, little-endian."""
    definition: Any
    """What its file says: every name in full, a named type where it is first met, by its name from then on."""
    parsed: Any
    """What fastavro writes with."""
    resolution: Resolution
    """What reads it as it was written."""
    canonical_form: str
    """The Parsing Canonical Form, which the fingerprint is of."""

    def read(self, data: bytes, at: int) -> Any:
        """The datum that begins at byte `at` and takes the rest of `data`. Time and memory are bounded by its length.

        Raises:
            Fault: the bytes are none of this schema.
        """
        return self.resolution.read(data, at)

    def write(self, stream: BytesIO, datum: Any) -> None:
        """Appends the datum to `stream`.

        Raises:
            Exception: whatever fastavro has to say against the datum.
        """
        schemaless_writer(stream, self.parsed, datum)

    def read_by(self, reader: Schema) -> Resolution:
        """How a datum of this schema is read as one of `reader`; made anew with every call."""
        return Resolution(self.definition, reader.definition)


def compiled(name: str | None, definition: Any) -> Schema:
    """A schema from its self-contained definition.

    Raises:
        Exception: whatever fastavro has to say against the definition.
    """
    canonical_form = to_parsing_canonical_form(definition)
    return Schema(
        name=name,
        # fastavro writes the bytes in little-endian order, as the Java library does and the specification asks.
        fingerprint=bytes.fromhex(fingerprint(canonical_form, "CRC-64-AVRO")),
        definition=definition,
        parsed=parse_schema(definition),
        resolution=Resolution(definition),
        canonical_form=canonical_form,
    )

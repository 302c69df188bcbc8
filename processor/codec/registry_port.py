"""The place of a schema registry, and what it says of values that are written."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from processor.avro.schema import Schema


class Framing(NamedTuple):
    """How values of one kind are written."""

    frame: bytes
    """What a value begins with."""
    schema: Schema
    """What its datum is written with."""


class SchemaRegistry(Protocol):
    """Where the schemas of Confluent's wire format are found. Any thread may ask."""

    def schema_by_id(self, schema_id: int) -> Schema:
        """The schema with this ID; asked for every record, so it remembers.

        Raises:
            DecodeError: the registry has no such schema, or one that cannot be read with.
            NotNow: it cannot be had at the moment.
        """

    def schema_by_guid(self, guid: bytes) -> Schema:
        """The schema with this GUID, 16 bytes; the same otherwise."""

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """How the values of `topic` that are made for `schema` are written.

        Raises:
            LoadError: the registry does not take the schema, or has none for them.
            RegistryError: it cannot be asked.
            NotNow: it cannot be asked at the moment.
        """

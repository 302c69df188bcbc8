"""The interface of a schema registry, as codecs use it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from processor.avro.schema import Schema


class Framing(NamedTuple):
    """How values of one schema are written."""

    frame: bytes
    """The bytes before the datum."""
    schema: Schema
    """The schema that the datum is written with."""


class SchemaRegistry(Protocol):
    """Resolves the schemas of Confluent's wire format. Threads may share it."""

    def schema_by_id(self, schema_id: int) -> Schema:
        """The schema with this ID. Called for every record, so implementations cache.

        Raises:
            DecodeError: the registry has no such schema, or an unusable one.
            NotReady: the schema is not available yet.
        """

    def schema_by_guid(self, guid: bytes) -> Schema:
        """The schema with this GUID of 16 bytes. Raises the same as `schema_by_id`."""

    def framing_for(self, topic: str, schema: Schema) -> Framing:
        """How to write values of `schema` to `topic`.

        Raises:
            LoadError: the registry rejects the schema, or has none for the topic.
            RegistryError: the registry does not respond.
            NotReady: the answer is not available yet.
        """

"""The place of a schema registry."""

from __future__ import annotations

from typing import Protocol

from processor.codec.schema import Schema


class SchemaRegistry(Protocol):
    """Where the schemas of Confluent's wire format are found. Any thread may ask."""

    def schema_by_id(self, schema_id: int) -> Schema:
        """The schema with this ID; asked for every record, so it remembers.

        Raises:
            DecodeError: the registry has no such schema, or one that cannot be read with.
        """

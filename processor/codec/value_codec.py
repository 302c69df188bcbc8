"""`ValueCodec`: reads and writes values in one format; and `CodecInputs`, from which the codec of a format is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from processor.codec.messages import Outgoing
from processor.codec.registry_port import SchemaRegistry
from processor.engine.record import Headers
from processor.handlers.table import Handlers
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


@dataclass(frozen=True, kw_only=True)
class CodecInputs:
    """The inputs from which the codec of a format is made. A format uses only those that it needs.

    Args:
        schemas: a folder of `.avsc` files, in addition to the shipped ones; for formats that have schemas.
        registry: the schema registry, if there is one; for formats that have schemas.
        app: the handlers that the tasks are for, if any. Each schema that one declares is bound to its records.
        task_topic: the topic that tasks are written to, if any.
        results_topic: the topic that results are written to, if any.
    """

    schemas: str | None = None
    registry: SchemaRegistry | None = None
    app: Handlers | None = None
    task_topic: str | None = None
    results_topic: str | None = None

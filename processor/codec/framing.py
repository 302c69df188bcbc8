"""Framings of Avro values: the bytes before the datum, and the schema that the datum is written with."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from processor.avro.fault import Fault
from processor.avro.schema import Schema
from processor.codec.registry_port import Framing
from processor.errors import EncodeError, LoadError

SINGLE_OBJECT = b"\xc3\x01"
"""First bytes of single-object encoding; a fingerprint of 8 bytes follows (Avro 1.12, "Single-object encoding")."""
SINGLE_OBJECT_FRAME = 10

CONFLUENT = 0
"""First byte of Confluent's wire format; a schema ID of 4 bytes, big-endian, follows."""
CONFLUENT_FRAME = 5

SAMPLES: dict[str, dict[str, Any]] = {
    "processor.Task": {
        "id": "i", "session_id": "s", "name": "n", "payload": b"p", "content_type": "c", "created_at": 1
    },
    "processor.TaskResult": {
        "task_id": "i", "session_id": "s", "name": "n", "topic": "t", "partition": 1, "offset": 1, "attempt": 2,
        "result": b"r", "content_type": "c", "completed_at": 1,
    },
}  # fmt: skip
"""Sample values by schema: each sets every field to something other than its default."""

TIME_SUFFIX = "_at"
"""Fields with this suffix are written as integers and read as `datetime`."""


def single_object(schema: Schema) -> Framing:
    """Single-object encoding, which requires no registry."""
    return Framing(SINGLE_OBJECT + schema.fingerprint, schema)


def confluent(schema_id: int, schema: Schema) -> Framing:
    """Confluent's wire format for a registered schema."""
    return Framing(bytes((CONFLUENT,)) + schema_id.to_bytes(4, "big"), schema)


def encoded(framing: Framing, fields: dict[str, Any]) -> bytes:
    """Encodes a value with its framing.

    Raises:
        EncodeError: the fields do not match the schema.
    """
    stream = BytesIO()
    stream.write(framing.frame)
    try:
        framing.schema.write(stream, fields)
    except Exception as error:
        raise EncodeError(f"cannot encode a {framing.schema.name}: {type(error).__name__}: {error}") from error
    return stream.getvalue()


def check_substitute(other: Schema, wanted: Schema, origin: str) -> None:
    """Checks that `other` can be written in place of `wanted` without silently dropping fields.

    Args:
        other: the schema to write with.
        wanted: the shipped schema of the values.
        origin: what the message calls `other`.

    Raises:
        LoadError: `other` lacks a field, or cannot represent the values.
    """
    sample = SAMPLES[wanted.name or ""]
    rejected = f"{origin}, {other.name}, cannot replace {wanted.name}"
    try:
        read_back = other.read_by(wanted).read(encoded(Framing(b"", other), sample), 0)
    except (EncodeError, Fault) as error:
        raise LoadError(f"{rejected}: {error}") from error
    lost = [name for name, value in sample.items() if not name.endswith(TIME_SUFFIX) and read_back.get(name) != value]
    if lost:
        raise LoadError(f"{rejected}: it would lose {', '.join(lost)}")

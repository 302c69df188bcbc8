"""Writing values: what they begin with, and the schema that their datum is written with."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from processor.avro.fault import Fault
from processor.avro.schema import Schema
from processor.codec.registry_port import Framing
from processor.errors import EncodeError, LoadError

SINGLE_OBJECT = b"\xc3\x01"
"""How single-object encoding begins; eight bytes of fingerprint follow (Avro specification 1.12, by that name)."""
SINGLE_OBJECT_FRAME = 10

CONFLUENT = 0
"""How Confluent's wire format begins; a schema ID of four bytes, big-endian, follows."""
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
"""By the schema that a value is made for: one that uses every field, none at its default."""

TIME = "_at"
"""How fields are called that are written as numbers, and come back as Python's own."""


def single_object(schema: Schema) -> Framing:
    """The framing that needs no registry."""
    return Framing(SINGLE_OBJECT + schema.fingerprint, schema)


def confluent(schema_id: int, schema: Schema) -> Framing:
    """The framing of a registered schema."""
    return Framing(bytes((CONFLUENT,)) + schema_id.to_bytes(4, "big"), schema)


def written(framing: Framing, fields: dict[str, Any]) -> bytes:
    """A value.

    Raises:
        EncodeError: the fields are not the schema's.
    """
    stream = BytesIO()
    stream.write(framing.frame)
    try:
        framing.schema.write(stream, fields)
    except Exception as error:
        raise EncodeError(f"no {framing.schema.name} can be written: {type(error).__name__}: {error}") from error
    return stream.getvalue()


def check_carries(other: Schema, wanted: Schema, origin: str) -> None:
    """Refuses a schema that would lose part of what `wanted` holds: a field that it lacks is left out without a word.

    Raises:
        LoadError: with `origin`, where the other schema comes from.
    """
    sample = SAMPLES[wanted.name or ""]
    refused = f"{origin}, {other.name}, cannot stand for {wanted.name}"
    try:
        back = other.read_by(wanted).read(written(Framing(b"", other), sample), 0)
    except (EncodeError, Fault) as error:
        raise LoadError(f"{refused}: {error}") from error
    lost = [name for name, value in sample.items() if not name.endswith(TIME) and back.get(name) != value]
    if lost:
        raise LoadError(f"{refused}: it would lose {', '.join(lost)}")

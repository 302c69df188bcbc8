"""`Outgoing`, a task on its way to a topic."""

from __future__ import annotations

from typing import Any

import msgspec


class Outgoing(msgspec.Struct, frozen=True):
    """What a producer says of a task; the record's key and headers are the producer's to add."""

    session_id: str
    payload: Any
    name: str = ""
    id: str | None = None
    """None leaves the naming to the reader: `TOPIC-PARTITION-OFFSET`."""

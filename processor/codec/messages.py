"""`Outcome`, what the results topic is told of a task."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from processor.handlers.task import Task


class Outcome(msgspec.Struct, frozen=True):
    """The fields of `schemas/task_result.avsc`, in its order."""

    task_id: str
    session_id: str
    name: str
    topic: str
    partition: int
    offset: int
    attempt: int
    result: Any
    content_type: str
    completed_at: int
    """Milliseconds since the epoch."""


def outcome_of(task: Task, result: Any, content_type: str) -> Outcome:
    """What is told of a task that has just succeeded."""
    return Outcome(
        task_id=task.id,
        session_id=task.session_id,
        name=task.name,
        topic=task.topic,
        partition=task.partition,
        offset=task.offset,
        attempt=task.attempt,
        result=result,
        content_type=content_type,
        completed_at=epoch_milliseconds(),
    )


def epoch_milliseconds() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Outgoing(msgspec.Struct, frozen=True):
    """What a producer says of a task; the record's key and headers are the producer's to add."""

    session_id: str
    payload: Any
    name: str = ""
    id: str | None = None
    """None leaves the naming to the reader: `TOPIC-PARTITION-OFFSET`."""

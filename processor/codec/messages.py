"""`TaskResult`, a record of the results topic, and `Outgoing`, a task to be produced."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from processor.handlers.task import Task


class TaskResult(msgspec.Struct, frozen=True):
    """The fields of `schemas/task_result.avsc`, in the same order."""

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


def result_of(task: Task, result: Any, content_type: str) -> TaskResult:
    """The result of a task that has just succeeded."""
    return TaskResult(
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
    """The current time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Outgoing(msgspec.Struct, frozen=True):
    """A task to be encoded as a record's value. The producer sets the record's key and headers."""

    session_id: str
    payload: Any
    name: str = ""
    id: str | None = None
    """None: consumers use `TOPIC-PARTITION-OFFSET`."""

"""Events of single tasks: their outcomes, and what delays them."""

from __future__ import annotations

from typing import ClassVar

from processor.telemetry.events.event import Event, Level


class TaskEvent(Event):
    """The fields of every event about one task."""

    task_id: str
    session_id: str
    task_name: str
    topic: str
    partition: int
    offset: int
    attempt: int
    """number of the attempt, from 1; 0 if there was none"""
    trace_id: str | None
    """trace of the attempt's span, with `--tracing`; else of the W3C `traceparent` header, if the record has a valid
    one"""
    span_id: str | None
    """the attempt's span, with `--tracing`; else the one that produced the task"""


class TaskSucceeded(TaskEvent):
    """A task succeeded. `--log-sample` sets the share of tasks for which this and `task.retrying` are logged."""

    event: ClassVar[str] = "task.succeeded"
    level: ClassVar[Level] = "debug"

    handler_seconds: float
    """duration of the attempt"""


class TaskRetrying(TaskEvent):
    """An attempt failed; its session waits for the next attempt."""

    event: ClassVar[str] = "task.retrying"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskDeferred(TaskEvent):
    """A task cannot be decoded yet, because its schema is not available; its session waits. No attempt is used up."""

    event: ClassVar[str] = "task.deferred"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskDeadLettered(TaskEvent):
    """A task failed for good, and its record is in the dead-letter topic. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.dead_lettered"
    level: ClassVar[Level] = "warning"

    dead_letter_topic: str
    error_type: str
    error: str
    traceback: str | None = None


class TaskCancelled(TaskEvent):
    """An operator has cancelled the task, and it is settled. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.cancelled"

    running: bool
    """whether an attempt had begun; its handler was interrupted, or the attempt failed"""
    dead_letter: bool
    """whether it becomes a dead letter"""
    unmet: int
    """tasks that would have followed it; with a dead letter, they become dead letters as well"""
    since: int
    """when the command was given, in milliseconds since the epoch"""
    by: str
    """the user who gave the command, as USER@HOST"""


class TaskTimedOut(TaskEvent):
    """An attempt reached its time limit, and its handler was interrupted. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.timed_out"
    level: ClassVar[Level] = "warning"

    timeout_seconds: float
    """the time limit"""


class TaskStuck(TaskEvent):
    """A handler keeps running past its time limit and the grace period."""

    event: ClassVar[str] = "task.stuck"
    level: ClassVar[Level] = "error"

    running_seconds: float
    stack: str
    """where it is"""


class TaskAbandoned(TaskEvent):
    """A task was still running when the drain timed out. It runs again, possibly while this attempt continues."""

    event: ClassVar[str] = "task.abandoned"
    level: ClassVar[Level] = "warning"

    running_seconds: float


class TaskDeliveryFailed(TaskEvent):
    """A result or dead letter could not be written; its session waits until a retry succeeds."""

    event: ClassVar[str] = "task.delivery_failed"
    level: ClassVar[Level] = "warning"

    target_topic: str
    error: str
    retry_in_seconds: float


class TaskSuspected(Event):
    """A process died while it ran only this task. After `--max-attempts` deaths, and at least two, the task becomes a
    dead letter `processor.ProcessDied`.
    """

    event: ClassVar[str] = "task.suspected"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    deaths: int
    """of processes that ran it and recorded it"""

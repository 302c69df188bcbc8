"""Events of handlers: outages that suspend them, and the lines that the application logs."""

from __future__ import annotations

from typing import Any, ClassVar

from processor.telemetry.events.event import Event, Level


class HandlerSuspended(Event):
    """Ten attempts of a handler in a row failed because of an outage (`outage_on`). Its tasks wait without a worker;
    now and then, one of them is attempted.
    """

    event: ClassVar[str] = "handler.suspended"
    level: ClassVar[Level] = "warning"

    handler: str
    """the task name or schema that it is registered for"""
    error_type: str
    """error of the last attempt"""
    error: str
    failing_since: int
    """when the first of these attempts failed, in milliseconds since the epoch"""
    waiting: int
    """its tasks that wait, one of each session"""


class HandlerResumed(Event):
    """A task of a suspended handler has succeeded; the others follow."""

    event: ClassVar[str] = "handler.resumed"

    handler: str
    """the task name or schema that it is registered for"""
    error_type: str
    """error for which it was suspended"""
    error: str
    suspended_seconds: float
    attempts: int
    """attempts while it was suspended"""
    waiting: int
    """its tasks that wait, one of each session"""


class HandlerLog(Event):
    """A line that the application logged, through structlog or `logging`, at the level of that line.

    The fields of the task are null for a line that comes from no handler. `--no-log-handlers` leaves these lines to the
    application. They are not rate-limited.
    """

    event: ClassVar[str] = "handler.log"

    task_id: str | None
    session_id: str | None
    task_name: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    attempt: int | None
    """number of the attempt, from 1"""
    trace_id: str | None
    """trace of the attempt's span, with `--tracing`; else of the W3C `traceparent` header, if the record has a valid
    one"""
    span_id: str | None
    """the attempt's span, with `--tracing`; else the one that produced the task"""
    level: Level  # type: ignore[misc]  # of the line, not of the class
    """`error` for lines of a higher level too"""
    logger: str | None
    """name of the logger"""
    message: str
    fields: dict[str, Any]
    """the fields of a structlog line, or `extra` of `logging`"""
    error_type: str | None
    """exception that was logged with the line"""
    error: str | None
    traceback: str | None
    stack: str | None
    """where the line was logged, with `stack_info`"""

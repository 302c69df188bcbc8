"""`Attempt`: one call of a handler, and how it ended."""

from __future__ import annotations

import contextlib
from asyncio import CancelledError
from collections.abc import Callable
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

import msgspec

from processor.engine.ledger import Loan
from processor.engine.outcome import Cause, Deferred, Failed, Outcome, Verdict
from processor.engine.record import Record
from processor.errors import DecodeError, EncodeError, NotReady
from processor.handlers.exceptions import (
    DependencyFailed,
    Expired,
    InvalidHeader,
    ProcessDied,
    Reject,
    Retry,
    TaskCancelled,
    TaskTimeout,
    UnknownTask,
)
from processor.handlers.table import Handler
from processor.handlers.task import NO_CONTENT, Decoded, Task, identity_of
from processor.runtime.interrupt import InterruptWindow
from processor.telemetry.error_text import frames_of, message_of, type_name
from processor.telemetry.handler_logs import NO_TASK
from processor.telemetry.trace_context import Trace, trace_context

OWN_FOLDER: Final = str(Path(__file__).parent)
"""Frames of this folder are left out of a traceback, which shows only the handler's."""

UNRUN: Final = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))
"""Types that a call returns without having run its code. From a handler, they would count as a success."""


BEFORE_ITS_HANDLER: Final = {
    DecodeError: Cause.UNDECODABLE,
    UnknownTask: Cause.UNKNOWN,
    Expired: Cause.EXPIRED,
    InvalidHeader: Cause.INVALID,
    DependencyFailed: Cause.UNMET,
    ProcessDied: Cause.DEADLY,
}
"""Why a task failed without a call of its handler."""


def nothing() -> None:
    """Do nothing: the default of `Attempt.go_on`."""


class Attempt(msgspec.Struct, eq=False):
    """One attempt at a task. The object is made only if the task did not simply succeed."""

    loan: Loan
    """The loan whose next record is attempted."""
    record: Record
    number: int
    """1 for the first."""
    outcome: Outcome
    task: Task | None = None
    """None if the value could not be decoded."""
    handler: Handler | None = None
    """None if none was found."""
    limit: float = 0.0
    """Its time limit in seconds."""
    seconds: float = 0.0
    """Its duration in seconds."""
    content: Decoded = NO_CONTENT
    """What the value says about the identity of a task that did not begin, and has no `task`."""
    go_on: Callable[[], object] = nothing
    """Called once the task is settled: in a batch, other tasks of its session continue."""

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of each event about the task; if its value was not decoded, those of its record."""
        if self.task is not None:
            return {**fields_of(self.task), "attempt": self.number}
        return _fields(self.record, self.content, self.number, None)


def fields_of(task: Task) -> dict[str, Any]:
    """Return the fields of each event about the task."""
    return _fields(task._record, task._content, task.attempt, task._span.trace if task._span is not None else None)


def batch_fields(first: Task) -> dict[str, Any]:
    """Return the fields of a line that a batch handler logs, from the first task: it may concern any of them."""
    return {**NO_TASK, "task_name": first.name}


def _fields(record: Record, content: Decoded, number: int, trace: Trace | None) -> dict[str, Any]:
    named = identity_of(record, content)
    trace = trace or trace_context(named.traceparent)
    return {
        "task_id": named.id,
        "session_id": named.session_id,
        "task_name": named.name,
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "attempt": number,
        "trace_id": trace.trace_id if trace else None,
        "span_id": trace.span_id if trace else None,
    }


class ForBatch(Exception):
    """Raised instead of calling the handler: the task is attempted in a batch."""

    def __init__(self, task: Task, handler: Handler) -> None:
        super().__init__()
        self.task = task
        self.handler = handler


def ended_with(error: BaseException, *, began: bool, handler: Handler | None) -> Failed | Deferred:
    """Return the outcome of an attempt that raised `error`; `began` is whether the handler had been called."""
    if not began and isinstance(error, NotReady):
        return Deferred(type_name(error), message_of(error), error.retry_in)
    failed = failed_with(error, began=began)
    if failed.cause is Cause.INTERRUPTED:
        return failed._replace(counts=False)
    if not began or handler is None or failed.cause is Cause.REJECTED:
        return failed
    if isinstance(error, Retry):  # the handler decides on this attempt itself: its rules do not apply
        return failed._replace(retry_in=error.after, counts=error.counts)
    verdict = handler.rules.verdict(error)
    return failed._replace(verdict=verdict, counts=verdict is not Verdict.OUTAGE)


def raised_in(error: BaseException, window: InterruptWindow) -> BaseException:
    """Close the window of a handler that has ended with `error`. Return the error, or the interrupting exception.

    An interrupt cancels a coroutine. The interrupting exception gets the traceback of the cancellation, which shows
    where the handler was.
    """
    if isinstance(error, TaskCancelled) and window.fired != window.started:
        error.is_own = True
    if window.close() and isinstance(error, CancelledError):
        return window.error().with_traceback(error.__traceback__)
    return error


def failed_with(error: BaseException, *, began: bool) -> Failed:
    """Return the failure of an attempt that raised `error`, or whose result could not be encoded."""
    frames = frames_of(error, without=OWN_FOLDER) if began else None
    return Failed(_cause(error, began), type_name(error), message_of(error), frames)


def returned_unrun(value: Any) -> Failed:
    """Return the failure of an attempt that returned `value`, one of `UNRUN`: its code has not run."""
    what = {CoroutineType: "a coroutine that is not awaited"}.get(type(value), "a generator that is not iterated")
    if isinstance(value, CoroutineType):
        with contextlib.suppress(Exception):  # Python would warn of it later, at an unrelated place
            value.close()
    message = f"the handler returned {what}: it has not run. Make the handler async, or run it inside"
    return Failed(Cause.REJECTED, "builtins.TypeError", message)


def _cause(error: BaseException, began: bool) -> Cause:
    if isinstance(error, Reject | EncodeError):
        return Cause.REJECTED
    if isinstance(error, TaskTimeout):
        return Cause.TIMED_OUT
    if isinstance(error, TaskCancelled) and not error.is_own:
        return Cause.INTERRUPTED
    if began:
        return Cause.FAILED
    return next((cause for kind, cause in BEFORE_ITS_HANDLER.items() if isinstance(error, kind)), Cause.FAILED)

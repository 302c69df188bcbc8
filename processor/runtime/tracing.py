"""`Tracing`: the span of each attempt, from just before its handler is called until its outcome is known.

A span begins and ends outside the window in which a handler may be interrupted: an interrupt there could leave a lock
of the SDK held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from processor.engine.outcome import Cause, Dropped, Failed, Held
from processor.engine.record import Record
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.runtime.attempt import Attempt
from processor.settings import Settings
from processor.telemetry.redaction import NOT_LOGGED, hashed
from processor.telemetry.spans import Fault, OpenSpan, Spans

LOGGER: Final = "processor.tracing"
"""The logger that reports, once, that a span could not be begun or ended."""

_log = logging.getLogger(LOGGER)

Prepare = Callable[[Record, int, float], tuple[Task, Handler, float]]


class Tracing:
    """Begins and ends spans. Any thread may call it."""

    def __init__(self, spans: Spans, settings: Settings) -> None:
        self._spans = spans
        self._group = settings.group
        self._hashes_sessions = settings.log_sessions == "hashed"
        self._shows_errors = settings.log_errors == "full"
        self._open: set[OpenSpan] = set()
        self._has_failed = False

    def begin(self, prepare: Prepare, record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        """Prepare an attempt, and begin its span in the thread or coroutine that calls this.

        Raises:
            Exception: the exception of `prepare`. There is no span then, since the handler is not called.
        """
        prepared = prepare(record, number, now)
        self._begin(prepared[0])
        return prepared

    def begin_beside_others(self, task: Task) -> None:
        """Begin the span of an attempt in a batch. The spans of a batch are not the current span of its handler."""
        span = self._begin(task)
        if span is not None:
            span.drop()

    def _begin(self, task: Task) -> OpenSpan | None:
        try:
            span = self._spans.begin(task.topic, task.headers, self._attributes(task))
        except Exception:
            self._report("the span of an attempt could not be begun")
            return None
        task._span = span
        self._open.add(span)
        return span

    def end(self, attempt: Attempt) -> None:
        """End the attempt's span, once: the watchdog ends that of a stuck handler, which may itself end later."""
        span = attempt.task._span if attempt.task is not None else None
        if span is None or isinstance(attempt.outcome, Dropped):
            return
        try:
            self._open.remove(span)
        except KeyError:
            return
        if isinstance(attempt.outcome, Held):
            span.drop()
            return
        self._end(span, self._fault(attempt, attempt.outcome) if isinstance(attempt.outcome, Failed) else None)

    def close(self) -> None:
        """End the spans of the handlers that still run, and export all."""
        for span in [*self._open]:
            self._end(span, Fault("processor.Abandoned", "the handler still ran when its consumer stopped", None))
        self._spans.flush()

    def _end(self, span: OpenSpan, fault: Fault | None) -> None:
        try:
            span.end(fault)
        except Exception:
            self._report("the span of an attempt could not be ended")

    def _attributes(self, task: Task) -> dict[str, str | int]:
        record, session = task._record, task.session_id
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": self._group,
            "messaging.destination.name": record.topic(),
            "messaging.destination.partition.id": str(record.partition()),
            "messaging.kafka.offset": record.offset(),
            "messaging.message.id": task.id,
            "messaging.message.body.size": len(record.value() or b""),
            "processor.task.name": task.name,
            "processor.task.attempt": task.attempt,
        }
        if session:
            attributes["messaging.kafka.message.key"] = hashed(session) if self._hashes_sessions else session
        return attributes

    def _fault(self, attempt: Attempt, failed: Failed) -> Fault:
        message = failed.message
        if failed.cause is Cause.TIMED_OUT:
            message = f"the attempt took longer than {attempt.limit:g} seconds"
        elif not self._shows_errors:
            message = NOT_LOGGED
        return Fault(failed.error_type, message, failed.traceback)

    def _report(self, what: str) -> None:
        """Report the exception that is being handled, which fails no task."""
        if not self._has_failed:
            self._has_failed = True
            _log.warning("%s; this is reported once", what, exc_info=True)

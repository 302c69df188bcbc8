"""`TaskLog`: logs single tasks: a sample of all tasks at level debug, and problems up to a rate limit."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from zlib import crc32

from processor.engine.outcome import Deferred, Failed
from processor.engine.record import Record
from processor.runtime.attempt import Attempt
from processor.settings import Settings
from processor.telemetry.events import Emit, Event, TaskDeferred, TaskRetrying, TaskSucceeded

PER_SECOND = 10
"""The most lines per second about tasks with problems: a handler that fails with every task would fill a disk."""


class TaskLog:
    """Any thread may call it."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self.logs_each = settings.log_level == "debug" and settings.log_sample > 0
        """Whether successes and retries are logged one by one."""
        self.suppressed = 0
        """How many lines the rate limit has suppressed."""
        self._share = settings.log_sample
        self._emit = emit
        self._second = 0
        self._lines = 0

    def succeeded(self, attempt: Attempt) -> None:
        """Logs a success, if successes are logged and the task is in the sample."""
        if self.logs_each and in_sample(attempt.record, self._share):
            self._emit(TaskSucceeded(**attempt.fields, handler_seconds=round(attempt.seconds, 6)))

    def waits(self, attempt: Attempt, why: Failed | Deferred, seconds: float) -> None:
        """Logs that the task is attempted later, if that is logged and the task is in the sample."""
        if self.logs_each and in_sample(attempt.record, self._share):
            kind = TaskRetrying if isinstance(why, Failed) else TaskDeferred
            fields = attempt.fields
            self._emit(kind(**fields, error_type=why.error_type, error=why.message, retry_in_seconds=seconds))

    def problem(self, event: Callable[[], Event]) -> None:
        """Logs the event that the call creates, unless `PER_SECOND` lines were logged in this second."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= PER_SECOND:
            self._emit(event())
        else:
            self.suppressed += 1


def in_sample(record: Record, share: float) -> bool:
    """Return whether the record is in the `share` (0 to 1) of tasks that are logged: the same ones at each call."""
    if share >= 1.0:
        return True
    place = f"{record.topic()}-{record.partition()}-{record.offset()}".encode()
    return crc32(place) < share * 2.0**32

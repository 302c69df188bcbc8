"""What becomes of a task whose attempt did not simply succeed: retry, dead letter, result."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import monotonic
from typing import Any
from zlib import crc32

from processor.engine.ledger import LedgerState, Loan
from processor.engine.retry import Cause, Failure, Policy, Setback, backoff, spread
from processor.errors import DeliveryError, EncodeError
from processor.handlers.task import Task
from processor.runtime.attempt import about, epoch_milliseconds, failure_of, type_name
from processor.runtime.desk import Desk
from processor.runtime.ports import Codec, Headers, Record, Sink
from processor.settings import Settings
from processor.telemetry.events import (
    Emit,
    TaskDeadLettered,
    TaskDeferred,
    TaskDeliveryFailed,
    TaskRetrying,
    TaskSucceeded,
    TaskTimedOut,
)


def in_sample(record: Record, share: float) -> bool:
    """Whether the record is in the `share` (0 to 1) of tasks that are logged: the same ones each time it is asked."""
    if share >= 1.0:
        return True
    place = f"{record.topic()}-{record.partition()}-{record.offset()}".encode()
    return crc32(place) < share * 2.0**32


FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 0.5, 30.0
"""A record that cannot be written is tried again for ever: nothing may be lost, and its session waits."""

Schedule = Callable[[float, Callable[[], None]], None]
"""Runs a function at a time of the monotonic clock, in the watchdog's thread."""


class Limiter:
    """Lets through so many log lines a second, and counts the others."""

    def __init__(self, per_second: int) -> None:
        self.left_out = 0
        self._per_second = per_second
        self._second = 0
        self._count = 0

    def allows(self) -> bool:
        """Whether one more may be logged now."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if self._count <= self._per_second:
            return True
        self.left_out += 1
        return False


class Endings:
    """Settles, parks or sends on. Any thread may call it."""

    def __init__(
        self,
        desk: Desk,
        sink: Sink,
        codec: Codec,
        settings: Settings,
        emit: Emit,
        schedule: Schedule,
        nudge: Callable[[], None],
    ) -> None:
        self.keeps_results = settings.results_topic is not None
        self.tells_done = settings.log_level == "debug" and settings.log_sample > 0
        self.limiter = Limiter(per_second=10)
        self._desk = desk
        self._sink = sink
        self._codec = codec
        self._settings = settings
        self._emit = emit
        self._schedule = schedule
        self._nudge = nudge

    def tell_done(self, task: Task, seconds: float) -> None:
        """Logs a success, at debug."""
        if in_sample(task._record, self._settings.log_sample):
            self._emit(TaskSucceeded(**about(task._record, task.attempt, task), handler_seconds=round(seconds, 6)))

    def succeed(self, loan: Loan, record: Record, task: Task, value: Any, seconds: float) -> None:
        """The handler returned `value`: the task settles once its result is acknowledged."""
        if self.tells_done:
            self.tell_done(task, seconds)
        topic = self._settings.results_topic
        if topic is None or value is None:
            self._desk.settle_next(loan, dead_letter=False)
            return
        try:
            encoded = self._codec.encode_result(task, value)
        except EncodeError as error:
            self._give_up(loan, record, task.attempt, failure_of(error, begun=True), task)
            return
        self._desk.hand_over(loan)
        headers: Headers = [("task-id", task.id.encode()), ("task-name", task.name.encode())]
        self._send(loan, record, topic, encoded, headers, lambda: self._desk.settle_next(loan, dead_letter=False))

    def fail(
        self,
        loan: Loan,
        record: Record,
        attempt: int,
        failure: Failure,
        policy: Policy,
        task: Task | None,
        limit: float,
    ) -> None:
        """The attempt, which might take `limit` seconds, failed, or could not begin: again later, or never again."""
        if failure.cause is Cause.TIMED_OUT:
            failure = failure._replace(message=f"the attempt took longer than {limit:g} seconds")
            if self.limiter.allows():
                self._emit(TaskTimedOut(**about(record, attempt, task), timeout_seconds=limit))
        delay = policy.delay_after(failure, attempt, random())
        if delay is None:
            self._give_up(loan, record, attempt, failure, task)
            return
        if self.tells_done and in_sample(record, self._settings.log_sample):
            self._tell_waiting(
                TaskRetrying if failure.attempted else TaskDeferred, record, attempt, failure, task, delay
            )
        park = self._desk.park if failure.attempted else self._desk.postpone
        if park(loan, failure, monotonic() + delay):
            self._nudge()

    def give_up_stuck(self, loan: Loan, record: Record, attempt: int, failure: Failure) -> None:
        """The handler cannot be stopped: its task is dead-lettered, its lane stays lent."""
        self._give_up(loan, record, attempt, failure, None)

    def _tell_waiting(
        self,
        kind: type[TaskRetrying | TaskDeferred],
        record: Record,
        attempt: int,
        failure: Failure,
        task: Task | None,
        delay: float,
    ) -> None:
        self._emit(
            kind(
                **about(record, attempt, task),
                error_type=failure.error_type,
                error=failure.message,
                retry_in_seconds=delay,
            )
        )

    def _give_up(self, loan: Loan, record: Record, attempt: int, failure: Failure, task: Task | None) -> None:
        if loan.ledger.state is LedgerState.CLOSED:  # its next consumer runs it again, and decides for itself
            self._desk.give_up(loan)
            return
        self._desk.fail(loan, failure)
        attempts = 0 if failure.cause is Cause.UNDECODABLE else attempt
        topic = self._settings.dead_letter_topic_of(record.topic())
        headers = [*(record.headers() or ()), *_dead_letter_headers(record, self._settings.group, attempts, failure)]

        def settle() -> None:
            self._desk.settle_next(loan, dead_letter=True, release=failure.cause is not Cause.STUCK)
            if self.limiter.allows():
                self._emit(
                    TaskDeadLettered(
                        **about(record, attempts, task),
                        dead_letter_topic=topic,
                        error_type=failure.error_type,
                        error=failure.message,
                        traceback=failure.traceback,
                    )
                )

        self._send(loan, record, topic, record.value(), headers, settle)

    def _send(
        self,
        loan: Loan,
        record: Record,
        topic: str,
        value: bytes | None,
        headers: Headers,
        settle: Callable[[], None],
        failures: int = 0,
    ) -> None:
        """Sends until it is acknowledged, or the partition is another consumer's."""

        def again() -> None:
            if loan.ledger.state is LedgerState.CLOSED:
                self._desk.give_up(loan)
            else:
                self._send(loan, record, topic, value, headers, settle, failures + 1)

        def delivered(error: DeliveryError | None) -> None:
            if error is None:
                settle()
                return
            delay = backoff(failures + 1, FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS)
            delay = spread(delay, random(), LAST_RESEND_SECONDS)
            now = monotonic()
            self._desk.delay(loan, Setback(type_name(error), f"{topic}: {error}", now, now + delay))
            if self.limiter.allows():
                self._emit(
                    TaskDeliveryFailed(
                        **about(record, loan.attempt, None),
                        target_topic=topic,
                        error=str(error),
                        retry_in_seconds=delay,
                    )
                )
            self._schedule(now + delay, again)

        self._sink.send(topic, record.key(), value, headers, delivered)


def _dead_letter_headers(record: Record, group: str, attempts: int, failure: Failure) -> Headers:
    kind, timestamp = record.timestamp()
    texts = {
        "dlq-topic": record.topic(),
        "dlq-partition": record.partition(),
        "dlq-offset": record.offset(),
        "dlq-timestamp": timestamp if kind else -1,
        "dlq-group": group,
        "dlq-attempts": attempts,
        "dlq-error-type": failure.error_type,
        "dlq-error-message": failure.message,
        "dlq-failed-at": epoch_milliseconds(),
    }
    return [(name, str(text).encode("utf-8", "backslashreplace")) for name, text in texts.items()]

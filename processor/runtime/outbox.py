"""`Outbox`: dead letters, results and follow-ups on their way, sent until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random
from time import monotonic
from typing import Protocol

import msgspec

from processor.engine.ledger import LedgerState
from processor.engine.retry import Setback, backoff, spread
from processor.errors import DeliveryError
from processor.runtime.attempt import Attempt
from processor.runtime.desk import Desk
from processor.runtime.ports import OutputRecord, Sink
from processor.runtime.task_log import TaskLog
from processor.runtime.timers import Timers
from processor.telemetry.error_text import type_name
from processor.telemetry.events import TaskDeliveryFailed

FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 0.5, 30.0
"""A record that its topic does not accept is sent again without end: nothing may be lost, and its session waits."""


class Output(msgspec.Struct, eq=False):
    """Records to send, and what follows when the broker has them."""

    attempt: Attempt
    """The attempt that they come from."""
    records: Sequence[OutputRecord]
    """At least one: a result, the task that follows, a dead letter and those of the tasks that were to follow."""
    dead_letter: bool = False
    result: bool = False
    """Whether one of them is a result."""
    release: bool = True
    """Whether the lane goes on once its task is settled; else it stays lent for good."""
    written: Callable[[], None] | None = None
    """Called once, when the broker has the records for good."""
    acknowledged: int = 0
    """How many of the records the broker has, where each is sent when the one before is acknowledged."""
    failures: int = 0
    """Of the record that is sent now."""

    @property
    def record(self) -> OutputRecord:
        """The record that is sent now."""
        return self.records[self.acknowledged]


def resend_delay(output: Output) -> float:
    """Return after how many seconds an output is sent again that failed `failures` times."""
    return spread(backoff(output.failures, FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS), random(), LAST_RESEND_SECONDS)


class Outputs(Protocol):
    """Where settlement leaves outputs. Each settles its task once the broker has it, or together with it."""

    def send(self, output: Output) -> None:
        """Takes it and returns. Any thread may call it."""


class Outbox:
    """Sends outputs until they are acknowledged, or their partition is another consumer's. Any thread may call it.

    The output's loan stays lent until then.
    """

    def __init__(self, desk: Desk, sink: Sink, timers: Timers, log: TaskLog) -> None:
        self._desk = desk
        self._sink = sink
        self._timers = timers
        self._log = log

    def send(self, output: Output) -> None:
        """Sends its records, one after the other, and returns."""
        if not output.dead_letter:
            self._desk.hand_over(output.attempt.loan)
        self._send(output)

    def _send(self, output: Output) -> None:
        topic, key, value, headers = output.record
        self._sink.send(topic, key, value, headers, lambda error: self._on_delivery(output, error))

    def _on_delivery(self, output: Output, error: DeliveryError | None) -> None:
        if error is None:
            output.acknowledged += 1
            output.failures = 0
            if output.acknowledged < len(output.records):
                self._send(output)
                return
            loan, dead_letter = output.attempt.loan, output.dead_letter
            self._desk.settle_next(loan, dead_letter=dead_letter, result=output.result, release=output.release)
            if output.written is not None:
                output.written()
            output.attempt.go_on()
            return
        output.failures += 1
        delay = resend_delay(output)
        now = monotonic()
        topic, attempt, message = output.record.topic, output.attempt, str(error)
        self._desk.delay(attempt.loan, Setback(type_name(error), f"{topic}: {message}", now, now + delay))
        self._log.problem(
            lambda: TaskDeliveryFailed(**attempt.fields, target_topic=topic, error=message, retry_in_seconds=delay)
        )
        self._timers.schedule(now + delay, lambda: self._send_again(output))

    def _send_again(self, output: Output) -> None:
        loan = output.attempt.loan
        if loan.ledger.state is LedgerState.CLOSED:  # its next consumer runs the task again
            self._desk.give_up(loan)
        else:
            self._send(output)

"""`Outbox`: dead letters and results on their way, sent until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import monotonic

import msgspec

from processor.engine.ledger import LedgerState
from processor.engine.record import Headers
from processor.engine.retry import Setback, backoff, spread
from processor.errors import DeliveryError
from processor.runtime.attempt import Attempt
from processor.runtime.desk import Desk
from processor.runtime.ports import Sink
from processor.runtime.task_log import TaskLog
from processor.runtime.timers import Timers
from processor.telemetry.error_text import type_name
from processor.telemetry.events import TaskDeliveryFailed

FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 0.5, 30.0
"""A record that its topic does not accept is sent again without end: nothing may be lost, and its session waits."""


class Output(msgspec.Struct, eq=False):
    """A record to send, and what follows when the broker has it."""

    attempt: Attempt
    """The attempt that it comes from. Its loan stays lent until the record is acknowledged."""
    topic: str
    value: bytes | None
    headers: Headers
    settle: Callable[[], None]
    """Called once, when the record is acknowledged."""
    failures: int = 0


class Outbox:
    """Sends outputs until they are acknowledged, or their partition is another consumer's. Any thread may call it."""

    def __init__(self, desk: Desk, sink: Sink, timers: Timers, log: TaskLog) -> None:
        self._desk = desk
        self._sink = sink
        self._timers = timers
        self._log = log

    def send(self, output: Output) -> None:
        """Sends it and returns."""
        key = output.attempt.record.key()
        self._sink.send(output.topic, key, output.value, output.headers, lambda error: self._on_delivery(output, error))

    def _on_delivery(self, output: Output, error: DeliveryError | None) -> None:
        if error is None:
            output.settle()
            return
        output.failures += 1
        delay = backoff(output.failures, FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS)
        delay = spread(delay, random(), LAST_RESEND_SECONDS)
        now = monotonic()
        topic, attempt, message = output.topic, output.attempt, str(error)
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
            self.send(output)

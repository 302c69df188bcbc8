"""`Outbox`: sends dead letters, results and follow-up tasks until they are acknowledged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from random import random
from time import monotonic
from typing import Protocol

import msgspec

from processor.engine.ledger import LedgerState
from processor.engine.retry import Setback, backoff, spread
from processor.errors import DeliveryError
from processor.runtime.attempt import Attempt
from processor.runtime.desk import Acknowledged, Desk
from processor.runtime.ports import OutputRecord, Sink
from processor.runtime.task_log import TaskLog
from processor.runtime.timers import Timers
from processor.telemetry.error_text import type_name
from processor.telemetry.events import TaskDeliveryFailed

FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 0.5, 30.0
"""The first and the longest delay before a record that its topic does not accept is sent again. It is sent until it is
accepted, since no output may be lost, and its session waits."""

MOST_BYTES = 1 << 20
"""The most bytes of one output's records that are in flight at once, unless a single record has more. The branches of a
group may have hundreds of megabytes, and the client has a copy of each record in flight."""

TOGETHER_SECONDS = 0.002
"""How long acknowledgements are gathered before their tasks settle together. The client reports hundreds of them
in that time, unless its thread waits for the interpreter; then none waits for many others."""


class Output(msgspec.Struct, eq=False):
    """Records to send, and what follows when the broker has them."""

    attempt: Attempt
    """The attempt that they come from."""
    records: Sequence[OutputRecord]
    """At least one: a result, a task that follows, a dead letter, the dead letters of tasks that were to follow."""
    dead_letter: bool = False
    result: bool = False
    """Whether one of them is a result."""
    release: bool = True
    """Whether the lane continues once its task is settled; otherwise it stays lent permanently."""
    written: Callable[[], None] | None = None
    """Called once, when the records are acknowledged or, with exactly-once, committed."""
    last_alone: bool = False
    """Whether the last record is sent only when the broker has all others."""
    failures: int = 0
    """How many tries in a row ended with refused records and without an accepted one."""


def resend_delay(output: Output) -> float:
    """Return the seconds after which an output that failed `failures` times is sent again."""
    return spread(backoff(output.failures, FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS), random(), LAST_RESEND_SECONDS)


class Outputs(Protocol):
    """Takes the outputs of tasks. A task settles once the broker has its output, or together with it."""

    def send(self, output: Output) -> None:
        """Takes an output and returns at once. Any thread may call it."""


class Outbox:
    """Sends outputs until they are acknowledged, or their partition is given up. Any thread may call it.

    The output's loan stays lent until then. Tasks whose outputs are acknowledged together settle together: taking the
    lock and waking a worker for each one costs more than everything else that is done for a result.
    """

    def __init__(self, desk: Desk, sink: Sink, timers: Timers, log: TaskLog) -> None:
        self._outcomes = desk.outcomes
        self._sink = sink
        self._timers = timers
        self._log = log
        self._acknowledged: deque[Output] = deque()
        """Outputs whose tasks are not settled yet. Each step on it is atomic: the thread that pops one settles it."""
        self._acknowledged_since = 0.0
        """When the first of them was acknowledged, in seconds of the monotonic clock."""
        self._settled: deque[Output] = deque()
        """Outputs whose tasks are settled, but whose next steps (`written`, `go_on`) are not taken yet."""
        sink.after_reports(self._settle_acknowledged)

    def send(self, output: Output) -> None:
        """Begins to send the output's records, several at once, and returns."""
        if not output.dead_letter:
            self._outcomes.hand_over(output.attempt.loan)
        if len(output.records) == 1:
            self._send(output)
        else:
            Shipment(output, self._sink, self._acknowledge, self._try_again).go_on()

    def _send(self, output: Output) -> None:
        topic, key, value, headers, partition = output.records[0]
        self._sink.send(topic, key, value, headers, lambda error: self._on_delivery(output, error), partition)

    def _on_delivery(self, output: Output, error: DeliveryError | None) -> None:
        if error is None:
            self._acknowledge(output)
            return
        output.failures += 1
        self._try_again(output, output.records[0].topic, error, lambda: self._send(output))

    def _acknowledge(self, output: Output) -> None:
        """Notes that the broker has all of the output's records. Its task settles with those of others, and soon."""
        if not self._acknowledged:
            self._acknowledged_since = monotonic()
        self._acknowledged.append(output)
        if monotonic() - self._acknowledged_since >= TOGETHER_SECONDS:
            self._settle_acknowledged()

    def _settle_acknowledged(self) -> None:
        """Settles the tasks whose outputs are acknowledged, and does what follows.

        If a step raises, the next call takes the remaining steps. The sink calls this again soon.
        """
        outputs = list(_popped(self._acknowledged))
        if outputs:
            try:
                self._outcomes.settle_all(
                    [Acknowledged(o.attempt.loan, o.dead_letter, o.result, o.release) for o in outputs]
                )
            finally:
                self._settled.extend(outputs)
        for output in _popped(self._settled):
            try:
                if output.written is not None:
                    output.written()
            finally:  # other tasks of its session wait for `go_on`
                output.attempt.go_on()

    def _try_again(self, output: Output, topic: str, error: DeliveryError, again: Callable[[], None]) -> None:
        """Schedules the next try of an output that the topic has refused, whole or in part."""
        delay = resend_delay(output)
        now = monotonic()
        attempt, message = output.attempt, str(error)
        self._outcomes.delay(attempt.loan, Setback(type_name(error), f"{topic}: {message}", now, now + delay))
        self._log.problem(
            lambda: TaskDeliveryFailed(**attempt.fields, target_topic=topic, error=message, retry_in_seconds=delay)
        )

        def send_again() -> None:
            if attempt.loan.ledger.state is LedgerState.CLOSED:  # the partition's next consumer runs the task again
                if output.release:
                    self._outcomes.give_up(attempt.loan)
            else:
                again()

        self._timers.schedule(now + delay, send_again)


def _popped(outputs: deque[Output]) -> Iterator[Output]:
    """Yield outputs and take them out, until none is left. Several threads may do so at once."""
    with suppress(IndexError):
        while True:
            yield outputs.popleft()


class Shipment:
    """Sends the records of one output: as many at once as `MOST_BYTES` allows.

    Once a record is refused, no other is sent until all in flight are answered. Then the refused records are sent
    again, followed by those that are left. However many were refused, this is one try, with one log line.
    """

    def __init__(
        self,
        output: Output,
        sink: Sink,
        settle: Callable[[Output], None],
        try_again: Callable[[Output, str, DeliveryError, Callable[[], None]], None],
    ) -> None:
        """`settle` is called once, when the broker has all records, `try_again` after each try that was refused."""
        self._output = output
        self._sink = sink
        self._settle = settle
        self._try_again = try_again
        self._lock = threading.Lock()
        self._left = deque(output.records)
        self._under_way = 0
        self._bytes = 0
        """Total size of the records under way."""
        self._accepted = 0
        """Number of records that the broker has accepted in this try."""
        self._refused: list[tuple[OutputRecord, DeliveryError]] = []
        self._asked = 0

    def go_on(self) -> None:
        """Sends what may be in flight now. One thread sends at a time, so that the records keep their order."""
        with self._lock:
            self._asked += 1
            if self._asked > 1:  # another thread is sending: it checks once more before it returns
                return
        while True:
            while (record := self._next()) is not None:
                topic, key, value, headers, partition = record
                self._sink.send(topic, key, value, headers, partial(self._on_delivery, record), partition)
            with self._lock:
                self._asked = min(self._asked - 1, 1)
                if not self._asked:
                    return

    def _next(self) -> OutputRecord | None:
        with self._lock:
            if not self._left or self._refused:
                return None
            record = self._left[0]
            is_last = self._output.last_alone and len(self._left) == 1
            if self._under_way and (is_last or self._bytes + record.size > MOST_BYTES):
                return None
            self._under_way += 1
            self._bytes += record.size
            return self._left.popleft()

    def _on_delivery(self, record: OutputRecord, error: DeliveryError | None) -> None:
        with self._lock:
            self._under_way -= 1
            self._bytes -= record.size
            if error is None:
                self._accepted += 1
            else:
                self._refused.append((record, error))
            is_answered, is_refused, is_sent = not self._under_way, bool(self._refused), not self._left
        if is_refused:
            if is_answered:
                self._end_try()
        elif not is_sent:
            self.go_on()
        elif is_answered:
            self._settle(self._output)

    def _end_try(self) -> None:
        with self._lock:
            record, error = self._refused[0]
            self._output.failures = 1 if self._accepted else self._output.failures + 1
            self._accepted = 0
        self._try_again(self._output, record.topic, error, self._send_refused)

    def _send_refused(self) -> None:
        with self._lock:
            self._left.extendleft(record for record, _ in reversed(self._refused))
            self._refused.clear()
        self.go_on()

"""`Staging`: dead letters and results that are committed in one transaction with the offsets of their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from processor.engine.ledger import Ledger
from processor.engine.outbox import Staged
from processor.runtime.desk import Desk
from processor.runtime.outbox import Output, resend_delay
from processor.runtime.ports import OutputRecord, OutputsRefused
from processor.runtime.task_log import TaskLog
from processor.telemetry.events import TaskDeliveryFailed

OVERHEAD_BYTES = 1000
"""Bytes in memory that an output and its attempt take in addition to the output's content."""


class Staging:
    """Any thread may call `send`; all other methods belong to the poller's thread.

    `take` assembles a transaction, from one cut, and it lasts until `conclude`. Its outputs stay in their outboxes
    meanwhile: if it is aborted, the next transaction has them, in the same order.
    """

    def __init__(self, desk: Desk, log: TaskLog) -> None:
        self._outcomes, self._commits = desk.outcomes, desk.commits
        self._log = log
        self._taken: list[tuple[Ledger, Sequence[Staged]]] = []

    def send(self, output: Output) -> None:
        """Settles the output's task. The next transaction commits both."""
        loan, dead_letter = output.attempt.loan, output.dead_letter
        size = sum(record.size for record in output.records) + OVERHEAD_BYTES
        if not dead_letter:
            size += len(output.attempt.record.value() or b"")
        self._outcomes.stage(loan, output, size, dead_letter=dead_letter, result=output.result, release=output.release)
        output.attempt.go_on()

    def take(self, ledger: Ledger, staged: Sequence[Staged]) -> None:
        """Adds these outputs to the transaction."""
        if staged:
            self._taken.append((ledger, staged))

    def records(self) -> list[OutputRecord]:
        """Return the transaction's outputs, those of each session in order."""
        return [record for _, outputs in self._taken for staged in outputs for record in staged.output.records]

    def conclude(self, error: str | None) -> None:
        """Ends the transaction, which was committed, or aborted with `error`."""
        taken, self._taken = self._taken, []
        if error is None:
            for ledger, outputs in taken:  # all of them first: an output that stayed would be sent again
                self._commits.committed(ledger, [staged.offset for staged in outputs])
            for _, outputs in taken:
                for staged in outputs:
                    if staged.output.written is not None:
                        staged.output.written()
        elif isinstance(error, OutputsRefused):
            self._withhold(taken, error.refused)

    def _withhold(self, taken: Sequence[tuple[Ledger, Sequence[Staged]]], refused: Mapping[int, str]) -> None:
        places = [
            (ledger, staged, record)
            for ledger, outputs in taken
            for staged in outputs
            for record in staged.output.records
        ]
        now = monotonic()
        for index, reason in refused.items():
            ledger, staged, record = places[index]
            staged.output.failures += 1
            delay = resend_delay(staged.output)
            self._commits.refuse(ledger, staged.offset, now + delay)
            self._report(staged.output, record.topic, reason, delay)

    def _report(self, output: Output, topic: str, reason: str, delay: float) -> None:
        self._log.problem(
            lambda: TaskDeliveryFailed(
                **output.attempt.fields, target_topic=topic, error=reason, retry_in_seconds=delay
            )
        )

"""`Inflow`: admits records, and reports how much is in flight of each partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

from processor.engine.ledger import Ledger
from processor.engine.stock import Usage
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.ports import Partition, Record


class Inflow:
    """For the poller's thread."""

    def __init__(self, shared: Shared, wakeups: Wakeups, *, stages: bool) -> None:
        """`stages` is whether outputs wait in outboxes, to be committed together with offsets."""
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._stages = stages

    def admit(self, runs: Iterable[tuple[Partition, Sequence[Record]]]) -> None:
        """Admits runs of records, each of one assigned partition, and wakes as many workers as are worth waking."""
        now = monotonic()
        with self._lock:
            for partition, records in runs:
                self._assignment.admit(partition, records, now)
            self._wakeups.wake_borrowers()

    def rest(self, seconds: float) -> None:
        """Waits for at most `seconds`, until a quarter of what is in flight now is settled."""
        with self._lock:
            self._wakeups.wait_for_space(seconds)

    def usage(self) -> dict[Partition, Usage]:
        """Return what is in flight of each assigned partition. It takes no lock."""
        ledgers = self._assignment.ledgers
        if self._stages or self._shared.has_joins:
            return {p: _usage_beside_kept(ledger) for p, ledger in ledgers.items()}
        return {p: Usage(len(ledger.offsets), ledger.offsets.bytes) for p, ledger in ledgers.items()}

    def tasks(self) -> dict[Partition, int]:
        """Return how many tasks are in flight of each assigned partition. Called in each loop; it takes no lock."""
        ledgers = self._assignment.ledgers
        if self._stages or self._shared.has_joins:
            return {p: len(ledger.offsets) - ledger.kept.tasks for p, ledger in ledgers.items()}
        return {p: len(ledger.offsets) for p, ledger in ledgers.items()}

    @property
    def task_seconds(self) -> float:
        """The estimated duration of a task in seconds. It takes no lock."""
        return self._wakeups.pace.seconds

    @property
    def is_empty(self) -> bool:
        """Whether no task is in flight and no output is staged. It takes no lock."""
        if self._assignment.in_flight:
            return False
        return not self._stages or not any(ledger.outbox for ledger in self._assignment.ledgers.values())

    @property
    def runs_dry(self) -> bool:
        """Whether no lane waits for a worker: each one is lent, or waits for something else. It takes no lock."""
        return not self._assignment.ready_lanes

    def total(self) -> Usage:
        """Return the sum of `usage`. Called for each batch of records; it takes no lock."""
        ledgers = self._assignment.ledgers.values()
        if self._stages or self._shared.has_joins:
            size = sum(_usage_beside_kept(ledger).bytes for ledger in ledgers)
        else:
            size = sum([ledger.offsets.bytes for ledger in ledgers])
        return Usage(self._assignment.in_flight, size)

    def delayed_usage(self) -> dict[Partition, Usage]:
        """Return how much of `usage` waits for its time, for each partition where tasks do. It takes no lock."""
        if not self._assignment.has_terms:
            return {}
        ledgers = self._assignment.ledgers
        return {p: ledger.delayed_usage for p, ledger in ledgers.items() if ledger.delayed_usage.tasks}


def _usage_beside_kept(ledger: Ledger) -> Usage:
    """Return what is in flight of a partition, and what waits in its outbox."""
    kept = ledger.kept
    return Usage(len(ledger.offsets) - kept.tasks, ledger.offsets.bytes + ledger.outbox.bytes - kept.bytes)

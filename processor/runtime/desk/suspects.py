"""`Suspects`: tasks that may have ended a process of the fleet. Each is lent only while no borrower has a loan."""

from __future__ import annotations

from collections.abc import Iterable

from processor.engine.isolation import Stage
from processor.runtime.desk.borrower import Borrower
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.ports import Partition


class Suspects:
    """Lending while `engine/isolation.py` is active."""

    def __init__(self, shared: Shared, returns: Returns, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._isolation = shared.isolation
        self._returns = returns
        self._waiting = waiting

    def replace(self, suspects: Iterable[tuple[Partition, int, int]]) -> None:
        """Replaces the suspects, each of which runs alone: partition, offset, and the deaths counted against it."""
        with self._lock:
            self._isolation.suspect(suspects)

    def acquit(self, partition: Partition, below: int) -> list[int]:
        """Removes the suspects below an offset that the group has committed. Return their offsets."""
        with self._lock:
            return self._isolation.acquit(partition, below)

    def deaths_of(self, partition: Partition, offset: int) -> int:
        """Return the deaths of processes that count against a task. It takes no lock."""
        return self._isolation.deaths_of(partition, offset)

    def lend(self, borrower: Borrower, now: float) -> bool | None:
        """Lends the isolated suspect if nothing runs. Return whether it was lent; None if no suspect is isolated.

        Call it under the lock.
        """
        isolation = self._isolation
        loan = isolation.loan
        if loan is None:
            return None
        if not self._returns.is_quiet():
            return False
        if isolation.stage is Stage.AWAITING and self._waiting.is_paused(loan):
            isolation.give_back(self._shared.assignment)
            return None
        if isolation.stage is Stage.AWAITING:
            isolation.begin()
        elif loan.batch is not None and loan.batch in self._shared.gatherer.ready:
            self._shared.gatherer.take(loan.batch)
        else:
            isolation.end()
            return None
        borrower.batch.append(loan)
        borrower.borrowed_at = now
        self._shared.timers.wake()
        return True

"""`Partitions`: the assigned partitions, from their assignment to the end of their drain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from processor.engine.ledger import Loan
from processor.engine.offsets import Range
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.ports import End, Partition


class Partitions:
    """For the poller's thread. Only that thread changes the partitions, so it reads them without the lock."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self.is_draining = False
        """Whether the consumer is leaving: nothing more is admitted or begun, and each partition drains."""
        self._lock = shared.lock
        self._counts = shared.counts
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    @property
    def assigned(self) -> list[Partition]:
        """All assigned partitions."""
        return list(self._assignment.ledgers)

    def __len__(self) -> int:
        """The number of assigned partitions. In other threads it is approximate."""
        return len(self._assignment.ledgers)

    def __contains__(self, partition: Partition) -> bool:
        """Whether the partition is assigned."""
        return partition in self._assignment.ledgers

    def position(self, partition: Partition) -> int | None:
        """Return the offset after the last delivered one of an assigned partition; None before the first."""
        return self._assignment.ledgers[partition].offsets.position

    def continues_at(self, partition: Partition, offset: int) -> bool:
        """Return whether `offset` may come next in an assigned partition: offsets only go up."""
        return self._assignment.ledgers[partition].continues_at(offset)

    def assign(
        self, partition: Partition, committed: int | None, settled: Sequence[Range], kept_until: int | None = None
    ) -> None:
        """Begins an assigned partition.

        Args:
            partition: the assigned partition.
            committed: the offset at which it continues; None if the group has committed none.
            settled: the ranges above it that are settled.
            kept_until: the offset below which every task was settled before; None if no commit notes one.
        """
        with self._lock:
            ledger = self._assignment.ledgers.get(partition)
            if ledger is not None:
                self._waiting.forget(ledger)
            self._assignment.assign(partition, committed, settled, kept_until)
            if self.is_draining:
                self._assignment.drain(partition)

    def restart(self, partition: Partition, offset: int) -> int:
        """Drop the tasks of a partition whose offsets moved back, and continue at `offset`. Return how many were
        dropped.
        """
        with self._lock:
            forgotten = self._close([partition])
            self._assignment.assign(partition, offset)
            return forgotten

    def reach(self, ends: Iterable[End]) -> None:
        """Notes that nothing more will be delivered below these ends."""
        with self._lock:
            for end in ends:
                ledger = self._assignment.ledgers.get(end.partition)
                if ledger is not None:
                    ledger.offsets.reach(end.offset)

    def miss(self, partition: Partition, offset: int) -> list[Range]:
        """Skips records below `offset`, which are gone. Return the ranges that were neither delivered nor settled."""
        with self._lock:
            ledger = self._assignment.ledgers[partition]
            missed = ledger.missed_below(offset)
            ledger.offsets.reach(offset)
            self._counts.missed_offsets += sum(high - low for low, high in missed)
            return missed

    def drain_all(self) -> None:
        """Drains all partitions, also those that are assigned later: the consumer is leaving."""
        self.is_draining = True
        self.drain(self.assigned)

    def drain(self, partitions: Iterable[Partition]) -> None:
        """Begins no further task of these partitions."""
        with self._lock:
            for partition in partitions:
                self._assignment.drain(partition)
                self._waiting.forget(self._assignment.ledgers[partition])
            self._returns.take_back_all(lambda loan: not loan.ledger.may_begin)

    def wait_drained(self, partitions: Sequence[Partition], seconds: float) -> bool:
        """Waits at most `seconds` for the running tasks of these partitions to settle. Return whether they have."""
        with self._lock:
            return self._wakeups.wait_drained(lambda: not self._lent_of(partitions), seconds)

    def lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        """Settle what is done, and return the loans of these partitions that have tasks left and are not over."""
        with self._lock:
            self._returns.collect_all()
            return [loan for loan in self._lent_of(partitions) if loan.done < len(loan.records)]

    def forget(self, partitions: Sequence[Partition]) -> int:
        """Forgets partitions that belong to another consumer now. Return how many waiting tasks they had."""
        with self._lock:
            return self._close(partitions)

    def _close(self, partitions: Sequence[Partition]) -> int:
        ledgers = [self._assignment.ledgers[partition] for partition in partitions]
        closing = set(ledgers)
        self._returns.ungather(lambda loan: loan.ledger in closing)
        for ledger in ledgers:
            self._waiting.forget(ledger)
        self._counts.skipped += sum(ledger.skipped for ledger in ledgers)
        return sum(self._assignment.close(partition) for partition in partitions)

    def _lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        ledgers = self._assignment.ledgers
        return [loan for p in partitions if p in ledgers for loan in ledgers[p].lent if not loan.abandoned]

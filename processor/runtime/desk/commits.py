"""`Commits`: what may be committed of each partition, read at one moment; and what a transaction has committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from processor.engine.ledger import Ledger, Stamp
from processor.engine.offsets import Progress
from processor.engine.outbox import Cut
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.ports import Partition


class PartitionCut(NamedTuple):
    """The progress of one partition, read at one moment."""

    partition: Partition
    ledger: Ledger
    stamp: Stamp
    cut: Cut


class Commits:
    """For the poller's thread."""

    def __init__(self, shared: Shared, returns: Returns) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._returns = returns

    def progress(
        self, partitions: Iterable[Partition] | None, known: Mapping[Partition, Stamp]
    ) -> list[tuple[Partition, Stamp, Progress]]:
        """Settle what is done, also in running batches. Return what may be committed, read at one moment.

        Args:
            partitions: the partitions to check; None for all assigned ones.
            known: stamps by partition. A partition whose stamp is unchanged is left out.
        """
        changed = []
        with self._lock:
            self._returns.collect_all()
            ledgers = self._assignment.ledgers
            for partition in ledgers if partitions is None else partitions:
                ledger = ledgers.get(partition)
                if ledger is None or known.get(partition) == (stamp := ledger.stamp):
                    continue
                progress = ledger.progress()
                if progress is not None:
                    changed.append((partition, stamp, progress))
        return changed

    def cut(self, partitions: Iterable[Partition] | None, known: Mapping[Partition, Stamp]) -> list[PartitionCut]:
        """Does the same with exactly-once: returns progress and outputs of all partitions, read at one moment.

        A partition with an output in its outbox is never left out.
        """
        cuts = []
        with self._lock:
            self._returns.collect_all()
            now, ledgers = monotonic(), self._assignment.ledgers
            for partition in ledgers if partitions is None else partitions:
                ledger = ledgers.get(partition)
                if ledger is None or (known.get(partition) == (stamp := ledger.stamp) and not ledger.outbox):
                    continue
                cut = ledger.cut(now)
                if cut is not None:
                    cuts.append(PartitionCut(partition, ledger, stamp, cut))
        return cuts

    def committed(self, ledger: Ledger, offsets: Iterable[int]) -> list[object]:
        """Takes the outputs of these tasks, which a transaction has committed, out of the outbox. Return them."""
        with self._lock:
            return ledger.committed(offsets)

    def refuse(self, ledger: Ledger, offset: int, due: float) -> None:
        """Withholds a task's output until `due`, since its topic does not accept it."""
        with self._lock:
            ledger.outbox.refuse(offset, due)

    @property
    def has_staged(self) -> bool:
        """Whether any outbox holds an output."""
        return self.have_staged(self._assignment.ledgers)

    def have_staged(self, partitions: Iterable[Partition]) -> bool:
        """Return whether the outbox of any of these partitions holds an output."""
        ledgers = self._assignment.ledgers
        return any(partition in ledgers and ledgers[partition].outbox for partition in partitions)

    def points(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Settle what is done. Return the commit points of those of the partitions that are assigned and have one.

        Below it, every task of the partition is settled and its output, if any, is committed.
        """
        with self._lock:
            self._returns.collect_all()
            ledgers = self._assignment.ledgers
            points = {p: ledgers[p].secured_point for p in partitions if p in ledgers}
        return {partition: point for partition, point in points.items() if point is not None}

    def unkept_points(self, partitions: Iterable[Partition], epoch: float) -> dict[Partition, int]:
        """Does the same, but ignores arrivals at joins that do not expire before `epoch`."""
        if not self._shared.has_joins:
            return self.points(partitions)
        with self._lock:
            self._returns.collect_all()
            ledgers = self._assignment.ledgers
            points = {p: ledgers[p].unkept_point(epoch) for p in partitions if p in ledgers}
        return {partition: point for partition, point in points.items() if point is not None}

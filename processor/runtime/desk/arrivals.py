"""`Arrivals`: keeps and settles arrivals at joins, and the markers of complete joins, in their partition's ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from time import monotonic

from processor.engine.joins import Doubtful, Due, Identity, KeptRecord, Marker, Standing
from processor.engine.ledger import LedgerState, Loan
from processor.runtime.cancelled import cancel_of_join
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.ports import Partition


class Arrivals:
    """Keeps and settles arrivals and markers. Any thread may call it."""

    def __init__(self, shared: Shared, wakeups: Wakeups, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._cancels = waiting.cancels

    @property
    def has_any(self) -> bool:
        """Whether any task has waited for other branches of its group so far. Read without the lock."""
        return self._shared.has_joins

    def arrive(self, loan: Loan, due: Due) -> Mapping[int, KeptRecord] | None:
        """Keep the loan's next record, an arrival at a join. If it is the last one, return the other arrivals, and the
        loan stays lent; else return None.
        """
        with self._lock:
            self._shared.has_joins = True
            if loan.ledger.state is LedgerState.CLOSED or self._is_cancelled(loan):
                self._shared.count(self._assignment.release(loan))
                self._wakeups.after_release(loan)
                return None
            standing, settled = self._assignment.arrive(loan, due, monotonic())
            self._shared.count(settled)
            if standing is Standing.LAST:
                assert loan.ledger.joins is not None
                return dict(loan.ledger.joins.arrivals(due.identity))
            if due.expires != inf:
                self._shared.timers.wake()
            self._wakeups.after_release(loan)
            return None

    def mark(self, loan: Loan, identity: Identity, path: Mapping[str, Mapping[int, Sequence[int]]]) -> None:
        """Keeps the loan's next record, the marker of a complete join."""
        with self._lock:
            self._shared.has_joins = True
            if loan.ledger.state is LedgerState.CLOSED:
                self._shared.count(self._assignment.release(loan))
            else:
                self._shared.count(self._assignment.mark(loan, identity, path, monotonic()))
            self._wakeups.after_release(loan)

    def markers(self) -> list[tuple[Partition, Identity, Marker]]:
        """Return the markers of joins that are complete."""
        with self._lock:
            return [
                (self._assignment.partition_of(ledger), identity, marker)
                for ledger, joins in self._assignment.joining()
                for identity, marker in joins.markers.items()
            ]

    def settle_markers(self, partition: Partition, ends: Mapping[Identity, int]) -> None:
        """Settles the markers of these joins: no branch of one arrives again at or above its offset in `ends`.

        A marker stays while offsets below that are not delivered yet, or while arrivals at its join wait in a lane.
        """
        with self._lock:
            ledger = self._assignment.ledgers.get(partition)
            if ledger is None or ledger.joins is None:
                return
            position, markers = ledger.offsets.position or 0, ledger.joins.markers
            over = [
                identity
                for identity, end in ends.items()
                if identity in markers and position >= end and not ledger.has_session(markers[identity].record.key())
            ]
            self._shared.count(ledger.unmark(over))

    def doubtful(self, before: float) -> list[tuple[Partition, list[Doubtful]]]:
        """Return, each only once, joins that have waited since `before` and may have been complete at the assignment.

        `before` is in seconds of the monotonic clock.
        """
        with self._lock:
            found = [
                (self._assignment.partition_of(ledger), joins.take_doubtful(before))
                for ledger, joins in self._assignment.joining()
            ]
        return [(partition, joins) for partition, joins in found if joins]

    def are_open(self, partition: Partition, identities: Iterable[Identity]) -> bool:
        """Return whether any of these joins of a partition still waits for branches in this consumer."""
        with self._lock:
            ledger = self._assignment.ledgers.get(partition)
            if ledger is None or ledger.joins is None:
                return False
            return any(identity in ledger.joins.open for identity in identities)

    def settle_complete(self, partition: Partition, identities: Iterable[Identity]) -> None:
        """Settles what has arrived again at these joins of a partition, which were complete before."""
        with self._lock:
            ledger = self._assignment.ledgers.get(partition)
            if ledger is not None and ledger.state is LedgerState.OPEN:
                self._shared.count(ledger.settle_complete(identities))

    def _is_cancelled(self, loan: Loan) -> bool:
        """Return whether the loan's next record is an arrival that was cancelled after a worker had checked it."""
        return bool(self._cancels.in_force) and cancel_of_join(self._cancels, loan.records[loan.done]) is not None

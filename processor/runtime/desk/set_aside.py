"""`SetAside`: tasks of which only the offset is kept, from the moment they are set aside until they are read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic, time
from typing import NamedTuple

from processor.engine.assignment import Asked
from processor.engine.due_offsets import Entry
from processor.engine.ledger import OPEN, Ledger
from processor.engine.stock import Usage
from processor.engine.stretch import Stretch
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.ports import Partition, Record


class Delayed(NamedTuple):
    """The tasks of a partition that are set aside because of a delay."""

    partition: Partition
    ledger: Ledger
    stretches: Sequence[Stretch]

    @property
    def end(self) -> int:
        """The offset behind the last one; 0 if all are being read again."""
        return max((stretch.offsets[stretch.end - 1] + 1 for stretch in self.stretches), default=0)


class SetAside:
    """The poller's thread sets tasks aside, another one reads them again."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self.runs_low = shared.runs_low
        """Set when a session is about to run out of tasks while others of it are set aside."""
        self._lock = shared.lock
        self._counts = shared.counts
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    @property
    def tasks(self) -> int:
        """The number of tasks that are set aside. Read without the lock, so approximate."""
        return self._assignment.set_aside

    def note_read(self, records: int) -> None:
        """Counts records that were read again. Several threads read."""
        with self._lock:
            self._counts.records_read_again += records

    def partitions_among(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of the partitions that have tasks set aside. For the poller's thread."""
        if not self._assignment.has_set_aside:
            return []
        ledgers = self._assignment.ledgers
        overflows = [(p, ledgers[p].overflow) for p in partitions if p in ledgers]
        return [partition for partition, overflow in overflows if overflow is not None and overflow.tasks]

    def make_room(self, partitions: Iterable[Partition], limits: Usage, most: int) -> dict[Partition, int]:
        """Sets aside at most `most` tasks of sessions that fill one of these partitions. Return how many of each.

        `limits` bound what may be in flight.
        """
        now, counts = monotonic(), dict[Partition, int]()
        with self._lock:
            not_begun = self._returns.not_begun()
            for partition in partitions:
                room = most - sum(counts.values())
                count = self._assignment.make_room(partition, limits, room, now, not_begun)
                if count:
                    counts[partition] = count
        return counts

    def make_room_of_delayed(self, limits: Usage, most: int) -> dict[Partition, int]:
        """Sets aside at most `most` tasks that are delayed for long, if delayed tasks take much of the limits.

        Return how many of each partition; none while a delayed lane waits to be checked for cancellation.
        """
        with self._lock:
            if self._waiting.unexamined or self._assignment.newly_delayed:
                return {}
            return self._assignment.make_room_of_delayed(limits, most, time())

    def ask(self, limits: Usage, lead: float) -> list[Asked[Partition]]:
        """Return the tasks to read again now.

        Args:
            limits: the limits of what may be in flight.
            lead: how many seconds before its time a delayed task is read again.
        """
        with self._lock:
            self.runs_low.clear()
            self._assignment.lead = lead
            return self._assignment.ask(limits, time())

    def asked(self, ledger: Ledger) -> list[int]:
        """Return the offsets that are still to be read again of a partition, ascending; none once it is given up."""
        with self._lock:
            return ledger.overflow.asked if ledger.state is OPEN and ledger.overflow is not None else []

    def delayed(self) -> list[Delayed]:
        """Return the tasks that are set aside because of a delay, by partition."""
        with self._lock:
            return [
                Delayed(partition, ledger, ledger.overflow.delayed_stretches())
                for partition, ledger in self._assignment.ledgers.items()
                if ledger.state is OPEN and ledger.overflow is not None and ledger.overflow.delayed
            ]

    def hasten(self, ledger: Ledger, entries: Sequence[Entry]) -> None:
        """Brings forward when delayed tasks are read again. `entries` ascend by offset; see `Overflow.hasten`."""
        with self._lock:
            if ledger.state is OPEN and ledger.overflow is not None:
                ledger.overflow.hasten(entries)
        self.runs_low.set()

    def read_again(self, ledger: Ledger, records: Sequence[Record]) -> bool:
        """Admits records that were asked for. Return whether the ledger takes more."""
        with self._lock:
            before = self._assignment.waiting
            is_open = self._assignment.read_again(ledger, records)
            self._counts.tasks_read_again += self._assignment.waiting - before
            self._wakeups.wake_borrowers()
            return is_open

    def miss(self, ledger: Ledger, offsets: Iterable[int], below: int | None = None) -> list[int]:
        """Drops records that are gone: at these offsets, and all `below` one. Return those that were set aside."""
        with self._lock:
            missed = self._assignment.miss(ledger, offsets, below)
            self._counts.missed_offsets += len(missed)
            return missed

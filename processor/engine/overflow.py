"""`Overflow`: sets aside what fills a partition and is not a turn for anyone, and has it read again in time.

Only lanes with very many tasks are concerned. Each keeps some of its tasks here, whose turn comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from processor.engine.lanes import DELAYED, RECALLED, Lane
from processor.engine.record import Record
from processor.engine.set_aside import FIRST_PORTION, MOST_PORTION, SetAside, Shelf
from processor.engine.stock import Usage

if TYPE_CHECKING:
    from processor.engine.ledger import Ledger

LEAST_KEPT = 2
"""A lane keeps at least so many tasks. With fifty partitions twenty hot sessions may have ten each in flight."""

KEPT_PART = 8
"""A lane keeps at most the eighth part of what may be in flight."""

WORTH = 4
"""It is worth setting tasks aside where they are the fourth part of all that waits."""


class Overflow:
    """Belongs to one ledger, and exists once tasks of it were set aside."""

    __slots__ = ("_kept", "_ledger", "_portion", "is_low", "record_bytes", "tasks")

    def __init__(self, ledger: Ledger) -> None:
        self.tasks = 0
        """How many have no record here."""
        self.is_low = False
        """Whether a lane is about to run out of tasks while it has some that are set aside."""
        self.record_bytes = 1
        """The mean of the records that were dropped last."""
        self._ledger = ledger
        self._portion = FIRST_PORTION
        self._kept = SetAside()
        ledger.offsets.set_aside = self._kept
        ledger.lanes.shelves = self._kept.shelves

    @property
    def sessions(self) -> int:
        """How many sessions have tasks that are set aside."""
        return len(self._kept.shelves)

    def put_aside(self, length: int, most: int) -> int:
        """Drops the records of what waits behind the first `length` tasks of each lane. Return how many they were.

        At most `most`; a lane then keeps more.
        """
        before = self.tasks
        for lane in self._ledger.lanes.longer_than(length):
            room, shelf = most - (self.tasks - before), self._kept.shelves.get(lane.key)
            # what is asked for stands between here and there
            if room > 0 and (shelf is None or not shelf.asked) and not self._has_refused(lane):
                self._put_lane_aside(lane, max(length, len(lane.waiting) - room), shelf)
        return self.tasks - before

    def divert(self, records: Sequence[Record]) -> Sequence[Record]:
        """Sets those records aside whose session has others there already. Return the rest."""
        shelves = self._kept.shelves
        if not shelves:
            return records
        rest = []
        for record in records:
            shelf = shelves.get(record.key())
            if shelf is None:
                rest.append(record)
            else:
                shelf.put(record.offset())
                self._lift(shelf.lane, record)
        if len(rest) < len(records):
            self.tasks += len(records) - len(rest)
            self._ledger.offsets.reach(records[-1].offset() + 1)
        return rest

    def look(self, lane: Lane) -> None:
        """Tasks have left the lane: notes whether it is about to run out of them."""
        shelf = self._kept.shelves.get(lane.key)
        if shelf is not None and shelf and 2 * len(lane.waiting) <= min(shelf.portion, self._portion):
            self.is_low = True

    def ask(self, most: int) -> list[int]:
        """Return the offsets of the tasks that are to be read again now, ascending, where any lane runs low.

        It asks for each lane that has less than a portion, since one pass over the log serves all of them. A portion is
        at most `most` tasks. Nothing more is asked for until all of it is here.
        """
        if not self.is_low or self._kept.asked:
            return []
        self.is_low, self._portion = False, most
        for shelf in self._kept.shelves.values():
            portion = min(shelf.portion, most)
            if len(shelf.lane.waiting) < portion:
                taken = shelf.take(portion)
                shelf.asked += len(taken)
                self._kept.asked.update(dict.fromkeys(taken, shelf))
        return sorted(self._kept.asked)

    def read_again(self, records: Iterable[Record]) -> tuple[int, int]:
        """Takes in those of these records that were asked for. Return how many they are, and the lanes made ready."""
        asked = self._kept.asked
        wanted = [record for record in records if record.offset() in asked]
        numbers = self._ledger.admit_again(wanted)
        ready, delayed = 0, list[int]()
        for number, record in zip(numbers, wanted, strict=True):
            shelf = asked.pop(number)
            shelf.asked -= 1
            if shelf.lane.state is RECALLED:
                shelf.portion = min(2 * shelf.portion, MOST_PORTION)
            elif shelf.lane.state is DELAYED:
                delayed.append(number)
            ready += self._ledger.lanes.put_back(shelf.lane, record)
        self.tasks -= len(wanted)
        self._ledger.add_delayed(delayed)
        self._clear()
        return len(wanted), ready

    def miss(self, offsets: Iterable[int]) -> list[int]:
        """These were asked for, and their records are gone. Return which of them were still missing."""
        missed = [offset for offset in offsets if offset in self._kept.asked]
        for offset in missed:
            self._kept.asked.pop(offset).asked -= 1
        self._forget(missed)
        return missed

    def miss_below(self, offset: int) -> list[int]:
        """The log begins at `offset` now: what is set aside below it is gone. Return it, ascending."""
        gone = [each for shelf in self._kept.shelves.values() for each in shelf.take_below(offset)]
        self._forget(gone)
        return sorted([*gone, *self.miss([asked for asked in self._kept.asked if asked < offset])])

    def _forget(self, missed: Sequence[int]) -> None:
        self.tasks -= len(missed)
        self._ledger.missed += len(missed)
        self._clear()

    def _put_lane_aside(self, lane: Lane, length: int, shelf: Shelf | None) -> None:
        ledger = self._ledger
        offsets = [record.offset() for record in ledger.lanes.drop_behind(lane, length)]
        if lane.state is DELAYED:
            ledger.take_delayed(offsets)
        for offset in offsets:
            ledger.terms.pop(offset, None)  # they are read with the record
        self.record_bytes = max(1, ledger.offsets.put_aside(offsets) // len(offsets))
        if shelf is None:
            self._kept.shelves[lane.key] = Shelf(lane, offsets)
        else:
            shelf.put_front(offsets)
        self.tasks += len(offsets)
        self.look(lane)

    def _has_refused(self, lane: Lane) -> bool:
        """Return whether a join of the lane came to nothing: why is not in the records, which are out of order too."""
        terms = self._ledger.terms
        if self._ledger.joins is None:
            return False
        return any(found.refusal for each in lane.waiting if (found := terms.get(each.offset())) is not None)

    def _lift(self, lane: Lane, record: Record) -> None:
        priority = self._ledger.priority_of(record)
        if priority:
            lane.lift(record.offset(), priority)
            self._ledger.lanes.lifted.append(lane)

    def _clear(self) -> None:
        """Takes away shelves of which nothing is left, and has those looked after whose lanes have nothing else."""
        for key, shelf in list(self._kept.shelves.items()):
            if shelf or shelf.asked:
                self.look(shelf.lane)
                continue
            del self._kept.shelves[key]
            if shelf.lane.state is RECALLED:
                self._ledger.lanes.end(shelf.lane)


def kept_by_each(lengths: Sequence[int], waiting: int, in_flight: Usage, limits: Usage) -> int | None:
    """Return how many tasks each lane keeps, where that frees enough of what is in flight; None where it does not.

    The longer a lane is, the more it keeps: what it keeps lasts while the rest is read again.

    Args:
        lengths: how many tasks wait in each lane.
        waiting: how many wait in all.
        in_flight: of the partition.
        limits: of what may be in flight of all partitions.
    """
    mean = max(1, in_flight.bytes // max(1, in_flight.tasks))
    kept = max(1, min(FIRST_PORTION, limits.tasks // KEPT_PART, limits.bytes // KEPT_PART // mean))
    least = min(kept, LEAST_KEPT)
    while kept >= least:
        if WORTH * sum(length - kept for length in lengths if length > kept) >= waiting:
            return kept
        kept //= 2
    return None


def portion(shelves: int, record_bytes: int, limits: Usage) -> int:
    """Return how many tasks of each of so many sessions may be read again at once.

    A lane has less than two portions then. So those of all sessions together are at most half of the limits.
    """
    part = 4 * max(1, shelves)
    return max(1, min(MOST_PORTION, limits.tasks // part, limits.bytes // part // record_bytes))

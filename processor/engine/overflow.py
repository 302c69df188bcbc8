"""`Overflow`: sets aside tasks that fill a partition and cannot run soon, and has them read again in time.

This affects two kinds of lanes. A lane with very many tasks keeps some of them in memory; a lane that is delayed for
long keeps none. The tasks of a session run in this order: those in its lane, those on its shelf, and those that are
set aside because of a delay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from operator import itemgetter
from typing import Protocol

from processor.engine.delays import Delays, Horizon, second_of
from processor.engine.due_offsets import Entry
from processor.engine.joins import Joins, KeptRecord
from processor.engine.lane import DELAYED, RECALLED, Lane
from processor.engine.lanes import Lanes
from processor.engine.offsets import Offsets
from processor.engine.record import Record
from processor.engine.set_aside import FIRST_PORTION, MOST_PORTION, SetAside, Shelf, allot
from processor.engine.stock import Usage
from processor.engine.stretch import Stretch
from processor.engine.terms import Terms

LEAST_KEPT = 2
"""A lane keeps at least this many tasks. With fifty partitions, twenty hot sessions may have ten each in flight."""

KEPT_PART = 8
"""A lane keeps at most one eighth of what may be in flight."""

WORTH = 4
"""Setting tasks aside is worth its cost if they are at least a quarter of all that wait."""


class Tasks(Protocol):
    """The tasks of a partition, with the attributes needed to set some of them aside. A `Ledger` implements it."""

    offsets: Offsets
    lanes: Lanes
    joins: Joins | None
    terms: dict[int, Terms]
    missed: int

    def terms_of(self, record: Record) -> Terms:
        """Return the terms that the record's headers set for its task."""

    def record_sizes(self, records: Sequence[Record]) -> list[int]:
        """Return the size of each record in bytes."""

    def admit_again(self, records: Sequence[Record], sizes: Sequence[int]) -> list[int]:
        """Take in records of tasks that were set aside, of these sizes in bytes. Return their offsets."""

    def add_delayed(self, numbers: Sequence[int]) -> None:
        """Count the tasks at these offsets as waiting behind a head that is too early."""

    def take_delayed(self, numbers: Sequence[int]) -> None:
        """Count the tasks at these offsets as no longer waiting there."""


class Overflow:
    """The set-aside tasks of one ledger, from the first one on."""

    __slots__ = ("_delays", "_kept", "_ledger", "_portion", "is_low", "needs", "record_bytes", "tasks")

    def __init__(self, ledger: Tasks) -> None:
        self.tasks = 0
        """How many tasks are set aside, for either reason."""
        self.is_low = False
        """Whether a lane is about to run out of tasks while it has some that are set aside."""
        self.record_bytes = 1
        """The mean size, in bytes, of the set-aside records that have been in memory."""
        self.needs = 0
        """The size, in bytes, of the record that did not fit into memory in the last pass; 0 if all did."""
        self._ledger = ledger
        self._portion = FIRST_PORTION
        self._delays = Delays()
        self._kept = SetAside(self._delays)
        ledger.offsets.set_aside = self._kept
        ledger.lanes.shelves = self._kept.shelves

    @property
    def sessions(self) -> int:
        """How many sessions have tasks that are set aside because they have very many."""
        return len(self._kept.shelves)

    @property
    def delayed(self) -> int:
        """How many tasks are set aside because of a delay."""
        return len(self._delays)

    @property
    def next_due(self) -> int | None:
        """When the first of the delayed tasks is due, in seconds since the epoch; None if there is none."""
        return self._delays.next_due

    @property
    def asked(self) -> list[int]:
        """The offsets of the tasks that are being read again, ascending."""
        return sorted(self._kept.asked)

    def may_hold(self, key: bytes | None) -> bool:
        """Return whether tasks of the session may be set aside because of a delay."""
        return self._delays.last_due(key) is not None

    def sessions_with(self, length: int) -> int:
        """Return how many sessions would have tasks set aside if each lane kept at most `length` tasks."""
        shelves = self._kept.shelves
        return len(shelves) + sum(lane.key not in shelves for lane in self._ledger.lanes.longer_than(length))

    def put_aside(self, length: int, most: int, portion: int) -> int:
        """Drops the records of the tasks behind the first `length` of each lane. Return how many tasks these are.

        At most `most` are dropped; if there are more, a lane keeps more. A lane also keeps tasks that were read again
        already, within the limits that follow from `portion`: how many tasks of a session may be read again at once.
        """
        before = self.tasks
        for lane in self._ledger.lanes.longer_than(length):
            room, shelf = most - (self.tasks - before), self._kept.shelves.get(lane.key)
            # tasks that are being read again come between the lane and its shelf
            if room > 0 and (shelf is None or not shelf.asked) and not self._has_refused(lane):
                kept = max(length, len(lane.waiting) - room, self._read_again_in(lane, shelf, portion))
                if kept < len(lane.waiting):
                    self._put_lane_aside(lane, kept, shelf)
        return self.tasks - before

    def put_delayed_aside(self, after: float, most: int) -> list[Lane]:
        """Drops lanes whose head is due later than `after`, in seconds since the epoch. Return them.

        At most `most` tasks are dropped. The oldest task of all stays, since reports name what holds the commit point.
        """
        ledger, last_dues, entries = self._ledger, dict[Lane, int](), list[Entry]()
        oldest = ledger.offsets.oldest
        for lane in ledger.lanes.delayed_lanes():
            head = lane.waiting[0].offset()
            if ledger.terms[head].due <= after or head == oldest or not self._may_leave(lane, head):
                continue
            if len(entries) + len(lane.waiting) <= most:
                entries += self._dues_of(lane)
                last_dues[lane] = entries[-1].due
        if entries:
            self._put_delayed(last_dues, sorted(entries))
        return list(last_dues)

    def divert(self, records: Sequence[Record]) -> Sequence[Record]:
        """Sets aside those of the records whose session has set-aside tasks already. Return the others."""
        shelves, delays = self._kept.shelves, self._delays
        if not shelves and not delays:
            return records
        rest, behind = list[Record](), list[Entry]()
        for record in records:
            key = record.key()
            if (due := delays.last_due(key)) is not None:
                due = max(due, second_of(self._ledger.terms_of(record).due))
                behind.append(Entry(record.offset(), due))
                delays.note(key, due)
            elif (shelf := shelves.get(key)) is not None:
                shelf.put(record.offset())
                self._lift(shelf.lane, record)
            else:
                rest.append(record)
        if behind:
            delays.put(behind)
        if len(rest) < len(records):
            self.tasks += len(records) - len(rest)
            self._ledger.offsets.reach(records[-1].offset() + 1)
        return rest

    def look(self, lane: Lane) -> None:
        """Notes whether the lane is about to run out of tasks. Called when tasks have left it."""
        shelf = self._kept.shelves.get(lane.key)
        if shelf is not None and shelf and 2 * len(lane.waiting) <= shelf.share:
            self.is_low = True

    def ask(self, most: int, horizon: Horizon) -> list[int]:
        """Return the offsets of the tasks to read again now, ascending.

        If any lane runs low, tasks of every lane that has less than its share are asked for, since one pass over the
        log serves all of them. A share is on average at most `most` tasks. Tasks that are due within the horizon are
        asked for as well. No further task is asked for until all of these have been read.
        """
        if self._kept.asked:
            return []
        if self.is_low:
            self._ask_for_lanes(most)
        if self._delays:
            self._ask_for_delayed(horizon)
        return self.asked

    def read_again(self, records: Iterable[Record], room: int, *, at_least_one: bool) -> tuple[int, int]:
        """Admits those of these records that were asked for. Return how many, and how many lanes become ready.

        If one of them does not fit into memory, it and all that is still asked for are set aside again.

        Args:
            records: ascending.
            room: how many bytes of them may be admitted.
            at_least_one: admit the first one whatever its size.
        """
        asked, lanes = self._kept.asked, self._ledger.lanes
        wanted = [each for each in records if each.offset() in asked and not self._put_behind_shelf(each)]
        sizes = self._ledger.record_sizes(wanted)
        fitting = max(bisect_right(list(accumulate(sizes)), room), int(at_least_one and bool(wanted)))
        self.needs = sizes[fitting] if fitting < len(sizes) else 0
        wanted, sizes = wanted[:fitting], sizes[:fitting]
        numbers = self._ledger.admit_again(wanted, sizes)
        ready_before, delayed = len(lanes.ready), list[int]()
        for number, record in zip(numbers, wanted, strict=True):
            shelf = asked.pop(number)
            lane = self._take_in(record) if shelf is None else self._take_back(shelf, record)
            if lane.state is DELAYED:
                delayed.append(number)
        self.tasks -= len(wanted)
        self._ledger.add_delayed(delayed)
        if self.needs:
            self._put_back()
        self._clear()
        return len(wanted), len(lanes.ready) - ready_before

    def delayed_stretches(self) -> Sequence[Stretch]:
        """Return the offsets that are set aside because of a delay and are not being read again."""
        return self._delays.stretches()

    def hasten(self, entries: Sequence[Entry]) -> None:
        """Brings forward when tasks that are set aside because of a delay are read again. `entries` ascend by offset.

        Within a session, no task may be due before those in front of it.
        """
        self._delays.hasten(entries)

    def miss(self, offsets: Iterable[int]) -> list[int]:
        """Drops tasks that were asked for, whose records are gone. Return those that had not arrived."""
        missed = [offset for offset in offsets if offset in self._kept.asked]
        for offset in missed:
            shelf = self._kept.asked.pop(offset)
            if shelf is None:
                self._delays.receive()
            else:
                shelf.asked -= 1
        self._forget(missed)
        return missed

    def miss_below(self, offset: int) -> list[int]:
        """Drops the set-aside tasks below `offset`, where the log begins now. Return their offsets, ascending."""
        gone = [each for shelf in self._kept.shelves.values() for each in shelf.take_below(offset)]
        gone += self._delays.lose_below(offset)
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
        self._drop(offsets)
        if shelf is None:
            shelf = self._kept.shelves[lane.key] = Shelf(lane, offsets)
            shelf.share = min(shelf.portion, self._portion)
        else:
            shelf.put_front(offsets)
            shelf.held -= len(offsets)
        self.look(lane)

    def _read_again_in(self, lane: Lane, shelf: Shelf | None, portion: int) -> int:
        """Return how many of its first tasks a lane keeps because they were read again: up to the last one that was.

        A lane keeps at most two shares. If more sessions share the room now than when it got them, that is
        proportionally less.
        """
        most = 2 * portion
        if shelf is not None:
            most = 2 * shelf.share * min(portion, self._portion) // self._portion
        read_again = self._kept.read_again
        waiting = enumerate(islice(lane.waiting, most), 1)
        return max((count for count, record in waiting if record.offset() in read_again), default=0)

    def _may_leave(self, lane: Lane, head: int) -> bool:
        """Return whether a delayed lane may be dropped.

        It may not if its session has other tasks set aside, which would come before these; or if more is known of its
        head than its record has, such as failed attempts. Tasks that were read again are not set aside a second time.
        """
        kept, key = self._kept, lane.key
        if key in kept.shelves or head in kept.read_again or self._delays.last_due(key) is not None:
            return False
        return lane.setback is None and not lane.attempts and not self._has_refused(lane)

    def _dues_of(self, lane: Lane) -> list[Entry]:
        """Return the lane's tasks, each due no earlier than those before it."""
        terms, due, entries = self._ledger.terms, 0, list[Entry]()
        for record in lane.waiting:
            offset = record.offset()
            if offset in terms:
                due = max(due, second_of(terms[offset].due))
            entries.append(Entry(offset, due))
        return entries

    def _put_delayed(self, last_dues: Mapping[Lane, int], entries: Sequence[Entry]) -> None:
        ledger, offsets = self._ledger, [entry.offset for entry in entries]
        ledger.take_delayed(offsets)
        self._delays.put(entries)
        for lane, due in last_dues.items():
            self._delays.note(lane.key, due, len(lane.waiting))
            ledger.lanes.drop(lane)
        self._drop(offsets)

    def _drop(self, offsets: Sequence[int]) -> None:
        for offset in offsets:
            self._ledger.terms.pop(offset, None)  # the terms are read again with the record
        size = self.record_bytes * self.tasks + self._ledger.offsets.put_aside(offsets)
        self.tasks += len(offsets)
        self.record_bytes = max(1, size // self.tasks)

    def _ask_for_lanes(self, most: int) -> None:
        self.is_low, self._portion = False, most
        shelves = sorted(self._kept.shelves.values(), key=_waiting_in)
        allot(shelves, most)
        room = 2 * most * len(shelves) - sum(map(_waiting_in, shelves))
        for shelf in shelves:
            waiting = _waiting_in(shelf)
            if waiting < shelf.share:
                taken = shelf.take(min(shelf.share, max(1, room)))
                room -= len(taken)
                shelf.asked += len(taken)
                self._kept.asked.update(dict.fromkeys(taken, shelf))
            shelf.held = waiting + shelf.asked

    def _ask_for_delayed(self, horizon: Horizon) -> None:
        """Asks for what is due, and for the oldest task of all, since reports name what holds the commit point."""
        delays, oldest = self._delays, self._ledger.offsets.oldest
        taken = delays.ask(horizon, self._kept.read_again, self._idle)
        if oldest is not None and oldest == delays.oldest:
            taken += delays.ask_below(oldest + 1)
        self._kept.asked.update(dict.fromkeys(taken))

    def _idle(self, after: float) -> set[int]:
        """Return the offsets of tasks in lanes that are parked, held, or delayed until later than `after`."""
        ledger = self._ledger
        lanes = ledger.lanes.parked_lanes()
        lanes += [each for each in ledger.lanes.delayed_lanes() if ledger.terms[each.waiting[0].offset()].due > after]
        return {record.offset() for lane in lanes for record in lane.waiting}

    def _put_behind_shelf(self, record: Record) -> bool:
        """Puts a task that was set aside because of a delay behind those on its session's shelf.

        Return whether the session has such a shelf.
        """
        offset, shelf = record.offset(), self._kept.shelves.get(record.key())
        if shelf is None or self._kept.asked[offset] is not None:
            return False
        del self._kept.asked[offset]
        self._delays.receive(record.key())
        shelf.put(offset)
        self._lift(shelf.lane, record)
        return True

    def _put_back(self) -> None:
        """Sets aside again all that is still asked for. In each session, it comes behind what has arrived."""
        shelves: dict[Shelf | None, list[int]] = {}
        for offset, shelf in sorted(self._kept.asked.items(), key=itemgetter(0)):
            shelves.setdefault(shelf, []).append(offset)
        for shelf, offsets in shelves.items():
            if shelf is None:
                self._delays.put_back(offsets)
            else:
                shelf.asked -= len(offsets)
                shelf.put_front(offsets)
        self._kept.asked.clear()

    def _take_in(self, record: Record) -> Lane:
        self._delays.receive(record.key())
        lane = self._ledger.lanes.take_in(record)
        self._lift(lane, record)
        return lane

    def _take_back(self, shelf: Shelf, record: Record) -> Lane:
        shelf.asked -= 1
        if shelf.lane.state is RECALLED:
            shelf.portion = min(2 * shelf.portion, MOST_PORTION)
        self._ledger.lanes.put_back(shelf.lane, record)
        return shelf.lane

    def _has_refused(self, lane: Lane) -> bool:
        """Return whether a join of the lane was refused, or is cancelled and so checked once more.

        The terms of its arrivals are not those of their records, and they are not in order.
        """
        return self._ledger.joins is not None and any(isinstance(each, KeptRecord) for each in lane.waiting)

    def _lift(self, lane: Lane, record: Record) -> None:
        priority = self._ledger.terms_of(record).priority
        if priority:
            lane.lift(record.offset(), priority)
            self._ledger.lanes.lifted.append(lane)

    def _clear(self) -> None:
        """Removes empty shelves, and ends lanes without any task. Checks whether the other lanes run low."""
        for key, shelf in list(self._kept.shelves.items()):
            if shelf or shelf.asked:
                self.look(shelf.lane)
                continue
            del self._kept.shelves[key]
            if shelf.lane.state is RECALLED:
                self._ledger.lanes.end(shelf.lane)


def _waiting_in(shelf: Shelf) -> int:
    return len(shelf.lane.waiting)


def kept_by_each(lengths: Sequence[int], waiting: int, in_flight: Usage, limits: Usage) -> int | None:
    """Return how many tasks each lane keeps if it has more, or None if setting the others aside frees too little.

    Lanes keep as many as possible, so that these last while the others are read again.

    Args:
        lengths: how many tasks wait in each lane.
        waiting: how many wait in all.
        in_flight: what is in flight of the partition.
        limits: what may be in flight of all partitions together.
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
    """Return how many tasks of each session may be read again at once if this many have a shelf.

    A lane then has less than two portions. So the tasks of all these sessions together are at most half of the limits.
    """
    part = 4 * max(1, shelves)
    return max(1, min(MOST_PORTION, limits.tasks // part, limits.bytes // part // record_bytes))

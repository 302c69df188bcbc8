"""`Delays`: the tasks of one partition that are delayed for long, kept as offsets with their due seconds.

There may be a million of them, each of another session, in 32 bytes each. They are read again shortly before they
are due. The tasks that follow one of them in its session are kept here as well, due no earlier than that one. So the
tasks of a session that are due at any moment are its oldest ones.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

from processor.engine.due_offsets import MOST_DUE, DueOffsets, Entry
from processor.engine.last_dues import Last, LastDues
from processor.engine.set_aside import Stretch
from processor.engine.stock import Usage

LEAD_SECONDS = 3.0
"""A task is read again at least so long before it is due. Opening a client and fetching take a second or two."""

MOST_LEAD_SECONDS = 60.0
"""The upper bound of the same, however long one pass over the log takes."""

FALL = 0.1
"""Seconds by which it falls in a second. A partition is read every two leads, in which a fifth of the lead is lost."""

GROUP = 3
"""Tasks that are due within so many times the lead are read in the same pass, so that a range of the log is not read
once for each task. Only tasks that are due later are set aside."""

CROWDED = 0.5
"""Tasks are set aside once delayed tasks are more than this part of what may be in flight."""

ROOM = 0.5
"""Tasks that were read again and are not settled yet are at most this part of what may be in flight."""

WORTH = 4
"""A pass is worth its cost if at least a quarter of that room is free."""


class Horizon(NamedTuple):
    """Which tasks to read again at a given time."""

    epoch: float
    """The time, in seconds since the epoch."""
    lead: float
    """In seconds: how long before its time a task is read again."""
    room: int
    """How many tasks that were read again may be in memory unsettled; at least one."""
    spare: int = 0
    """How many more there may be because others of them do not run soon."""


def lead_after(seconds: float, lead: float = LEAD_SECONDS, since: float = 0.0) -> float:
    """Return how long before its time a task is read again if the last pass over the log took so many seconds.

    Until now it was `lead`, for the `since` seconds after the pass before. It falls slowly, because a pass over another
    partition, or for a single task, may take less time than the next one.
    """
    return min(MOST_LEAD_SECONDS, max(LEAD_SECONDS, 2 * seconds, lead - FALL * since))


def second_of(due: float) -> int:
    """Return the second in which a task is due; 0 if it may begin at any time."""
    return int(min(max(due, 0.0), MOST_DUE))


def session_of(key: bytes) -> int:
    """Return a session's 64-bit number. Two sessions with the same number wait for each other's tasks."""
    return hash(key)


def are_crowded(delayed: Iterable[Usage], limits: Usage) -> bool:
    """Return whether the tasks that wait for their time, by partition, take much of what may be in flight."""
    usages = list(delayed)
    tasks, size = sum(usage.tasks for usage in usages), sum(usage.bytes for usage in usages)
    return tasks > CROWDED * limits.tasks or size > CROWDED * limits.bytes


def room_for_each(partitions: int, record_bytes: int, limits: Usage) -> int:
    """Return how many tasks per partition that were read again may be in memory unsettled."""
    part = ROOM / max(1, partitions)
    return max(1, int(part * min(limits.tasks, limits.bytes // record_bytes)))


class Delays:
    """A task that is being read again counts until its record has arrived."""

    __slots__ = ("_back", "_last", "_low", "_table", "asked")

    def __init__(self) -> None:
        self.asked = 0
        """Tasks that are being read again."""
        self._table = DueOffsets()
        self._last = LastDues()
        self._low = MOST_DUE
        """No task that is being read again was due earlier."""
        self._back = set[int]()
        """Tasks that were asked for because they were due, and were not settled at the last look."""

    def __len__(self) -> int:
        return len(self._table) + self.asked

    @property
    def oldest(self) -> int | None:
        """The lowest offset that is not being read again; None if there is none."""
        return self._table.oldest

    @property
    def next_due(self) -> int | None:
        """The earliest due second of tasks that are not being read again; None if there is none."""
        return self._table.next_due

    def stretches(self) -> list[Stretch]:
        """Return the offsets that are not being read again."""
        return self._table.stretches()

    def last_due(self, key: bytes | None) -> int | None:
        """Return when the session's last task that is kept here is due; None if none is kept.

        If the record of a task was deleted, its session may still have a value, while any task here is due no later.
        """
        last = self._last_of(key)
        return last.due if last is not None else None

    def note(self, key: bytes | None, due: int, tasks: int = 1) -> None:
        """Notes when the last of so many tasks of a session is due, which `put` adds. None follows one without key."""
        if key is not None:
            last = self._last_of(key) or Last(0, 0)  # of another session with the same number, perhaps
            self._last.put(session_of(key), Last(max(due, last.due), last.tasks + tasks), self._earliest())

    def put(self, entries: Sequence[Entry]) -> None:
        """Adds at least one task, by ascending offset."""
        self._table.put(entries)

    def ask(self, horizon: Horizon, unsettled: Container[int], idle: Callable[[float], Container[int]]) -> list[int]:
        """Take out the tasks to read again now, if any is due within the lead. Return their offsets.

        If there is no room for all that are due soon, the earliest come first.

        Args:
            horizon: which due tasks are meant.
            unsettled: the tasks that were read again and are not settled.
            idle: returns those of them that wait for a retry, for a gate, for the end of a pause or for a later time.
        """
        epoch, lead, room, _ = horizon
        due = self._table.next_due
        if due is None or due > epoch + lead:
            return []
        self._back = {offset for offset in self._back if offset in unsettled}
        left = self._left(horizon, idle)
        if WORTH * left < room:
            return []
        last = int(epoch + GROUP * lead)
        until = self._last_that_fits(int(epoch), last, left)
        taken = self._table.take(until, left)
        offsets = self._ask([*taken, *self._table.take(min(until + 1, last), left - len(taken))])
        self._back.update(offsets)
        return offsets

    def hasten(self, entries: Sequence[Entry]) -> None:
        """Has tasks be read again earlier, by ascending offset: of a session, each after those before it."""
        self._table.hasten(entries)

    def ask_below(self, offset: int) -> list[int]:
        """Takes out the tasks below an offset, to be read again now, whenever they are due. Return their offsets."""
        return self._ask(self._table.take_below(offset))

    def lose_below(self, offset: int) -> list[int]:
        """Takes out tasks below an offset, whose records are deleted, except those being read again. Return offsets."""
        lost = [entry.offset for entry in self._table.take_below(offset)]
        self._clear()
        return lost

    def put_back(self, offsets: Sequence[int]) -> None:
        """Puts tasks back that were to be read again, ascending and at least one. None here is due earlier."""
        due = self._earliest()
        self._table.put([Entry(offset, due) for offset in offsets])
        self._back.difference_update(offsets)
        self.asked -= len(offsets)
        self._clear()

    def receive(self, key: bytes | None = None) -> None:
        """Notes that a task that is being read again has arrived, with this key, or that its record is deleted."""
        self.asked -= 1
        if key is not None:
            self._last.take(session_of(key))
        self._clear()

    def _left(self, horizon: Horizon, idle: Callable[[float], Container[int]]) -> int:
        """Return how many tasks there is room for. Those that do not run soon hold back others only if memory is full.

        To find them is worth it only if enough room may be left without them.
        """
        epoch, lead, room, spare = horizon
        left = room - len(self._back)
        if WORTH * left < room <= WORTH * spare:
            waiting = idle(epoch + GROUP * lead)
            left = max(left, min(spare, room - sum(offset not in waiting for offset in self._back)))
        return left

    def _last_that_fits(self, first: int, last: int, room: int) -> int:
        """Return the latest of these seconds by which no more tasks than `room` are due; the one before if none is.

        Tasks that are due by `last` are mostly few, and are counted once.
        """
        if self._table.count(last, room) <= room:
            return last
        seconds = range(first, last)
        return first - 1 + bisect_left(seconds, True, key=lambda second: self._table.count(second, room) > room)

    def _ask(self, taken: Sequence[Entry]) -> list[int]:
        self.asked += len(taken)
        self._low = min([self._low, *(entry.due for entry in taken)])
        return [entry.offset for entry in taken]

    def _last_of(self, key: bytes | None) -> Last | None:
        if key is None or not self:
            return None
        last = self._last.get(session_of(key))
        return last if last is not None and last.due >= self._earliest() else None

    def _earliest(self) -> int:
        """Return the earliest due second of all tasks, or a lower bound of it."""
        due = self._table.next_due
        return self._low if due is None else min(self._low, due)

    def _clear(self) -> None:
        if not self.asked:
            self._low = MOST_DUE
            if not self._table:
                self._last.clear()

"""`Delays`: the tasks of one partition that are delayed for long, kept as offsets with their due seconds.

There may be a million of them, each of another session, in 32 bytes each. They are read again shortly before they
are due. The tasks behind one of them in its session are kept here too, and are due no earlier than that one. So those
of a session's tasks that are due at a moment are always its oldest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

from processor.engine.due_offsets import MOST_DUE, DueOffsets, Entry
from processor.engine.last_dues import Last, LastDues
from processor.engine.stock import Usage
from processor.engine.stretch import Stretch

LEAD_SECONDS = 3.0
"""The shortest lead: how long before it is due a task is read again. Opening a client and fetching take a second or
two."""

MOST_LEAD_SECONDS = 60.0
"""The longest lead, however long one pass over the log takes."""

FALL = 0.1
"""Seconds by which the lead falls per second. A partition is read every two leads, so the lead falls by a fifth."""

GROUP = 3
"""Tasks that are due within this many leads are read in the same pass, so that a range of the log is not read once for
each task. Only tasks that are due later are set aside."""

CROWDED = 0.5
"""Tasks are set aside once delayed tasks exceed this share of what may be in flight."""

ROOM = 0.5
"""The largest share of what may be in flight for tasks that were read again and are not settled yet."""

WORTH = 4
"""A pass is worth its cost if at least a quarter of that room is free."""


class Horizon(NamedTuple):
    """Which tasks to read again at a given time."""

    epoch: float
    """The time, in seconds since the epoch."""
    lead: float
    """How many seconds before its time a task is read again."""
    room: int
    """How many tasks that were read again may be in memory unsettled; at least one."""
    spare: int = 0
    """How many more there may be if some of those in memory do not run soon."""


def lead_after(seconds: float, lead: float = LEAD_SECONDS, since: float = 0.0) -> float:
    """Return the lead after a pass over the log: how long before it is due a task is read again, in seconds.

    The lead falls slowly, because a pass over another partition, or for a single task, may be shorter than the next.

    Args:
        seconds: how long the pass took.
        lead: the lead until now.
        since: how many seconds have passed since the pass before.
    """
    return min(MOST_LEAD_SECONDS, max(LEAD_SECONDS, 2 * seconds, lead - FALL * since))


def second_of(due: float) -> int:
    """Return the second in which a task is due; 0 if it may begin at any time."""
    return int(min(max(due, 0.0), MOST_DUE))


def session_of(key: bytes) -> int:
    """Return a session's 64-bit number. Two sessions with the same number wait for each other's tasks."""
    return hash(key)


def are_crowded(delayed: Iterable[Usage], limits: Usage) -> bool:
    """Return whether delayed tasks, given by partition, take more than `CROWDED` of what may be in flight."""
    usages = list(delayed)
    tasks, size = sum(usage.tasks for usage in usages), sum(usage.bytes for usage in usages)
    return tasks > CROWDED * limits.tasks or size > CROWDED * limits.bytes


def room_for_each(partitions: int, record_bytes: int, limits: Usage) -> int:
    """Return how many tasks per partition that were read again may be in memory unsettled."""
    part = ROOM / max(1, partitions)
    return max(1, int(part * min(limits.tasks, limits.bytes // record_bytes)))


class Delays:
    """The delayed tasks of one partition. A task that is being read again counts until its record has arrived."""

    __slots__ = ("_back", "_last", "_low", "_table", "asked")

    def __init__(self) -> None:
        self.asked = 0
        """Tasks that are being read again."""
        self._table = DueOffsets()
        self._last = LastDues()
        self._low = MOST_DUE
        """A lower bound of the due seconds of all tasks that are being read again."""
        self._back = set[int]()
        """Offsets that `ask` has returned, without those that were settled at its last check."""

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
        """Notes when the last of a session's `tasks` is due, which `put` adds. A task without key has no session."""
        if key is not None:
            last = self._last_of(key) or Last(0, 0)  # perhaps of another session with the same number
            self._last.put(session_of(key), Last(max(due, last.due), last.tasks + tasks), self._earliest())

    def put(self, entries: Sequence[Entry]) -> None:
        """Adds at least one task, by ascending offset."""
        self._table.put(entries)

    def ask(self, horizon: Horizon, unsettled: Container[int], idle: Callable[[float], Container[int]]) -> list[int]:
        """Take out the tasks to read again now, if any is due within the lead. Return their offsets.

        If there is no room for all that are due soon, the earliest come first.

        Args:
            horizon: which tasks to read again.
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
        """Removes tasks below an offset, whose records are deleted, but none being read again. Return their offsets."""
        lost = [entry.offset for entry in self._table.take_below(offset)]
        self._clear()
        return lost

    def put_back(self, offsets: Sequence[int]) -> None:
        """Puts back tasks that were to be read again: at least one, ascending. No task here is due before them."""
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

        They are searched for only if that may leave enough room for a pass.
        """
        epoch, lead, room, spare = horizon
        left = room - len(self._back)
        if WORTH * left < room <= WORTH * spare:
            waiting = idle(epoch + GROUP * lead)
            left = max(left, min(spare, room - sum(offset not in waiting for offset in self._back)))
        return left

    def _last_that_fits(self, first: int, last: int, room: int) -> int:
        """Return the latest of these seconds by which at most `room` tasks are due; `first - 1` if there is none.

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

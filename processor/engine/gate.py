"""`Gate`: whether an attempt of one handler may begin, and the lanes that wait until it may.

A lane whose next task may not begin waits here, in the order in which it came, and takes neither a worker nor an
attempt. When there is room it is *invited*: it goes back to the queue for a worker, and its place is kept. A waiting
lane costs one entry in a queue, however long it waits.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from processor.engine.rate import Rate
from processor.engine.suspension import Suspension

G = TypeVar("G", bound=Hashable)
L = TypeVar("L", bound=Hashable)


class Ending(enum.Enum):
    """How an attempt ended, as far as a gate depends on it."""

    SUCCEEDED = "the handler returned"
    OUTAGE = "a dependency of the handler is unavailable"
    OTHER = "anything else"


class Change(enum.Enum):
    """The change that the end of an attempt has caused."""

    SUSPENDED = "the handler is suspended"
    RESUMED = "the handler is not suspended any more"


class Limits(NamedTuple):
    """The limits that a handler sets; None means unlimited."""

    concurrency: int | None = None
    rate: Rate | None = None
    suspension: Suspension | None = None


class GateSnapshot(NamedTuple):
    """One gate at one moment."""

    name: str
    waiting: int
    """Number of lanes."""
    suspended_seconds: float | None
    """For how long the handler has been suspended; None if it is not."""
    error_type: str | None
    """The error type of the last attempt that ended in an outage, while the handler is suspended."""
    error: str | None


class Gate(Generic[G, L]):
    """One handler's gate. Lanes belong to groups, the assigned partitions, which may be lost with all their lanes.

    Not thread-safe: several threads must hold one lock around each call. Only `is_open` and `is_calm` may be read
    without it.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        """The handler's."""
        self.suspension = limits.suspension
        self.waiting: deque[tuple[G, L]] = deque()
        """Lanes whose next task may not begin, in the order in which they came."""
        self._concurrency = limits.concurrency
        self._rate = limits.rate
        self._invited: dict[L, G] = {}
        self._running: dict[L, G] = {}
        self._probe: L | None = None
        self._is_limited = limits.concurrency is not None or limits.rate is not None
        self.is_open = self.is_calm = False
        """`is_open`: an attempt may begin without `begin`. `is_calm`: a success need not be reported by `end`."""
        self._update()

    @property
    def running(self) -> int:
        """Attempts that have begun by `begin` and not ended."""
        return len(self._running)

    def begin(self, group: G, lane: L, now: float) -> bool:
        """Return whether the lane's next task may be attempted now. If not, the caller calls `wait` for the lane."""
        if lane in self._running:
            return True
        if lane in self._invited:
            del self._invited[lane]
            may_begin = not self.is_suspended or lane == self._probe
        else:
            may_begin = not self.waiting and self._room(now) > 0
        if not may_begin:
            return False
        self._enter(lane)
        self._running[lane] = group
        self.is_calm = False  # its success must be reported, even if the gate has opened since the caller saw it closed
        if self._rate is not None:
            self._rate.take(now)
        return True

    def wait(self, group: G, lane: L) -> None:
        """Adds a lane behind all others that wait."""
        self.waiting.append((group, lane))
        self._update()

    def invite(self, now: float) -> list[tuple[G, L]]:
        """Return the lanes that may go back to the queue for a worker now, in the order in which they came."""
        if not self.waiting:
            return []
        room = min(self._room(now), len(self.waiting))
        guests = [self.waiting.popleft() for _ in range(room)]
        for group, lane in guests:
            self._enter(lane)
            self._invited[lane] = group
        return guests

    def end(self, lane: L, ending: Ending, now: float, jitter: float) -> Change | None:
        """Ends the attempt of the lane's task. Returns what that changes; None for nothing."""
        was_probe = lane == self._probe
        self._leave(lane)
        suspension, change = self.suspension, None
        # Attempts that began before the suspension prove nothing about the handler now: only the probe does.
        if suspension is not None and (was_probe or not suspension.is_suspended):
            if ending is Ending.SUCCEEDED:
                change = Change.RESUMED if suspension.succeed() else None
            elif ending is Ending.OUTAGE:
                change = Change.SUSPENDED if suspension.fail(now, jitter) else None
            else:
                suspension.pass_over()
        self._update()
        return change

    def drop(self, lane: L) -> None:
        """Frees the lane's place. It had no attempt that shows whether the handler works."""
        self._leave(lane)
        self._update()

    def withdraw(self, lane: L) -> None:
        """Removes a lane from the waiting ones."""
        self.waiting = deque(each for each in self.waiting if each[1] != lane)
        self._update()

    def forget(self, group: G) -> None:
        """Forgets the lanes of a group that wait or are invited. Its attempts that run may end."""
        self.waiting = deque(each for each in self.waiting if each[0] != group)
        for lane in [lane for lane, of in self._invited.items() if of == group]:
            self._leave(lane)
        self._update()

    def due(self) -> float | None:
        """Return when to call `invite` if no attempt ends before; None if only the end of an attempt makes room."""
        if not self.waiting or self._slots() < 1:
            return None
        rate_at = float("-inf") if self._rate is None else self._rate.free_at(len(self._invited) + 1)
        if self.is_suspended and self.suspension is not None and rate_at is not None:
            return max(rate_at, self.suspension.due)
        return rate_at

    def snapshot(self, now: float) -> GateSnapshot:
        """Return the gate's state at `now`."""
        suspension = self.suspension
        if suspension is None or not suspension.is_suspended:
            return GateSnapshot(self.name, len(self.waiting), None, None, None)
        seconds = now - suspension.suspended_at
        return GateSnapshot(self.name, len(self.waiting), seconds, suspension.error_type, suspension.error)

    @property
    def is_suspended(self) -> bool:
        """Whether the handler is suspended: only one task at a time probes it, now and then."""
        return self.suspension is not None and self.suspension.is_suspended

    def _room(self, now: float) -> int:
        """How many more may begin now."""
        room = self._slots()
        if self._rate is not None:
            room = min(room, self._rate.free(now) - len(self._invited))
        if self.is_suspended and self.suspension is not None and now < self.suspension.due:
            return 0
        return max(0, room)

    def _slots(self) -> int:
        """How many more may begin once the rate and the suspension's pause allow it."""
        taken = len(self._running) + len(self._invited)
        slots = len(self.waiting) + 1
        if self._concurrency is not None:
            slots = min(slots, self._concurrency - taken)
        if self.is_suspended:
            slots = min(slots, 0 if self._probe is not None else 1)
        elif self.suspension is not None and self.suspension.allowance is not None:
            slots = min(slots, self.suspension.allowance - taken)
        return slots

    def _enter(self, lane: L) -> None:
        if self.is_suspended:
            self._probe = lane

    def _leave(self, lane: L) -> None:
        self._running.pop(lane, None)
        self._invited.pop(lane, None)
        if lane == self._probe:
            self._probe = None

    def _update(self) -> None:
        suspension, row = self.suspension, 0
        is_free = not self._is_limited
        if suspension is not None:
            if not self.waiting and not self._invited:
                suspension.recover()
            is_free, row = is_free and suspension.allowance is None, suspension.row
        self.is_open = is_free
        # An attempt that began by `begin` has a place until `end`. Places that are never freed are missing later.
        self.is_calm = is_free and not row and not self._running

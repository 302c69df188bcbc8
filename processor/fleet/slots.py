"""`Slots`: the places of a fleet, each of which holds one consumer's process at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from processor.fleet.channel import Drain, StopNow
from processor.fleet.child import ChildProcess
from processor.health.heartbeat import Place, consumer_file
from processor.health.heartbeat import remove as remove_heartbeat


class Slot:
    """A place in the fleet: its index, and the process that fills it now."""

    def __init__(self, index: int, *, is_extra: bool = False) -> None:
        self.index = index
        self.is_extra = is_extra
        """Whether it was added while the fleet ran: the fleet can do without it."""
        self.is_leaving = False
        """Whether the place is being removed: its process was ordered to end, and no other will start in it."""
        self.child: ChildProcess | None = None
        self.due: float | None = 0.0
        """When the next process starts; None while one runs, and if no other will start."""
        self.delay: float | None = None
        """Delay before the last process, None if it was the first."""
        self.kill_at: float | None = None
        """When the process is killed, if it was ordered to end."""
        self.follows_death = False
        """Whether the previous process died, so that the next one records which tasks it runs."""
        self.is_reloading = False
        """Whether the process was ordered to end because the code has changed: another follows at once."""
        self.awaits_change = False
        """Whether the code could not be loaded: the next process starts when it has changed."""

    @property
    def is_in_use(self) -> bool:
        """Whether a process runs, or another follows."""
        return self.child is not None or self.due is not None or self.awaits_change

    def call_off(self) -> None:
        """Cancels the start of the next process, unless the exit of this one requires one."""
        self.due, self.awaits_change = None, False

    def end(self, order: Drain | StopNow, patience: float) -> None:
        """Orders the process to end, if one runs. It is killed after `patience` seconds, or earlier if an earlier order
        said so.
        """
        if self.child is not None:
            self.child.send(order)
            self.kill_at = min(monotonic() + patience, self.kill_at or math.inf)

    def overdue(self, now: float) -> ChildProcess | None:
        """Return the process if it must be killed now. Return it only once."""
        if self.kill_at is None or self.kill_at > now:
            return None
        self.kill_at = None
        return self.child

    def is_silent(self, seconds: float) -> bool:
        """Return whether its process has not reported for `seconds`, although it should.

        A process begins to report once it has reached a broker, and is not expected to report while it ends.
        """
        child = self.child  # read once: the metrics server calls from another thread, and the child may change
        reported_at = child.reported_at if child is not None and self.kill_at is None else None
        return reported_at is not None and monotonic() - reported_at > seconds

    def place(self) -> Place:
        """Return the place for the heartbeat. Called in another thread, it may see only one of two related changes."""
        due, child = self.due, self.child
        pid, since = (None, monotonic()) if child is None else (child.pid, child.began)
        done = child is None and due is None and not self.awaits_change
        return Place(consumer=self.index, pid=pid, since=since, done=done, extra=self.is_extra)


class Slots:
    """The places, in the order of their indices. Other threads may read them: the list is replaced, never changed."""

    def __init__(self, count: int, heartbeat_file: str | None) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._heartbeat_file = heartbeat_file

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def children(self) -> list[ChildProcess]:
        """The processes that run."""
        return [child for slot in self._slots if (child := slot.child) is not None]

    @property
    def staying(self) -> list[Slot]:
        """The places that are filled, or will be again, and stay."""
        return [slot for slot in self._slots if slot.is_in_use and not slot.is_leaving]

    @property
    def soonest(self) -> float:
        """When the next process must be started or killed; infinite if there is none."""
        times = [at for slot in self._slots for at in (slot.due, slot.kill_at) if at is not None]
        return min(times, default=math.inf)

    def add(self) -> None:
        """Add a place with the lowest free index, whose process must be started now."""
        taken = {slot.index for slot in self._slots}
        slot = Slot(min(set(range(len(taken) + 1)) - taken), is_extra=True)
        slot.due = monotonic()
        self._slots = sorted([*self._slots, slot], key=lambda each: each.index)

    def give_up(self) -> Slot:
        """Return the place that the fleet gives up: one without a running process if there is one, else the last one.

        If that place was not added while the fleet ran, an added one takes over its role, and becomes indispensable.
        """
        slot = max(self.staying, key=lambda each: (each.child is None, each.index))
        added = next((each for each in self.staying if each.is_extra and each is not slot), None)
        if added is not None and not slot.is_extra:
            added.is_extra = False
        return slot

    def drop(self, slot: Slot) -> None:
        """Removes a place whose process has exited."""
        self._slots = [each for each in self._slots if each is not slot]
        self._remove_heartbeat(slot)

    def remove_heartbeats(self) -> None:
        """Removes the heartbeat files that killed processes have left."""
        for slot in self._slots:
            self._remove_heartbeat(slot)

    def _remove_heartbeat(self, slot: Slot) -> None:
        if self._heartbeat_file is not None:
            remove_heartbeat(consumer_file(Path(self._heartbeat_file), slot.index))

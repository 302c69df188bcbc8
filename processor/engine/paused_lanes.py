"""`PausedLanes`: the lanes that wait for a resume, and for which pause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from processor.engine.lane import Lane
from processor.engine.ledger import Ledger
from processor.engine.pauses import Pause, Pauses, Target, text_of


class PauseLoad(NamedTuple):
    """A pause, and how many tasks wait for its end."""

    target: Target
    pause: Pause
    waiting: int


class PausesSnapshot(NamedTuple):
    """The pauses at one moment."""

    in_force: int
    since: int | None
    """When the oldest of them began, in milliseconds since the epoch; None without one."""
    loads: Sequence[PauseLoad]
    """Pauses, those with the most waiting tasks first; among equals, the oldest first."""
    waiting: Mapping[str, int]
    """How many tasks wait for any of them, by TOPIC:PARTITION."""


class PausedLanes:
    """Lanes that were held because of a pause. Not thread-safe."""

    def __init__(self, pauses: Pauses, partition_of: Callable[[Ledger], str]) -> None:
        """`partition_of` returns TOPIC:PARTITION of a ledger that is not closed."""
        self._pauses = pauses
        self._partition_of = partition_of
        self._held: dict[Lane, tuple[Ledger, str | None]] = {}
        """The held lanes, each with its ledger, and with the name of its head if a name is paused."""

    def __len__(self) -> int:
        return len(self._held)

    def pause_of(self, ledger: Ledger, lane: Lane) -> Pause | None:
        """Return the pause that covers a lane, whatever the names of its tasks."""
        return self._pauses.of_lane(self._partition_of(ledger), lane.key)

    def hold(self, ledger: Ledger, lane: Lane, name: str | None) -> None:
        """Adds a lane, which waits for a resume."""
        self._held[lane] = ledger, name

    def drop(self, lane: Lane) -> None:
        """Removes a lane, which waits no longer."""
        self._held.pop(lane, None)

    def forget(self, ledger: Ledger) -> None:
        """Removes the lanes of a ledger, of which nothing begins any more."""
        if self._held:
            self._held = {lane: held for lane, held in self._held.items() if held[0] is not ledger}

    def take_resumed(self, target: Target) -> list[tuple[Ledger, Lane]]:
        """Take out the lanes that no pause covers any more, now that the pause of this target has ended.

        With a thousand paused sessions, each resume examines only the lanes of its own session.
        """
        resumed = [
            (ledger, lane)
            for lane, (ledger, name) in self._held.items()
            if (target.kind != "session" or text_of(lane.key) == target.text)
            and self.pause_of(ledger, lane) is None
            and (name is None or self._pauses.of_name(name) is None)
        ]
        for _, lane in resumed:
            del self._held[lane]
        return resumed

    def snapshot(self, most: int) -> PausesSnapshot:
        """Return the present state, with at most `most` of the pauses. The cost grows with the lanes that wait."""
        in_force = dict(self._pauses.in_force)
        by_target, by_partition = Counter[Target | None](), Counter[str]()
        for lane, (ledger, name) in self._held.items():
            partition = self._partition_of(ledger)
            waiting = len(lane.waiting) + ledger.lanes.waiting_elsewhere(lane.key)
            by_target[self._pauses.target_of(partition, lane.key, name)] += waiting
            by_partition[partition] += waiting
        loads = [PauseLoad(target, pause, by_target[target]) for target, pause in in_force.items()]
        loads.sort(key=lambda load: (-load.waiting, load.pause.since))
        since = min((pause.since for pause in in_force.values()), default=None)
        return PausesSnapshot(len(in_force), since, loads[:most], by_partition)

"""`DeathWatch`: after a process of the fleet has died, a consumer records the tasks that it runs, and runs suspects
alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from processor.engine.deaths import LEAST_DEATHS, Suspect, TaskPlace
from processor.handlers.exceptions import ProcessDied
from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.flight_recorder import FlightRecorder
from processor.runtime.intake import Intake
from processor.runtime.ports import Partition, Record
from processor.runtime.runner import Runner

WATCH_SECONDS: Final = 120.0
"""The shortest watch. Within this time the partitions of a dead process have an owner again: by default, a group waits
45 seconds for a member."""

LOOK_SECONDS: Final = 0.5
"""Time between two checks of what the group has committed."""

Watched = Sequence[Suspect]
"""An order to watch, with the suspects of the fleet."""


class DeathWatch:
    """Belongs to the poller's thread. Only to `inbox` may any thread append.

    A watch ends when the group has committed everything that this consumer's new partitions contained when it got them:
    the task that killed another process was among that.
    """

    def __init__(self, desk: Desk, committer: Committer, intake: Intake, runner: Runner, max_attempts: int) -> None:
        self.inbox: deque[Watched] = deque()
        self.on_settled: Callable[[Sequence[TaskPlace]], object] = lambda _: None
        """Called with suspects that are settled."""
        self._partitions, self._suspects = desk.partitions, desk.suspects
        self._committer = committer
        self._intake = intake
        self._runner = runner
        self._limit = max(max_attempts, LEAST_DEATHS)
        self._open_recorder: Callable[[], FlightRecorder] | None = None
        self._recorder: FlightRecorder | None = None
        self._until: float | None = None
        """The earliest end of the watch; None while there is none."""
        self._next_look = 0.0
        self._old: set[Partition] = set()
        """Partitions that this consumer had before the watch: what has killed another process is in none of them."""
        self._ends: dict[Partition, int] = {}
        """For each other partition, its end offset when that was first known."""

    def equip(self, open_recorder: Callable[[], FlightRecorder]) -> None:
        """Record the running tasks during a watch. `open_recorder` is called when a watch begins."""
        self._open_recorder = open_recorder

    def tick(self, now: float) -> None:
        """Begins a watch that was ordered. Ends it once its time is over and the group has committed enough."""
        if self.inbox:
            self._begin(now)
        if self._until is not None and now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look(now)

    def _begin(self, now: float) -> None:
        suspects = self.inbox.popleft()
        while self.inbox:  # the last order has all suspects; another one may arrive meanwhile
            suspects = self.inbox.popleft()
        self._suspects.replace([(Partition(*place[:2]), place.offset, deaths) for place, deaths in suspects])
        if self._until is None and self._open_recorder is not None:
            self._old = set(self._partitions.assigned)
            self._recorder = self._open_recorder()
            self._runner.watch(self._recorder, self._check)
        self._until = now + WATCH_SECONDS

    def _check(self, record: Record, number: int) -> None:
        """Refuse a task that has killed too many processes. `number` is that of the attempt that is about to begin.

        Raises:
            ProcessDied: it has killed too many.
        """
        deaths = self._suspects.deaths_of(Partition(record.topic(), record.partition()), record.offset())
        if deaths >= self._limit and number > deaths:
            raise ProcessDied(f"a process that ran the task died, {deaths} times")

    def _look(self, now: float) -> None:
        partitions = self._partitions.assigned
        self._old.intersection_update(partitions)
        self._ends = {partition: end for partition, end in self._ends.items() if partition in partitions}
        passed = True
        for partition in partitions:
            committed = self._committer.committed(partition)
            if committed is not None:
                self._acquit(partition, committed)
            if partition not in self._old:
                end = self._ends.get(partition, self._intake.end_of(partition))
                if end is not None:
                    self._ends[partition] = end
                passed = passed and end is not None and committed is not None and committed >= end
        if passed and self._until is not None and now >= self._until:
            self._end()

    def _acquit(self, partition: Partition, committed: int) -> None:
        settled = self._suspects.acquit(partition, committed)
        if settled:
            self.on_settled([TaskPlace(partition.topic, partition.number, offset) for offset in settled])

    def _end(self) -> None:
        self._until = None
        self._ends.clear()
        self._suspects.replace([])
        self._runner.watch(None, self._check)
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

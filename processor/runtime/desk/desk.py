"""`Desk`: the lending desk of one consumer, with a part for each kind of caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processor.engine.assignment import AssignmentSnapshot
from processor.engine.durations import Durations
from processor.engine.gate import GateSnapshot
from processor.engine.lease import Lease
from processor.engine.paused_lanes import PausesSnapshot
from processor.runtime.desk.arrivals import Arrivals
from processor.runtime.desk.cancelling import Cancelling
from processor.runtime.desk.commits import Commits
from processor.runtime.desk.gates import Gates
from processor.runtime.desk.gathering import Gathering
from processor.runtime.desk.inflow import Inflow
from processor.runtime.desk.lending import Lending
from processor.runtime.desk.outcomes import Outcomes
from processor.runtime.desk.partitions import Partitions
from processor.runtime.desk.pausing import Pausing
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.set_aside import SetAside
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.suspects import Suspects
from processor.runtime.desk.upkeep import Upkeep
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.ports import Partition
from processor.runtime.timers import Timers

PAUSES = 10
"""The most pauses that one report names."""

BUSIEST = 5
"""The most sessions that one report names."""

REPORTED = (
    "suspensions",
    "succeeded",
    "failed_attempts",
    "retried",
    "timed_out",
    "stuck",
    "dead_lettered",
    "expired",
    "cancelled",
    "results",
    "skipped",
    "settled",
)


class Report(NamedTuple):
    """The state of the tasks, read at one moment."""

    assignment: AssignmentSnapshot[Partition]
    counts: Mapping[str, int | float]
    """Totals of tasks since the start, and `handler_seconds`."""
    durations: Durations
    longest_seconds: float
    gates: Sequence[GateSnapshot]
    pauses: PausesSnapshot


class Desk:
    """Each public part takes the one lock around what it changes. A caller of the four private parts must hold it."""

    def __init__(self, lease: Lease, timers: Timers, *, stages: bool = False) -> None:
        """`stages` is whether outputs wait in outboxes, to be committed together with offsets."""
        self._shared = shared = Shared(lease, timers)
        self._wakeups = wakeups = Wakeups(shared)
        self._returns = returns = Returns(shared, wakeups)
        self._waiting = waiting = WaitingLanes(shared, wakeups)
        self.lease = lease
        """Once it is over, the desk lends nothing, and borrowers begin none of the tasks that they have."""
        self.counts = shared.counts
        self.partitions = Partitions(shared, wakeups, returns, waiting)
        self.inflow = Inflow(shared, wakeups, stages=stages)
        self.set_aside = SetAside(shared, wakeups, returns, waiting)
        self.pausing = Pausing(shared, wakeups, returns, waiting)
        self.cancelling = Cancelling(shared, wakeups, returns, waiting)
        self.suspects = Suspects(shared, returns, waiting)
        self.lending = Lending(shared, wakeups, returns, waiting, self.pausing, self.suspects)
        self.gathering = Gathering(shared, wakeups, returns, waiting)
        self.gates = Gates(shared, wakeups, waiting)
        self.outcomes = Outcomes(shared, wakeups, waiting)
        self.arrivals = Arrivals(shared, wakeups, waiting)
        self.commits = Commits(shared, returns)
        self.upkeep = Upkeep(shared, wakeups, returns, waiting, stages=stages)

    # --- read without the lock, so approximate --------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Tasks in memory that are not lent."""
        return self._shared.assignment.waiting

    @property
    def running(self) -> int:
        """Lanes that are lent."""
        return self._shared.assignment.lent_loans

    @property
    def ready(self) -> int:
        """Sessions and batches that wait for a worker."""
        return self._shared.assignment.ready_lanes + len(self._shared.gatherer.ready)

    @property
    def awake(self) -> int:
        """Worker threads that do not wait for work."""
        return self._wakeups.awake

    @property
    def attempts(self) -> int:
        """Attempts that have ended, as of the last visit of each worker."""
        return sum(self.counts.durations.counts)

    # --- under the lock --------------------------------------------------------------------------------

    def report(self, now: float) -> Report:
        """Settle what is done, and return the present state. The longest duration is reset."""
        with self._shared.lock:
            self._returns.collect_all()
            counts = self.counts
            longest, counts.longest_seconds = counts.longest_seconds, 0.0
            return Report(
                self._shared.assignment.snapshot(now, BUSIEST),
                {**{name: getattr(counts, name) for name in REPORTED}, "handler_seconds": counts.handler_seconds},
                counts.durations.copy(),
                longest,
                [gate.snapshot(now) for gate in self._waiting.gates],
                self._waiting.paused.snapshot(PAUSES),
            )

"""`Drain`: waits for running tasks, of revoked partitions or of all partitions."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from processor.engine.outcome import Dropped
from processor.runtime.attempt import Attempt
from processor.runtime.crew import Crew
from processor.runtime.desk import Desk
from processor.runtime.lease_keeper import LeaseKeeper
from processor.runtime.ports import RELEASE_MARGIN_SECONDS, Partition
from processor.runtime.stopping import Stopping
from processor.telemetry.events import Emit, TaskAbandoned

CHECK_SECONDS = 0.05
"""The longest single wait for running tasks. Between two waits, the lease is renewed and an immediate stop is noticed.
"""


REVOKE_SHARE = 0.6
"""The share of `max.poll.interval.ms` that the drain of a revoke may always take; of a long interval, it may take all
but `RELEASE_MARGIN_SECONDS`. With both protocols, that interval is the coordinator's time limit for a member that gives
up partitions: the client reports it when it joins, and no poll during the drain extends it."""


class DrainSeconds(NamedTuple):
    """How long running tasks may take to end, in seconds: at a stop, and at a revoke."""

    of_stop: float
    of_revoke: float

    @classmethod
    def within(cls, drain_timeout: float, poll_seconds: float) -> DrainSeconds:
        """Return the drain timeout; for a revoke, at most what the client's `max.poll.interval.ms` allows.

        The group evicts a member that takes longer, and assigns its partitions to others while their tasks still run
        here. At a stop, the group does not wait.
        """
        longest = max(poll_seconds * REVOKE_SHARE, poll_seconds - RELEASE_MARGIN_SECONDS)
        return cls(drain_timeout, min(drain_timeout, longest))


class Drain:
    """Belongs to the poller's thread."""

    def __init__(
        self, seconds: DrainSeconds, desk: Desk, crew: Crew, keeper: LeaseKeeper, stopping: Stopping, emit: Emit
    ) -> None:
        """`seconds` is how long running tasks may take to end."""
        self.keeper = keeper
        self._seconds = seconds
        self._desk = desk
        self._crew = crew
        self._stopping = stopping
        self._emit = emit

    @property
    def is_cut_short(self) -> bool:
        """Whether a stop at once ends the wait for running tasks."""
        return self._stopping.at_once

    def deadline(self, *, of_revoke: bool) -> float:
        """Return when a drain that begins now is over, in seconds of the monotonic clock."""
        return monotonic() + (self._seconds.of_revoke if of_revoke else self._seconds.of_stop)

    def check(self, partitions: Sequence[Partition], deadline: float, *, seconds: float = CHECK_SECONDS) -> bool | None:
        """Waits at most `seconds` for the running tasks of these partitions.

        Returns:
            True once nothing runs. False once the deadline is past and running tasks are abandoned. Otherwise None.
        """
        now = self.keeper.tick()
        if self._desk.partitions.wait_drained(partitions, min(seconds, max(0.0, deadline - now))):
            return True
        if monotonic() >= deadline or self._stopping.at_once:
            return not self._abandon(partitions)
        return None

    def _abandon(self, partitions: Sequence[Partition]) -> int:
        """Abandons what still runs. Return the number of these tasks: the last ones may just have ended.

        Others may end while the lines about the first ones are written.
        """
        abandoned = 0
        for loan in self._desk.partitions.lent_of(partitions):
            done, records = loan.done, loan.records  # both may change at any moment
            if done < len(records):
                abandoned += 1
                attempt = Attempt(loan, records[done], loan.attempt, Dropped())
                seconds = round(self._crew.running_seconds(loan), 3)
                self._emit(TaskAbandoned(**attempt.fields, running_seconds=seconds))
        self._desk.counts.abandoned += abandoned
        return abandoned

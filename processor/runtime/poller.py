"""`Poller`: the loop of the one thread that uses the Kafka consumer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from processor.runtime.intake import Intake
from processor.runtime.lease_keeper import LeaseKeeper
from processor.runtime.stop_at_end import StopAtEnd
from processor.runtime.stopping import Stopping

QUIET_TICK_SECONDS = 0.5
"""Time between two calls of the ticks while the consumer is quiet. Ten calls a second would cost more than all else
that an idle consumer does, and the ticks have nothing to do."""


class Poller:
    """Takes records, commits offsets, reports. The group's decisions arrive in between, from inside the source."""

    def __init__(
        self, keeper: LeaseKeeper, intake: Intake, ticks: Sequence[Callable[[float], object]], stopping: Stopping
    ) -> None:
        """`ticks` are called after each `take`, in this order, with the time in seconds of the monotonic clock.

        While the intake is quiet, they are called every `QUIET_TICK_SECONDS`.
        """
        self._keeper = keeper
        self._intake = intake
        self._ticks = ticks
        self._stopping = stopping

    def run(self, stop_at_end: StopAtEnd | None) -> bool:
        """Polls until a stop is requested, or until the end is reached. Return whether the end was reached."""
        if stop_at_end is not None:
            stop_at_end.begin()
        next_tick = 0.0
        while not self._stopping.is_asked:
            self._intake.take(self._keeper.tick())
            now = monotonic()
            if now >= next_tick or not self._intake.is_quiet(now):
                next_tick = now + QUIET_TICK_SECONDS
                for tick in self._ticks:
                    tick(now)
            if stop_at_end is not None and stop_at_end.is_reached():
                return True
        return False

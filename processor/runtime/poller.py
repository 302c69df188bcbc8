"""`Poller`: the loop of the one thread that talks to the consumer group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from processor.runtime.intake import Intake
from processor.runtime.lease_keeper import LeaseKeeper
from processor.runtime.stop_at_end import StopAtEnd
from processor.runtime.stopping import Stopping


class Poller:
    """Takes records, commits offsets, reports; what the group decides comes in between, from inside the source."""

    def __init__(
        self, keeper: LeaseKeeper, intake: Intake, ticks: Sequence[Callable[[float], object]], stopping: Stopping
    ) -> None:
        """`ticks` are called after each `take`, in this order, with the time in seconds of the monotonic clock."""
        self._keeper = keeper
        self._intake = intake
        self._ticks = ticks
        self._stopping = stopping

    def run(self, stop_at_end: StopAtEnd | None) -> bool:
        """Polls until a stop is asked for, or until the end is reached. Return whether it was."""
        if stop_at_end is not None:
            stop_at_end.begin()
        while not self._stopping.is_asked:
            self._intake.take(self._keeper.tick())
            now = monotonic()
            for tick in self._ticks:
                tick(now)
            if stop_at_end is not None and stop_at_end.is_reached():
                return True
        return False

"""`FleetSize`: how many consumers a fleet should have, decided from their reports and from signals."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from math import inf
from typing import Final

from processor.boot.signals import signal_name
from processor.engine.process_scaling import Load, ProcessScaling, Step
from processor.options.bounds import Count, bounds_of
from processor.telemetry.events import ConsumerStats, PartitionStats

SIZE_SIGNALS: Final = (signal.SIGTTIN, signal.SIGTTOU)
"""The first adds a consumer, the second one takes one away."""


def follows_load(processes: Count, workers: Count) -> bool:
    """Return whether the number of a fleet's consumers, or that of their workers, follows the load."""
    return bounds_of(processes).is_range or bounds_of(workers).is_range


def load_of(stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> Load:
    """Return the load of a consumer, from its report and those of its partitions."""
    workers = stats.running / stats.workers if stats.workers else 0.0
    waits = stats.ready_sessions > 0 or any(partition.fetched_ahead for partition in partitions)
    return Load(min(1.0, max(stats.used_cores, workers)), waits, stats.assigned_partitions)


class FleetSize:
    """Decides on the number of consumers. With a fixed one, only signals change it.

    Args:
        processes: the number of consumers, or its bounds.
        workers: the same of a consumer's workers, which each consumer decides on by itself.
    """

    def __init__(self, processes: Count, workers: Count = 1) -> None:
        bounds = bounds_of(processes)
        self.is_scaled = bounds.is_range
        """Whether the number follows the load."""
        self.follows_load = follows_load(processes, workers)
        """Whether consumers or workers follow the load, and so may be at their limit."""
        self._bounds = bounds
        self._scaling = ProcessScaling(*bounds) if self.is_scaled else ProcessScaling(1, 1)

    @property
    def limit(self) -> str | None:
        """Why the fleet cannot grow although tasks wait and all consumers are busy; None if it can or need not."""
        return self._scaling.limit

    def observe(self, loads: Sequence[Load | None] | None) -> Step | None:
        """Return the change that a round of reports leads to; None for no change.

        Args:
            loads: the load that each consumer has reported since the last round, or None for a consumer that has not
                reported yet. None in place of the sequence while a consumer is starting, being replaced or leaving.
        """
        if loads is None:
            self._scaling.restart()
            return None
        reported = [load for load in loads if load is not None]
        step = self._scaling.observe(reported) if len(reported) == len(loads) else None
        return step if self.is_scaled else None

    def fail(self) -> None:
        """Record that a consumer that was added could not start."""
        self._scaling.fail()

    def asked(self, number: int, count: int) -> Step | str:
        """Return the change that the signal `number`, one of `SIZE_SIGNALS`, orders in a fleet of `count` consumers, or
        the reason why it changes nothing.
        """
        self._scaling.restart()
        name = signal_name(number)
        least, most = (self._bounds.least, self._bounds.most) if self.is_scaled else (1, inf)
        wanted = count + (1 if number == signal.SIGTTIN else -1)
        if least <= wanted <= most:
            return Step(wanted, name)
        limit = f"--processes {self._bounds}" if self.is_scaled else "a fleet"
        return f"{name}: {limit} has at {'most' if wanted > most else 'least'} {count}"

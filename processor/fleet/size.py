"""`FleetSize`: how many consumers a fleet is to have, from their reports and from signals."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from math import inf
from typing import Final

from processor.boot.signals import signal_name
from processor.engine.process_scaling import Load, ProcessScaling, Step
from processor.options.bounds import Count, bounds_of
from processor.telemetry.events import ConsumerStats, PartitionStats

SIZE_SIGNALS: Final = (signal.SIGTTIN, signal.SIGTTOU)
"""The first adds a consumer, the second one takes one away."""


class LoadMeter:
    """Measures the load of the consumer in this process, from one report to the next."""

    def __init__(self) -> None:
        self._processor_seconds = time.process_time()
        self._uptime = 0.0

    def take(self, stats: ConsumerStats, partitions: Sequence[PartitionStats]) -> Load:
        """Return the load since the report before."""
        used, uptime = time.process_time(), stats.uptime_seconds
        cores = (used - self._processor_seconds) / max(uptime - self._uptime, 1e-3)
        self._processor_seconds, self._uptime = used, uptime
        workers = stats.running / stats.workers if stats.workers else 0.0
        waits = stats.ready_sessions > 0 or any(partition.fetched_ahead for partition in partitions)
        return Load(min(1.0, max(cores, workers)), waits, stats.assigned_partitions)


class FleetSize:
    """Decides on the number of consumers. With a fixed one, only signals change it."""

    def __init__(self, configured: Count) -> None:
        bounds = bounds_of(configured)
        self.is_scaled = bounds.least < bounds.most
        """Whether it follows the load."""
        self._bounds = bounds
        self._scaling = ProcessScaling(*bounds)

    def observe(self, loads: Sequence[Load | None] | None) -> Step | None:
        """Return what follows from a round of reports.

        Args:
            loads: what each consumer has reported since the last round, None if it has not yet; None while one is
                starting, being replaced or leaving.
        """
        if loads is None:
            self._scaling.restart()
            return None
        reported = [load for load in loads if load is not None]
        return self._scaling.observe(reported) if len(reported) == len(loads) else None

    def fail(self) -> None:
        """A consumer that was added could not start."""
        self._scaling.fail()

    def asked(self, number: int, count: int) -> Step | str:
        """Return what a signal of `SIZE_SIGNALS` changes in a fleet of `count` consumers, or why it changes nothing."""
        self._scaling.restart()
        name = signal_name(number)
        least, most = (self._bounds.least, self._bounds.most) if self.is_scaled else (1, inf)
        wanted = count + (1 if number == signal.SIGTTIN else -1)
        if least <= wanted <= most:
            return Step(wanted, name)
        limit = f"--processes {self._bounds}" if self.is_scaled else "a fleet"
        return f"{name}: {limit} has at {'most' if wanted > most else 'least'} {count}"

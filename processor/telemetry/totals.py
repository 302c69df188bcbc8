"""A fleet's statistics: those of its consumers, summed, with the counters of consumers that have exited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from processor.telemetry.events import ConsumerStats, FleetStats

GAUGES: Final = ("in_flight", "waiting", "running", "active_sessions")
COUNTERS: Final = (
    "succeeded",
    "failed_attempts",
    "retried",
    "timed_out",
    "stuck",
    "dead_lettered",
    "cancelled",
    "skipped",
    "abandoned",
    "missed_offsets",
    "commit_failures",
)


class Totals:
    """The counters of a fleet since its start."""

    def __init__(self) -> None:
        self.restarts = 0
        """Consumers that exited unexpectedly and were replaced."""
        self.deaths = 0
        """Consumers whose process ended without a report."""
        self.forced_stops = 0
        """Consumers that did not drain in time, or were killed."""
        self._ended: Counter[str] = Counter()

    def retire(self, last: ConsumerStats | None) -> None:
        """Keep the counters of a consumer that has exited, by its last report; None if it made none."""
        if last is not None:
            self._ended.update({name: getattr(last, name) for name in COUNTERS})

    def stats(self, latest: Sequence[ConsumerStats | None], *, silent: int = 0, at_limit: bool = False) -> FleetStats:
        """Return the sum.

        Args:
            latest: the last report of each running consumer; None is one that has not reported yet.
            silent: how many of them have an overdue report.
            at_limit: whether tasks wait and the fleet cannot be scaled up any further.
        """
        reports = [stats for stats in latest if stats is not None]
        lags = [stats.lag for stats in reports if stats.lag is not None]
        summed: dict[str, Any] = {name: sum(getattr(stats, name) for stats in reports) for name in (*GAUGES, *COUNTERS)}
        for name, count in dict(self._ended).items():  # a copy: the metrics server calls from another thread
            summed[name] += count
        return FleetStats(
            **summed,
            consumers=len(latest),
            silent_consumers=silent,
            scaling_at_limit=at_limit,
            tasks_per_second=round(sum(stats.tasks_per_second for stats in reports), 1),
            lag=sum(lags) if lags else None,
            restarts=self.restarts,
            process_deaths=self.deaths,
            forced_stops=self.forced_stops,
        )

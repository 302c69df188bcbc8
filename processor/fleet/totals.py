"""A fleet's statistics: those of its consumers, summed."""

from __future__ import annotations

from collections.abc import Sequence

from processor.events import ConsumerStats, FleetStats


def summed(latest: Sequence[ConsumerStats | None], restarts: int) -> FleetStats:
    """What the living consumers said last, together; None is a consumer that has said nothing yet."""
    told = [stats for stats in latest if stats is not None]
    lags = [stats.lag for stats in told if stats.lag is not None]
    return FleetStats(
        consumers=len(latest),
        in_flight=sum(stats.in_flight for stats in told),
        waiting=sum(stats.waiting for stats in told),
        running=sum(stats.running for stats in told),
        lanes=sum(stats.lanes for stats in told),
        done=sum(stats.done for stats in told),
        failed_attempts=sum(stats.failed_attempts for stats in told),
        retried=sum(stats.retried for stats in told),
        timed_out=sum(stats.timed_out for stats in told),
        stuck=sum(stats.stuck for stats in told),
        dead_lettered=sum(stats.dead_lettered for stats in told),
        skipped=sum(stats.skipped for stats in told),
        abandoned=sum(stats.abandoned for stats in told),
        commit_failures=sum(stats.commit_failures for stats in told),
        tasks_per_second=sum(stats.tasks_per_second for stats in told),
        lag=sum(lags) if lags else None,
        restarts=restarts,
    )

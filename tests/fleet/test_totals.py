"""A fleet's statistics."""

from __future__ import annotations

import msgspec

from processor.events import ConsumerStats
from processor.fleet.totals import summed

STATS = ConsumerStats(
    uptime_seconds=1.0, in_flight=3, in_flight_bytes=10, waiting=2, running=1, lanes=4, done=5, failed_attempts=6,
    retried=7, dead_lettered=8, skipped=9, results=0, handler_seconds=0.5, tasks_per_second=5.5, commits=1,
    rebalances=1, lag=10, oldest_unsettled_seconds=0.25, oldest_running_seconds=0.1, unlogged_failures=0,
    partitions=[], busiest_sessions=[],
)  # fmt: skip


def test_what_consumers_said_last_is_summed() -> None:
    total = summed([STATS, STATS, None], restarts=2)
    assert msgspec.structs.asdict(total) == {
        "consumers": 3, "in_flight": 6, "waiting": 4, "running": 2, "lanes": 8, "done": 10, "failed_attempts": 12,
        "retried": 14, "dead_lettered": 16, "skipped": 18, "tasks_per_second": 11.0, "lag": 20, "restarts": 2,
    }  # fmt: skip


def test_a_lag_that_nobody_knows_is_none_and_not_zero() -> None:
    unknown = msgspec.structs.replace(STATS, lag=None)
    assert summed([unknown, None], restarts=0).lag is None
    assert summed([unknown, STATS], restarts=0).lag == 10

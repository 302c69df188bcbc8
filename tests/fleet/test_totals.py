"""A fleet's statistics."""

from __future__ import annotations

import msgspec

from processor.fleet.totals import summed
from tests.support.stats import consumer_stats

STATS = consumer_stats()


def test_what_consumers_said_last_is_summed() -> None:
    total = summed([STATS, STATS, None], restarts=2)
    assert msgspec.structs.asdict(total) == {
        "consumers": 3, "in_flight": 6, "waiting": 4, "running": 2, "lanes": 8, "done": 10, "failed_attempts": 12,
        "retried": 14, "timed_out": 4, "stuck": 2, "dead_lettered": 16, "skipped": 18, "abandoned": 6,
        "commit_failures": 8, "tasks_per_second": 11.0, "lag": 20, "restarts": 2,
    }  # fmt: skip


def test_a_lag_that_nobody_knows_is_none_and_not_zero() -> None:
    unknown = msgspec.structs.replace(STATS, lag=None)
    assert summed([unknown, None], restarts=0).lag is None
    assert summed([unknown, STATS], restarts=0).lag == 10

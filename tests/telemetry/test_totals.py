"""The statistics of a fleet."""

from __future__ import annotations

import msgspec

from processor.telemetry.totals import Totals
from tests.support.stats import consumer_stats


def test_the_last_reports_of_consumers_are_summed() -> None:
    totals = Totals()
    totals.restarts = 2
    totals.deaths = 1
    assert msgspec.structs.asdict(totals.stats([consumer_stats(), consumer_stats(), None])) == {
        "consumers": 3, "silent_consumers": 0, "scaling_at_limit": False,
        "in_flight": 6, "waiting": 4, "running": 2, "active_sessions": 8, "succeeded": 10,
        "failed_attempts": 12, "retried": 14, "timed_out": 4, "stuck": 2, "dead_lettered": 16, "skipped": 18,
        "cancelled": 0, "abandoned": 6, "missed_offsets": 10, "commit_failures": 8, "tasks_per_second": 11.0, "lag": 20,
        "restarts": 2,
        "process_deaths": 1,
        "forced_stops": 0,
    }  # fmt: skip


def test_counters_of_exited_consumers_still_count_and_their_gauges_do_not() -> None:
    totals = Totals()
    totals.retire(consumer_stats())
    totals.retire(None)
    stats = totals.stats([consumer_stats()])
    assert (stats.succeeded, stats.dead_lettered) == (10, 16)
    assert (stats.in_flight, stats.lag, stats.consumers) == (3, 10, 1)


def test_an_unknown_lag_is_none_and_not_zero() -> None:
    unknown = consumer_stats(lag=None)
    assert Totals().stats([unknown, None]).lag is None
    assert Totals().stats([unknown, consumer_stats()]).lag == 10

"""What all consumers do together, round by round."""

from __future__ import annotations

from typing import Any

import pytest

from processor.observe.load import SERIES, TRAIL, Round
from tests.observe.building import BEGAN, consumer, head, line, partition, watching


def rounds(*lines: bytes) -> list[Round]:
    return list(watching(*lines).load.trail)


def stats(at: float, rate: float, p50: float | None = None, **fields: Any) -> bytes:
    p99 = p50 * 10 if p50 is not None else None
    return consumer(at, tasks_per_second=rate, handler_p50_seconds=p50, handler_p99_seconds=p99, **fields)


def test_a_round_is_the_sum_of_all_consumers() -> None:
    (ended,) = rounds(
        stats(0, 10, 0.1), stats(0.5, 30, 0.3, consumer=1), partition(1, lag=40), stats(10, 50, 0.1)
    )  # fmt: skip
    assert (ended.at, ended.tasks_per_second, ended.lag) == (BEGAN + 10, 40, 40)
    assert (ended.in_flight, ended.running) == (2, 2)


def test_a_round_ends_with_the_second_report_of_any_consumer() -> None:
    lines = [stats(0, 1), stats(1, 1, consumer=1), stats(10, 1), stats(11, 1, consumer=1), stats(20, 1)]
    assert [ended.at - BEGAN for ended in rounds(*lines)] == [10, 20]


def test_a_consumer_that_is_replaced_does_not_end_a_round_early() -> None:
    stopped = line("consumer.stopped", 5, consumer=0, exit_code=0)
    assert rounds(stats(0, 10), stopped, stats(6, 30, pid=8)) == []


def test_a_consumer_that_has_ended_is_not_in_the_sum() -> None:
    stopped = line("consumer.stopped", 5, consumer=1, exit_code=0)
    (ended,) = rounds(stats(0, 10), stats(1, 30, consumer=1), stopped, stats(10, 20))
    assert ended.tasks_per_second == 10


def test_the_median_is_weighted_by_the_rates_of_the_consumers() -> None:
    (ended,) = rounds(stats(0, 1, 0.9), stats(1, 99, 0.1, consumer=1), stats(10, 1))
    assert (ended.p50_seconds, ended.p99_seconds) == (0.1, 9.0)


def test_consumers_without_attempts_have_no_latency() -> None:
    (ended,) = rounds(stats(0, 0), stats(10, 0))
    assert (ended.p50_seconds, ended.p99_seconds) == (None, None)


def test_a_consumer_without_a_rate_still_has_a_median() -> None:
    (ended,) = rounds(stats(0, 0, 0.2), stats(10, 0))
    assert ended.p50_seconds == 0.2


def test_the_lag_is_that_of_all_partitions_and_gap_and_age_are_of_those_with_an_owner() -> None:
    owned = partition(0, 0, lag=10, gap=3, oldest_unsettled_seconds=4.0)
    left = partition(0, 1, consumer=1, pid=8, lag=100, gap=50, oldest_unsettled_seconds=60.0)
    stopped = line("consumer.stopped", 1, consumer=1, pid=8)
    (ended,) = rounds(stats(0, 1), owned, left, stopped, stats(10, 1))
    assert (ended.lag, ended.gap, ended.oldest_unsettled_seconds) == (110, 3, 4.0)


def test_failures_per_second_are_the_rise_since_the_round_before() -> None:
    lines = [stats(at, 1, failed_attempts=failed) for at, failed in ((0, 0), (10, 5), (20, 25), (30, 25))]
    assert [ended.failures_per_second for ended in rounds(*lines)] == [None, 0.5, 2.0]


def test_a_round_that_is_too_short_for_a_rate_has_none_and_loses_no_failure() -> None:
    lines = [stats(at, 1, failed_attempts=failed) for at, failed in ((0, 0), (10, 0), (10.1, 7), (20, 7), (30, 7))]
    first, second, short, after = rounds(*lines)
    assert (first.failures_per_second, second.failures_per_second) == (None, None)
    assert (short.failures_per_second, after.failures_per_second) == (0.7, 0.0)


def test_the_end_of_the_log_ends_a_round() -> None:
    watch = watching(stats(0, 10), partition(0, lag=7))
    watch.finish()
    (ended,) = watch.load.trail
    assert (ended.tasks_per_second, ended.lag) == (10, 7)


def test_every_figure_is_a_series_and_the_trail_is_bounded() -> None:
    watch = watching(*(stats(n * 10, 1.0, 0.1, failed_attempts=n) for n in range(2 * TRAIL)))
    assert len(watch.load.trail) == TRAIL
    assert all(watch.load.series[name].points() for name in SERIES)


@pytest.mark.parametrize("figure", ["tasks_per_second", "in_flight", "running"])
def test_a_round_without_a_consumer_is_zero(figure: str) -> None:
    watch = watching(partition(0, head=head()))
    watch.finish()
    assert getattr(watch.load.trail[0], figure) == 0

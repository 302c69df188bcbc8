"""A consumer's process, from its reports and its end."""

from __future__ import annotations

import pytest

from processor.observe.consumer import ENDED, INTERVAL_SECONDS, ConsumerNow, Counts, State
from tests.support.stats import consumer_stats


def a_consumer() -> ConsumerNow:
    return ConsumerNow("web", 0, 7, at=100.0, fleet=1)


def test_counters_add_what_a_consumer_counted_between_two_reports() -> None:
    counts = Counts()
    counts.add_rise(None, consumer_stats(succeeded=5, dead_lettered=1, handler_seconds=2.5))
    counts.add_rise(consumer_stats(succeeded=5, dead_lettered=1, handler_seconds=2.5), consumer_stats(succeeded=9))
    assert (counts.succeeded, counts.dead_lettered, counts.handler_seconds) == (9, 8, 2.5)


def test_a_counter_that_falls_adds_nothing() -> None:
    """As when the first lines of a successor with the same process ID are missing."""
    counts = Counts()
    counts.add_rise(consumer_stats(succeeded=50), consumer_stats(succeeded=3))
    assert counts.succeeded == 0


def test_a_consumer_joins_until_its_first_report_and_is_idle_without_partitions() -> None:
    consumer = a_consumer()
    states = [consumer.state]
    for assigned in (0, 2, 0):
        consumer.update(consumer_stats(assigned_partitions=assigned), 101.0)
        states.append(consumer.state)
    assert states == ["joining", "idle", "working", "idle"]


@pytest.mark.parametrize("state", ["stopping", "recycling", "cut off"])
def test_a_report_does_not_change_the_state_of_a_consumer_that_stops_or_is_cut_off(state: State) -> None:
    consumer = a_consumer()
    consumer.state = state
    consumer.update(consumer_stats(assigned_partitions=2), 101.0)
    assert consumer.state == state


def test_the_interval_is_that_between_two_reports_of_its_own_clock() -> None:
    consumer = a_consumer()
    assert consumer.interval == INTERVAL_SECONDS
    consumer.update(consumer_stats(uptime_seconds=5.0), 200.0)
    consumer.update(consumer_stats(uptime_seconds=7.0), 250.0)  # the line came late
    assert consumer.interval == 2.0


def test_a_report_whose_uptime_does_not_grow_leaves_the_interval() -> None:
    consumer = a_consumer()
    for uptime in (5.0, 7.0, 7.0, 1.0):
        consumer.update(consumer_stats(uptime_seconds=uptime), 200.0)
    assert consumer.interval == 2.0


def test_a_consumer_is_silent_after_three_intervals() -> None:
    consumer = a_consumer()
    consumer.update(consumer_stats(uptime_seconds=1.0), 101.0)
    consumer.update(consumer_stats(uptime_seconds=3.0), 103.0)
    assert not consumer.is_silent(109.0)
    assert consumer.is_silent(109.1)


def test_a_consumer_whose_report_says_when_the_next_one_is_overdue_is_silent_from_then_on() -> None:
    """An idle consumer repeats its report less often."""
    consumer = a_consumer()
    consumer.update(consumer_stats(uptime_seconds=1.0, overdue_after_seconds=30.0), 100.0)
    consumer.update(consumer_stats(uptime_seconds=11.0, overdue_after_seconds=70.0), 110.0)
    assert not consumer.is_silent(180.0)
    assert consumer.is_silent(180.1)
    consumer.update(consumer_stats(uptime_seconds=61.0, overdue_after_seconds=30.0), 160.0)
    assert consumer.is_silent(190.1)


def test_a_consumer_that_never_reported_is_silent_after_three_default_intervals() -> None:
    assert not a_consumer().is_silent(130.0)
    assert a_consumer().is_silent(130.1)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_consumer_that_has_ended_is_never_silent(state: State) -> None:
    consumer = a_consumer()
    consumer.end(state, "exit code 0")
    assert consumer.has_ended
    assert not consumer.is_silent(10_000.0)


def test_the_first_record_of_an_end_counts() -> None:
    consumer = a_consumer()
    consumer.end("stopped", "exit code 0")
    consumer.end("died", "killed by SIGKILL")
    assert (consumer.state, consumer.reason) == ("stopped", "exit code 0")


def test_an_end_without_a_reason_keeps_the_reason_that_was_known() -> None:
    consumer = a_consumer()
    consumer.reason = "no broker"
    consumer.end("failed", "")
    assert consumer.reason == "no broker"

"""Reports without anything new are not logged each time, and a reader still has all of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from processor.telemetry import logs
from processor.telemetry.cadence import Cadence, Repeats
from processor.telemetry.events import ConsumerStats, Event, PartitionsIdle, PartitionStats
from processor.telemetry.idle_reports import LISTED, IdleReports, is_idle
from processor.telemetry.totals import Totals
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.stats import consumer_stats, partition_stats

INTERVAL = 10.0
"""Seconds between reports: the default of `--stats-interval`."""

DAY = 86_400.0
LIMIT = 20_000_000
"""Bytes that an idle fleet may log per day."""


def idle(partition: int = 0, **changed: Any) -> PartitionStats:
    fields: dict[str, Any] = {
        "in_flight": 0,
        "fetched_ahead": 0,
        "running": 0,
        "lag": 0,
        "gap": 0,
        "head": None,
        "committed": 7,
        "partition": partition,
    }
    return partition_stats(**(fields | {"partition": partition} | changed))


QUIET = consumer_stats(in_flight=0, running=0, waiting=0, lag=0)


def idle_reports(interval: float = INTERVAL, consumers: int = 1) -> IdleReports:
    return IdleReports(Cadence(interval, consumers), 0.0)


def rounds(partitions: Sequence[PartitionStats], count: int) -> Iterator[list[Event]]:
    """What so many rounds with these reports are logged as, but for the consumer's own."""
    reports = idle_reports()
    for n in range(1, count + 1):
        yield of_partitions(reports.to_log(QUIET, partitions, n * INTERVAL))


def of_partitions(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, ConsumerStats)]


def logged_times(stats: Iterable[ConsumerStats], reports: IdleReports, interval: float = INTERVAL) -> list[float]:
    """When the reports of a consumer without partitions are logged, one each interval."""
    return [n * interval for n, one in enumerate(stats) if list(reports.to_log(one, [], n * interval))]


def written(events: Sequence[Event]) -> str:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    emit = logs.emitter(group="a-group-of-usual-length", fleet=1234567, consumer=0)
    for event in events:
        emit(event)
    return stream.getvalue()


@pytest.mark.parametrize(
    "changed",
    [{"in_flight": 1}, {"fetched_ahead": 1}, {"lag": 1}, {"gap": 2}, {"committed": 6}, {"waits_for": ["t[0]@9"]}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_partition_with_work_lag_something_to_commit_or_to_wait_for_is_logged_every_time(
    changed: dict[str, Any],
) -> None:
    stats = idle(**changed)
    assert not is_idle(stats)
    assert list(rounds([stats], 3)) == [[stats]] * 3


@pytest.mark.parametrize("changed", [{}, {"committed": None}, {"lag": None, "commit_point": None, "committed": None}])
def test_an_idle_partition_is_logged_once_when_it_is_assigned(changed: dict[str, Any]) -> None:
    stats = idle(**changed)
    assert is_idle(stats)
    assert list(rounds([stats], 3)) == [[stats], [], []]


def test_an_idle_partition_is_logged_again_when_it_changes() -> None:
    reports = idle_reports()
    before, after = idle(succeeded=5), idle(succeeded=6)
    logged = [of_partitions(reports.to_log(QUIET, [stats], 0.0)) for stats in (before, before, after, after)]
    assert logged == [[before], [], [after], []]


def test_a_partition_that_is_assigned_again_is_logged_again() -> None:
    reports = idle_reports()
    logged = [of_partitions(reports.to_log(QUIET, partitions, 0.0)) for partitions in ([idle()], [], [idle()])]
    assert logged == [[idle()], [], [idle()]]


def test_every_ten_minutes_the_idle_partitions_are_listed() -> None:
    busy = idle(9, in_flight=1)
    unread = idle(3, topic="u", lag=None, commit_point=None, committed=None)
    reports = [idle(3), idle(4, commit_point=8, committed=8), unread, busy]
    *_, at_ten_minutes, after = rounds(reports, 61)
    assert at_ten_minutes == [
        busy,
        PartitionsIdle(topic="t", commit_points={3: 7, 4: 8}),
        PartitionsIdle(topic="u", commit_points={3: None}),
    ]
    assert after == [busy]


def test_a_partition_that_is_reported_at_that_time_is_not_listed() -> None:
    reports = idle_reports()
    list(reports.to_log(QUIET, [idle(0), idle(1)], 590.0))
    changed = idle(1, succeeded=6)
    logged = of_partitions(reports.to_log(QUIET, [idle(0), changed], 600.0))
    assert logged == [changed, PartitionsIdle(topic="t", commit_points={0: 7})]


def test_a_list_is_cut_into_lines_that_container_runtimes_keep_whole() -> None:
    end = 2**63 - 1
    numbers = range(10_000, 10_000 + 3 * LISTED)
    reports = [idle(n, topic="t" * 249, commit_point=end, committed=end) for n in numbers]
    *_, listed = rounds(reports, 60)
    lines = written(listed).splitlines()
    assert [len(json.loads(line)["commit_points"]) for line in lines] == [LISTED] * 3
    assert max(map(len, lines)) < 16 * 1024


# --- the consumer's own ------------------------------------------------------------------------------


def test_a_report_in_which_only_the_uptime_and_the_renewals_of_the_lease_differ_is_logged_every_sixth_time() -> None:
    """So is one in which a pause has grown older."""
    stats = [
        consumer_stats(uptime_seconds=n * INTERVAL, commits=n, longest_pause_seconds=n * INTERVAL) for n in range(13)
    ]
    assert logged_times(stats, idle_reports()) == [0.0, 60.0, 120.0]


def test_a_report_that_has_changed_is_logged_at_once_and_the_next_one_six_intervals_later() -> None:
    stats = [consumer_stats(succeeded=5 if n < 3 else 6) for n in range(10)]
    assert logged_times(stats, idle_reports()) == [0.0, 30.0, 90.0]


GROWING = {"uptime_seconds", "used_cores", "commits", "longest_pause_seconds"}


@pytest.mark.parametrize("name", sorted({*ConsumerStats.__struct_fields__} - GROWING))
def test_every_other_field_counts(name: str) -> None:
    before = consumer_stats()
    after = consumer_stats(**{name: None if getattr(before, name) is not None else 1.0})
    assert logged_times([before, after], idle_reports()) == [0.0, INTERVAL]


def test_a_partition_is_logged_behind_its_consumer() -> None:
    reports = idle_reports()
    busy = idle(in_flight=1)
    assert list(reports.to_log(QUIET, [busy], 0.0)) == [QUIET, busy]
    assert list(reports.to_log(QUIET, [busy], 1.0)) == [QUIET, busy]


def test_a_report_is_logged_anyway_where_that_is_asked_for() -> None:
    reports = idle_reports()
    logged = [list(reports.to_log(QUIET, [], 0.0, anyway=anyway)) for anyway in (False, False, True)]
    assert logged == [[QUIET], [], [QUIET]]


@pytest.mark.parametrize(
    ("interval", "consumers", "repeat"),
    [(0.5, 1, 3.0), (10.0, 1, 60.0), (10.0, 8, 60.0), (10.0, 16, 120.0), (30.0, 1, 60.0), (300.0, 1, 300.0)],
)
def test_unchanged_reports_are_repeated_every_sixth_time_once_a_minute_or_less_often_in_a_large_fleet(
    interval: float, consumers: int, repeat: float
) -> None:
    cadence = Cadence(interval, consumers)
    assert cadence.repeat_seconds == repeat
    assert cadence.overdue_seconds(idle=True) == repeat + 2 * interval
    assert cadence.overdue_seconds(idle=False) == 3 * interval
    times = logged_times([QUIET] * 13, idle_reports(interval, consumers), interval)
    assert times[:2] == [0.0, repeat]


def test_statistics_of_a_fleet_are_logged_when_they_change_and_at_times_when_they_do_not() -> None:
    totals, repeats = Totals(), Repeats(60.0)
    before, after = totals.stats([consumer_stats()]), totals.stats([consumer_stats(succeeded=9)])
    times = [(before, 0), (before, 59), (before, 60), (after, 61), (after, 62)]
    assert [repeats.is_due(stats, now) for stats, now in times] == [True, False, True, True, False]


# --- the size of an idle day -------------------------------------------------------------------------


class IdleConsumer(NamedTuple):
    """What a consumer reports that has worked and has nothing left to do."""

    stats: ConsumerStats
    partition: PartitionStats


@pytest.fixture(scope="module")
def idle_consumer() -> IdleConsumer:
    """From a run, with what work leaves behind in its reports."""
    with RunningConsumer(lambda task: None, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(500)])
        run.settled(500)
        partition = run.until_event(PartitionStats, lambda one: is_idle(one) and one.succeeded == 500)
        stats = run.until_event(ConsumerStats, lambda one: one.succeeded == 500 and not one.tasks_per_second)
    return IdleConsumer(stats, partition)


def day_of(consumer: IdleConsumer, consumers: int, partitions: int) -> int:
    """Return the bytes that one of so many consumers logs in a day with so many idle partitions."""
    one = msgspec.structs.replace(consumer.partition, topic="orders", commit_point=1_234_567, committed=1_234_567)
    reports = [msgspec.structs.replace(one, partition=n) for n in range(partitions)]
    step = max(INTERVAL, DAY / 1_000_000 * partitions)  # a real day of many partitions would take minutes
    own = rounds_of_a_day(consumer.stats, consumers, [], INTERVAL)
    lists = map(of_partitions, rounds_of_a_day(consumer.stats, consumers, reports, step))
    return sum(len(written(events)) for events in [*own, *lists] if events)


def rounds_of_a_day(
    stats: ConsumerStats, consumers: int, reports: Sequence[PartitionStats], step: float
) -> Iterator[list[Event]]:
    """Yield what each round is logged as, `step` seconds after the last one, from the second round of a consumer on."""
    own = IdleReports(Cadence(INTERVAL, consumers), -step)
    counts = {
        "succeeded": 1_234_567,
        "handler_seconds_buckets": dict.fromkeys(stats.handler_seconds_buckets, 1_234_567),
    }
    worked = msgspec.structs.replace(stats, assigned_partitions=len(reports), **counts)
    for n in range(-1, int(DAY / step)):
        late: dict[str, Any] = {
            "uptime_seconds": 1_234_567.123 + n * step,
            "commits": 1_000_000 + n,
        }  # to renew the lease
        events = list(own.to_log(msgspec.structs.replace(worked, **late), reports, n * step))
        if n >= 0:
            yield events


def day_of_parent(consumer: IdleConsumer, consumers: int) -> int:
    """Return the bytes that the parent of a fleet logs in a day."""
    repeats, stats = Repeats(Cadence(INTERVAL).repeat_seconds), Totals().stats([consumer.stats] * consumers)
    return sum(len(written([stats])) for n in range(int(DAY / INTERVAL)) if repeats.is_due(stats, n * INTERVAL))


@pytest.mark.parametrize(
    ("consumers", "partitions"),
    [(1, 0), (1, 1), (1, 1000), (1, 10_000), (3, 17), (8, 6), (8, 1000), (50, 1), (50, 200), (500, 1)],
)
def test_an_idle_fleet_of_any_size_logs_less_than_20_mb_a_day(
    consumers: int, partitions: int, idle_consumer: IdleConsumer
) -> None:
    """`partitions` are those of each consumer."""
    size = consumers * day_of(idle_consumer, consumers, partitions) + day_of_parent(idle_consumer, consumers)
    print(f"{consumers} consumers with {partitions} idle partitions each: {size / 1e6:.1f} MB a day")
    assert size < LIMIT

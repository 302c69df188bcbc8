"""A partition without anything new is not logged with each report, and a reader still knows of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from processor.telemetry import logs
from processor.telemetry.events import ConsumerStats, Event, PartitionsIdle, PartitionStats
from processor.telemetry.idle_partitions import LISTED, IdlePartitions, is_idle
from processor.telemetry.totals import Repeats, Totals
from tests.support.stats import consumer_stats, partition_stats

INTERVAL = 10.0
"""Seconds between reports: the default of `--stats-interval`."""

DAY = 86_400.0
LIMIT = 20_000_000
"""Bytes that an idle fleet may log per day."""


def idle(partition: int = 0, **changed: Any) -> PartitionStats:
    fields: dict[str, Any] = {
        "in_flight": 0,
        "running": 0,
        "lag": 0,
        "gap": 0,
        "head": None,
        "committed": 7,
        "partition": partition,
    }
    return partition_stats(**(fields | {"partition": partition} | changed))


def rounds(reports: Sequence[PartitionStats], count: int, idle_partitions: IdlePartitions) -> Iterator[list[Event]]:
    for n in range(1, count + 1):
        yield list(idle_partitions.to_log(reports, n * INTERVAL))


def written(events: Sequence[Event]) -> str:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    emit = logs.emitter(group="a-group-of-usual-length", fleet=1234567, consumer=0)
    for event in events:
        emit(event)
    return stream.getvalue()


@pytest.mark.parametrize(
    "changed",
    [{"in_flight": 1}, {"lag": 1}, {"gap": 2}, {"committed": 6}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_partition_with_work_lag_or_something_to_commit_is_logged_every_time(changed: dict[str, int]) -> None:
    stats = idle(**changed)
    assert not is_idle(stats)
    assert list(rounds([stats], 3, IdlePartitions(0.0))) == [[stats]] * 3


@pytest.mark.parametrize("changed", [{}, {"committed": None}, {"lag": None, "commit_point": None, "committed": None}])
def test_an_idle_partition_is_logged_once_when_it_is_assigned(changed: dict[str, Any]) -> None:
    stats = idle(**changed)
    assert is_idle(stats)
    assert list(rounds([stats], 3, IdlePartitions(0.0))) == [[stats], [], []]


def test_an_idle_partition_is_logged_again_when_it_changes() -> None:
    idle_partitions = IdlePartitions(0.0)
    before, after = idle(succeeded=5), idle(succeeded=6)
    logged = [list(idle_partitions.to_log([stats], 0.0)) for stats in (before, before, after, after)]
    assert logged == [[before], [], [after], []]


def test_a_partition_that_comes_back_is_logged_anew() -> None:
    idle_partitions = IdlePartitions(0.0)
    logged = [list(idle_partitions.to_log(reports, 0.0)) for reports in ([idle()], [], [idle()])]
    assert logged == [[idle()], [], [idle()]]


def test_every_ten_minutes_the_idle_partitions_are_listed() -> None:
    busy = idle(9, in_flight=1)
    unread = idle(3, topic="u", lag=None, commit_point=None, committed=None)
    reports = [idle(3), idle(4, commit_point=8, committed=8), unread, busy]
    *_, at_ten_minutes, after = rounds(reports, 61, IdlePartitions(0.0))
    assert at_ten_minutes == [
        busy,
        PartitionsIdle(topic="t", commit_points={3: 7, 4: 8}),
        PartitionsIdle(topic="u", commit_points={3: None}),
    ]
    assert after == [busy]


def test_a_partition_that_is_reported_at_that_time_is_not_listed() -> None:
    idle_partitions = IdlePartitions(0.0)
    list(idle_partitions.to_log([idle(0), idle(1)], 590.0))
    changed = idle(1, succeeded=6)
    logged = list(idle_partitions.to_log([idle(0), changed], 600.0))
    assert logged == [changed, PartitionsIdle(topic="t", commit_points={0: 7})]


def test_a_list_is_cut_into_lines_that_container_runtimes_keep_whole() -> None:
    end = 2**63 - 1
    numbers = range(10_000, 10_000 + 3 * LISTED)
    reports = [idle(n, topic="t" * 249, commit_point=end, committed=end) for n in numbers]
    *_, listed = rounds(reports, 60, IdlePartitions(0.0))
    lines = written(listed).splitlines()
    assert [len(json.loads(line)["commit_points"]) for line in lines] == [LISTED] * 3
    assert max(map(len, lines)) < 16 * 1024


@pytest.mark.parametrize("partitions", [0, 50, 1000, 5000, 10_000])
def test_an_idle_consumer_with_any_number_of_partitions_logs_less_than_20_mb_a_day(partitions: int) -> None:
    reports = [idle(n, topic="orders", commit_point=1_234_567, committed=1_234_567) for n in range(partitions)]
    idle_partitions = IdlePartitions(0.0)
    size = len(written(list(idle_partitions.to_log(reports, 0.0))))
    step = max(INTERVAL, DAY / 1_000_000 * partitions)  # a real day of the larger ones would take minutes
    for n in range(1, int(DAY / step)):
        size += len(written(list(idle_partitions.to_log(reports, n * step))))
    stats = consumer_stats(assigned_partitions=partitions, succeeded=1_234_567, handler_p50_seconds=None)
    size += int(DAY / INTERVAL) * len(written([stats]))
    size += fleet_lines(stats) * len(written([Totals().stats([stats])]))
    assert size < LIMIT
    print(f"{partitions} idle partitions: {size / 1e6:.1f} MB a day")


def fleet_lines(stats: ConsumerStats) -> int:
    """Lines of `fleet.stats` that an idle fleet logs in a day."""
    totals, repeats = Totals(), Repeats()
    return sum(repeats.is_due(totals.stats([stats]), n * INTERVAL) for n in range(int(DAY / INTERVAL)))


def test_statistics_of_a_fleet_are_logged_when_they_change_and_once_a_minute() -> None:
    totals, repeats = Totals(), Repeats()
    before, after = totals.stats([consumer_stats()]), totals.stats([consumer_stats(succeeded=9)])
    times = [(before, 0), (before, 59), (before, 60), (after, 61), (after, 62)]
    assert [repeats.is_due(stats, now) for stats, now in times] == [True, False, True, True, False]

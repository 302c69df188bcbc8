"""Idle partitions are not reported, and every view has them as if they were."""

from __future__ import annotations

from typing import Any

from processor.observe.lines import ReadStats, events
from processor.observe.report.findings import findings
from processor.observe.report.text import text, title
from processor.observe.window import Status
from tests.observe.building import BEGAN, consumer, line, partition, watching


def idle(at: float = 0.0, number: int = 0, **fields: Any) -> bytes:
    return partition(at, number, **{"lag": 0, **fields})


def listed(at: float, points: dict[int, int | None], **fields: Any) -> bytes:
    points_by_text = {str(number): point for number, point in points.items()}
    return line("partitions.idle", at, **{"consumer": 0, "topic": "orders", "commit_points": points_by_text, **fields})


def reports_from(first: float, count: int, **fields: Any) -> list[bytes]:
    """A report of the consumer every ten seconds, from `first` on."""
    return [consumer(first + n * 10, **fields) for n in range(count)]


def test_an_idle_partition_that_is_not_reported_stays_with_its_consumer() -> None:
    watch = watching(consumer(0), idle(0), *reports_from(10, 360))
    (known,) = watch.ordered_partitions()
    assert known.consumer is not None
    assert (known.at - BEGAN, known.lag_now) == (3590, 0)
    (finding,) = findings(watch, watch.now)
    assert (finding.status, finding.why) == (Status.OK, "")


def test_its_plots_have_a_point_for_each_report_of_its_consumer() -> None:
    (known,) = watching(consumer(0), idle(0), *reports_from(10, 30), idle(310)).ordered_partitions()
    assert sum(point.sum == 0 for point in known.lag.points()) == 31


def test_a_partition_with_lag_that_is_not_reported_is_not_taken_for_idle() -> None:
    reports = [event for n in range(5) for event in (consumer(n * 10), partition(n * 10, lag=5))]
    watch = watching(*reports, *reports_from(50, 20))
    (finding,) = findings(watch, watch.now)
    assert finding.status is Status.STOPPED
    assert "reports, but not this partition" in finding.advice


def test_a_partition_that_fell_silent_with_its_consumer_is_not_confirmed() -> None:
    watch = watching(consumer(0), idle(0), consumer(10), consumer(5000, consumer=1, pid=8))
    (known,) = watch.ordered_partitions()
    assert known.at - BEGAN <= 10


def test_a_reader_that_starts_late_has_the_count_first_and_the_partitions_with_the_next_list() -> None:
    before = reports_from(0, 3, assigned_partitions=3)
    watch = watching(*before, partition(20, 7))
    assert title(watch).endswith("3 partitions (2 idle, not listed yet)")
    watch = watching(*before, partition(20, 7), listed(20, {0: 100, 4: None}))
    assert title(watch).endswith("3 partitions")
    assert [(known.name, known.lag_now, known.stats.commit_point) for known in watch.ordered_partitions()] == [
        ("orders[0]", 0, 100),
        ("orders[4]", None, None),
        ("orders[7]", 5, 100),
    ]
    assert "3 partitions" in text(watch, watch.now, ReadStats())


def test_a_list_keeps_what_the_last_report_had() -> None:
    (known,) = watching(consumer(0), idle(0, succeeded=40), listed(600, {0: 100})).ordered_partitions()
    assert (known.stats.succeeded, known.at - BEGAN) == (40, 600)


def test_a_list_corrects_a_partition_whose_last_reports_are_missing_here() -> None:
    (known,) = watching(consumer(0), partition(0, lag=9, in_flight=2), listed(600, {0: 150})).ordered_partitions()
    assert (known.stats.commit_point, known.lag_now, known.head_block) == (150, 0, None)


def test_a_partition_that_is_revoked_and_assigned_between_two_reports_has_its_owner_again() -> None:
    revoked = line("consumer.revoked", 12, consumer=0, partitions=["orders[0]"])
    assigned = line("consumer.assigned", 14, consumer=0, partitions=["orders[0]@100"])
    (known,) = watching(consumer(0), idle(0), revoked).ordered_partitions()
    assert known.consumer is None
    (known,) = watching(consumer(0), idle(0), revoked, assigned, *reports_from(20, 5)).ordered_partitions()
    assert known.consumer is not None
    assert known.at - BEGAN == 50


def test_a_partition_that_moves_is_confirmed_by_its_new_owner_only() -> None:
    moved = line("consumer.assigned", 12, consumer=1, pid=8, partitions=["orders[0]@100"])
    watch = watching(consumer(0), consumer(1, consumer=1, pid=8), idle(1), moved, *reports_from(20, 3))
    (known,) = watch.ordered_partitions()
    assert known.consumer is not None
    assert (known.consumer.index, known.at - BEGAN) == (1, 1)


def test_a_list_of_a_forged_partition_is_a_foreign_line() -> None:
    stats = ReadStats()
    assert list(events([listed(0, {}).replace(b"{}", b'{"x": 1}')], "", stats)) == []
    assert stats.foreign == 1

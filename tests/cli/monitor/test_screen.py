"""The live view as a whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from processor.cli.monitor.screen import LATE, WIDE, line, screen
from processor.observe.lines import ReadStats
from processor.observe.watch import Watch
from tests.observe.building import BEGAN, consumer, head, partition, watching
from tests.observe.building import line as log_line

TEN = [n * 10.0 for n in range(10)]


def drawn(
    watch: Watch, width: int = 80, height: int = 24, now: float | None = None, read: ReadStats | None = None
) -> str:
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen(watch, read or ReadStats(), watch.now if now is None else now, width, height))
    shown = captured.get()
    assert len(shown.splitlines()) <= height
    assert max((len(row) for row in shown.splitlines()), default=0) <= width
    return shown


def stalled(number: int = 0) -> list[bytes]:
    return [partition(at, number, gap=40, in_flight=5, head=head(state_seconds=at)) for at in TEN]


def test_before_the_first_event_it_waits() -> None:
    assert drawn(Watch()).split() == ["waiting", "for", "the", "first", "event"]


def test_lines_that_are_not_events_get_advice() -> None:
    shown = " ".join(drawn(Watch(), read=ReadStats(lines=7, foreign=7)).split())
    assert "7 lines so far, none of them an event." in shown
    assert "--log-format json" in shown


def test_the_first_line_has_the_group_the_faults_and_the_consumers() -> None:
    started = log_line("consumer.started", group="shop", consumer=0)
    first = drawn(watching(started, consumer(0), *stalled(), partition(90, 1, lag=0))).splitlines()[0]
    assert first.strip() == "shop on orders · 1 of 2 partitions at fault · 1 consumer"


def test_a_fleet_without_a_fault_is_shown_as_such_with_the_partitions_that_are_not_listed_yet() -> None:
    first = drawn(watching(consumer(0, assigned_partitions=8), partition(0, lag=0))).splitlines()[0]
    assert "8 partitions (7 idle, not listed yet), none at fault" in first


def test_the_second_line_has_time_and_totals() -> None:
    lines = [consumer(0, succeeded=1200, retried=3, dead_lettered=1), log_line("fleet.consumer_exited", 5, consumer=0)]
    second = drawn(watching(*lines), 120, read=ReadStats(foreign=4)).splitlines()[1]
    assert second.strip() == (
        "08:00:05 UTC · 1,200 succeeded · 3 retried · 1 dead letter · 1 restart · 4 foreign lines"
    )


@pytest.mark.parametrize(("age", "is_shown"), [(LATE - 1, False), (LATE, True)])
def test_a_view_without_new_events_shows_its_age(age: float, is_shown: bool) -> None:
    assert ("15 s ago" in drawn(watching(consumer(0)), now=BEGAN + age)) is is_shown


def test_throughput_and_latency_are_drawn_over_time() -> None:
    rates = [10.0, 20.0, 40.0, 40.0]
    lines = [
        consumer(n * 10, tasks_per_second=rate, handler_p50_seconds=0.01, handler_p99_seconds=rate / 100)
        for n, rate in enumerate(rates)
    ]
    throughput, latency = drawn(watching(*lines)).splitlines()[2:4]
    assert throughput.split() == ["tasks/s", "40", "max", "40", "▃▅█"]
    assert latency.split() == ["latency", "p50", "10", "ms", "p99", "400", "ms", "▃▅█"]


def test_a_fleet_without_attempts_has_no_latency() -> None:
    assert "p50 –  p99 –" in drawn(watching(consumer(0), consumer(10)))


@pytest.mark.parametrize("width", [40, 60, 80, 100, WIDE - 1, WIDE, 200])
@pytest.mark.parametrize("height", [6, 12, 24, 50])
def test_it_fits_every_terminal(width: int, height: int) -> None:
    lines = [one for number in range(30) for one in stalled(number)]
    failures = [log_line("task.dead_lettered", n, consumer=0, error_type=f"e{n}", error="x" * 100) for n in range(30)]
    shown = drawn(watching(consumer(0), *lines, *failures), width, height)
    assert "30 of 30 partitions at fau" in shown


def test_in_a_wide_terminal_the_lists_stand_side_by_side() -> None:
    watch = watching(consumer(0), *stalled())
    narrow, wide = drawn(watch, WIDE - 1), drawn(watch, WIDE)
    assert "consumers" not in narrow
    (row,) = [row for row in wide.splitlines() if row.startswith("partition ")]
    assert "head of line" in row
    assert "consumers" in wide


def test_a_narrow_terminal_still_shows_a_fault_and_its_cause() -> None:
    reports = [partition(at, 7, lag=9, gap=5, head=head(state_seconds=at + 5.0)) for at in range(0, 30, 2)]
    shown = drawn(watching(consumer(0), *reports), 44, 12, now=BEGAN + 30)
    assert "1 of 1 partition at fault" in shown
    assert "orders[7] stalled" in shown
    assert "orders[7] anna @100 35 s: its handler" in shown


def test_off_a_terminal_the_state_is_one_line() -> None:
    lines = [consumer(0), partition(0, lag=7), consumer(10, tasks_per_second=9.5, dead_lettered=2), consumer(20)]
    assert line(watching(*lines), ReadStats(), BEGAN + 21) == "08:00:21 9.5/s · lag 7 · in flight 1 · 2 dead letters"


def test_that_line_has_the_first_faults_with_their_sessions_and_the_count_of_the_others() -> None:
    watch = watching(*(one for number in range(5) for one in stalled(number)))
    assert line(watch, ReadStats(), watch.now).endswith(
        "· orders[0] stalled by session anna, orders[1] stalled by session anna, orders[2] stalled by session anna"
        " and 2 more"
    )


def test_that_line_before_the_first_event_has_the_lines_that_were_read() -> None:
    assert line(Watch(), ReadStats(lines=3), BEGAN) == "08:00:00 no event yet in 3 lines"

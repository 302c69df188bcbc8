"""The report as text."""

from __future__ import annotations

import pytest

from processor.observe.lines import ReadStats
from processor.observe.report.text import MOST, NOTHING, SHOWN, about, newer, text, title
from processor.observe.watch import Watch
from tests.observe.building import BEGAN, consumer, head, line, partition, watching

TEN = [n * 10.0 for n in range(10)]


def shown(watch: Watch, read: ReadStats | None = None, width: int = 100) -> str:
    return text(watch, watch.now, read or ReadStats(lines=7), width)


def section(whole: str, heading: str) -> list[str]:
    """The lines below a heading, up to the next empty line."""
    _, found, rest = whole.partition(f"\n{heading}\n")
    assert found, whole
    return rest.partition("\n\n")[0].splitlines()


def stalled(number: int = 0, topic: str = "orders") -> list[bytes]:
    return [partition(at, number, topic=topic, gap=40, in_flight=5, head=head(state_seconds=at)) for at in TEN]


def test_a_log_without_events_has_advice_and_the_lines_that_were_read() -> None:
    found = shown(Watch(), ReadStats(lines=3, foreign=3), width=1000)
    assert found == f"{NOTHING}\nRead 3 lines, 3 of them not events of a processor.\n"


def test_the_report_begins_with_the_group_the_topics_the_time_and_the_totals() -> None:
    lines = [
        line("consumer.started", group="shop", consumer=0),
        partition(1, topic="orders"),
        partition(1, topic="audit", lag=2),
        consumer(0, succeeded=1200, retried=3, dead_lettered=1),
        consumer(10, succeeded=1200, retried=3, dead_lettered=1, tasks_per_second=9.5),
        consumer(20, succeeded=2400, retried=3, dead_lettered=1, tasks_per_second=4.0),
    ]
    first, second, third, *_ = shown(watching(*lines), width=200).splitlines()
    assert first == "shop on audit, orders · 1 consumer · 2 partitions"
    assert second == "2027-01-15 08:00:00 to 2027-01-15 08:00:20 UTC, 20 s"
    assert third == (
        "2,400 succeeded, 9.5/s, at most 9.5/s · 3 retried · 1 dead letter · lag 7 · 0 rebalances · 0 restarts"
    )


def test_a_log_whose_group_is_not_known_yet_is_reported_as_such() -> None:
    assert about(watching(line("task.timed_out"))) == "group not known yet"


def test_consumers_that_have_ended_are_not_counted() -> None:
    assert title(watching(consumer(0), line("consumer.stopped", 1, consumer=0))) == "group not known yet · 0 partitions"


def test_a_partition_at_fault_has_its_figures_its_reason_and_its_advice() -> None:
    name, why, advice = section(shown(watching(*stalled()), width=400), "Partitions")
    assert name == "  orders[0] stalled                 lag      5  gap     40  oldest 0 ms"
    assert why.startswith("      Nothing was committed for 1 m 30 s, with a lag of 5 records.")
    assert advice.startswith("      Check what its handler waits for")


def test_the_advice_for_partitions_with_one_cause_is_given_once() -> None:
    found = shown(watching(*stalled(0), *stalled(1), *stalled(2)))
    assert found.count("Nothing was committed") == 3
    assert found.count("Check what its handler waits for") == 1


def test_a_partition_that_has_recovered_has_its_worst_verdict() -> None:
    found = shown(watching(*stalled(), partition(110, committed=500, commit_point=500, lag=0)))
    assert section(found, "Partitions")[0].startswith("  orders[0] ok, was stalled ")


def test_a_task_that_has_long_been_ready_is_shown_and_a_short_wait_is_not() -> None:
    long, short = partition(0, 0, oldest_ready_seconds=12.0), partition(0, 1, oldest_ready_seconds=3.0)
    first, second = section(shown(watching(long, short)), "Partitions")
    assert first.endswith("oldest 0 ms  ready for 12 s")
    assert second.endswith("oldest 0 ms")


def test_of_many_partitions_some_are_listed_and_all_are_counted() -> None:
    faults = [one for number in range(SHOWN + 5) for one in stalled(number)]
    well = [partition(95, number, lag=0) for number in range(100, 100 + SHOWN + 7)]
    rows = section(shown(watching(*faults, *well)), "Partitions")
    assert "  and 5 more at fault" in rows
    assert rows[-1] == "  and 7 more ok"


def test_a_long_topic_keeps_the_columns_within_the_width() -> None:
    found = shown(watching(*stalled(topic="t" * 20)), width=100)
    assert max(map(len, found.splitlines())) <= 100


def test_the_tasks_that_commit_points_waited_for_have_times_session_and_reason() -> None:
    over = [partition(at, 1, head=head(session_id="ben", offset=7, state="parked")) for at in (0.0, 10.0)]
    watch = watching(*stalled(0), *over, partition(20, 1, lag=0))
    current, past = section(shown(watch, width=200), "Head of line: tasks that commit points waited for longest")
    assert current == (
        "  orders[0] 1 m 30 s, since 08:00:00: session anna, offset 100; "
        "its handler is running, attempt 2, after OSError: no answer"
    )
    assert past.startswith("  orders[1] 11 s, 07:59:59 to 08:00:10: session ben, offset 7; waiting for its retry")


def test_failures_are_listed_by_error_with_the_latest_task() -> None:
    dead = [
        line("task.dead_lettered", at, error_type="x.Refused", error="no", session_id=f"s{at}", topic="t", partition=1)
        for at in range(3)
    ]
    (row,) = section(shown(watching(*dead), width=200), "Failures by error")
    assert row == "  3 dead-lettered, 08:00:00 to 08:00:02: Refused: no; latest: session s2, t[1]@0"


def test_warnings_that_were_not_logged_are_counted() -> None:
    watch = watching(consumer(0, suppressed_warnings=0), consumer(10, suppressed_warnings=1234))
    assert section(shown(watch, width=200), "Failures by error") == [
        "  1,234 more warnings about single tasks not logged, because of the rate limit"
    ]


def test_a_list_has_its_first_rows_and_the_count_of_the_others() -> None:
    dead = [line("task.dead_lettered", error_type="x" * n, error="no") for n in range(1, MOST + 4)]
    rows = section(shown(watching(*dead)), "Failures by error")
    assert len(rows) == MOST + 1
    assert rows[-1] == "  and 3 more"


def test_the_latest_events_are_in_the_order_of_their_times() -> None:
    started = [line("fleet.started", n, app=f"app{n}", processes=1) for n in range(15)]
    rows = section(shown(watching(*started)), "Latest events")
    assert [row.split()[2] for row in rows] == [f"app{n}" for n in range(5, 15)]


def test_sections_without_content_are_left_out() -> None:
    found = shown(watching(consumer(0)))
    assert not [
        heading for heading in ("Problems", "Partitions", "Head of line", "Failures", "Latest") if heading in found
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_prose_fits_the_width(width: int) -> None:
    watch = watching(*stalled(), line("task.stuck", 1, stack="x " * 200, session_id="s"))
    long = [row for row in shown(watch, width=width).splitlines() if len(row) > width]
    assert [row for row in long if "lag" not in row] == []


def test_lines_that_were_too_long_or_of_a_newer_version_are_mentioned() -> None:
    read = ReadStats(lines=9, too_long=1, newer=2)
    assert shown(watching(consumer(0)), read).splitlines()[-1] == (
        "Read 9 lines, 1 skipped as too long. 2 events of a newer log version may be misread: "
        "use a newer version of processor."
    )
    assert newer(ReadStats()) == ""


def test_the_time_of_the_report_is_that_of_its_reader() -> None:
    """A consumer that stopped reporting is silent for a reader that follows, and not for one of a finished log."""
    watch = watching(consumer(0))
    assert "stopped reporting" in text(watch, BEGAN + 1000, ReadStats())
    assert "stopped reporting" not in text(watch, watch.now, ReadStats())


def test_a_hot_session_is_listed_with_its_share_and_what_was_read_again_for_such_sessions() -> None:
    load = {"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 900, "partition_waiting": 1000}
    watch = watching(
        consumer(0, busiest_sessions=[load], records_read_again=2000, tasks_read_again=800),
        consumer(10, busiest_sessions=[{**load, "waiting": 2, "partition_waiting": 2}], records_read_again=2000),
    )
    assert section(shown(watch), "Sessions with the most waiting tasks") == [
        "          2,000 records read again for 800 tasks set aside, 2.5 each",
        "      900 waiting: session hot in orders[0], 90 % of what waits there, 08:00:00",
    ]


def test_the_report_ends_at_any_width() -> None:
    load = {"session_id": "s", "topic": "orders", "partition": 0, "waiting": 7, "partition_waiting": 7}
    watch = watching(consumer(0, busiest_sessions=[load]), consumer(10, busiest_sessions=[load]))
    for width in range(1, 10):
        assert "waiting" in "".join(shown(watch, width=width).split())

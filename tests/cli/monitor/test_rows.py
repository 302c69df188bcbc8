"""The rows of the live view, in terminals of any size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from processor.cli.monitor import rows
from processor.cli.monitor.rows import Section, fitted, laid_out, shares
from processor.observe.report.findings import findings
from processor.observe.watch import Watch
from tests.observe.building import BEGAN, consumer, head, line, partition, watching

TEN = [n * 10.0 for n in range(10)]


def partitions(watch: Watch, width: int = 80) -> list[str]:
    section = rows.partitions(watch, findings(watch, watch.now), watch.now, width)
    return [section.heading, *(row.plain for row in section.rows)]


def section(watch: Watch, heading: str, width: int = 80) -> list[str]:
    (found,) = [one for one in rows.lists(watch, watch.now, width) if one.heading == heading]
    return [row.plain for row in found.rows]


def stalled(number: int = 0) -> list[bytes]:
    return [partition(at, number, gap=40, in_flight=5, head=head(state_seconds=at)) for at in TEN]


def test_a_partition_has_its_verdict_its_figures_and_its_consumer() -> None:
    lines = [consumer(0), partition(0, lag=12_345, gap=40, committed=1_000, oldest_unsettled_seconds=65.0)]
    heading, row = partitions(watching(*lines))
    assert heading == "partition verdict           lag commit point    gap    oldest  consumer"
    assert row == "orders[0] too early       12.3k        1,000     40  1 m 05 s  #0"


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, "partition verdict           lag    gap    oldest  consumer"),
        (80, "partition verdict           lag commit point    gap    oldest  consumer"),
        (120, "partition verdict           lag commit point    gap    oldest ready for  consumer"),
    ],
)
def test_a_wider_terminal_has_more_columns(width: int, columns: str) -> None:
    heading, row = partitions(watching(consumer(0), partition(0, oldest_ready_seconds=3.0)), width)
    assert heading == columns
    assert ("3.0 s" in row) == (width == 120)


def test_the_worst_partition_is_first() -> None:
    watch = watching(*(partition(at, 1, lag=0) for at in TEN), *stalled(5), consumer(90))
    assert [row.split()[0] for row in partitions(watch)[1:]] == ["orders[5]", "orders[1]"]


def test_a_long_topic_is_cut_at_its_start_and_keeps_its_number() -> None:
    _, row = partitions(watching(partition(0, 17, topic="a-topic-with-a-rather-long-name")), 80)
    assert row.startswith("…")
    assert "name[17] " in row


@pytest.mark.parametrize(
    ("events", "owner"),
    [
        ([partition(0)], "#0 joining"),
        ([consumer(0), partition(0)], "#0"),
        ([consumer(0), partition(0), line("consumer.stopping", 1, consumer=0)], "#0 stopping"),
        ([consumer(0), partition(0), line("consumer.revoked", 1, consumer=0, partitions=["orders[0]"])], "none"),
        ([consumer(0), partition(0), consumer(100, consumer=1, pid=8)], "#0 silent"),
        ([consumer(0), partition(0, fetch_paused=True)], "#0 fetch paused"),
        ([consumer(0), partition(0, waits_for=["orders[1]@9"])], "#0 waits for orders[1]@9"),
    ],
    ids=["joining", "working", "stopping", "none", "silent", "fetch paused", "held"],
)
def test_the_owner_of_a_partition_has_its_state(events: list[bytes], owner: str) -> None:
    assert partitions(watching(*events))[1].endswith(f"  {owner}")


def test_a_partition_that_was_never_committed_shows_its_commit_point() -> None:
    assert "  100 " in partitions(watching(partition(0, committed=None)))[1]
    assert "    – " in partitions(watching(partition(0, committed=None, commit_point=None)))[1]


def test_consumers_have_their_figures() -> None:
    stats = consumer(
        0, tasks_per_second=123.4, in_flight=15, running=3, workers=16, active_sessions=7, assigned_partitions=2
    )
    watch = watching(stats, line("consumer.started", 1, consumer=1, pid=8))
    section = rows.consumers(watch, watch.now)
    assert section.heading == "consumers   tasks/s  in flight  running  workers  sessions  partitions"
    assert [row.plain for row in section.rows] == [
        "#0              123         15        3       16         7           2",
        "#1 joining ",
    ]


def test_a_consumer_names_its_suspended_handlers() -> None:
    held = [{"handler": "store", "waiting": 3, "suspended_seconds": 5.0}, {"handler": "mail", "waiting": 3}]
    watch = watching(consumer(0, held_handlers=held))
    (row,) = rows.consumers(watch, watch.now).rows
    assert row.plain.endswith("  suspended: store")


def test_pauses_are_listed_with_their_age_and_what_waits_in_all_consumers() -> None:
    session = {"kind": "session", "session_id": "s\x1b3", "since": int(BEGAN * 1000), "by": "ann@ops-1"}
    everything = {"kind": "all", "since": int(BEGAN * 1000) + 5000, "by": "bob@ops-1", "waiting": 1}
    first = consumer(60, paused_by=[{**session, "waiting": 12}, everything])
    watch = watching(first, consumer(65, consumer=1, pid=8, paused_by=[{**session, "waiting": 3}]))
    assert section(watch, "paused") == [
        "session s\\u001b3 for 1 m 05 s, since 08:00:00, by ann@ops-1: 15 tasks waiting",
        "everything for 1 m 00 s, since 08:00:05, by bob@ops-1: 1 task waiting",
    ]
    assert section(watching(first, consumer(70)), "paused") == []


def test_the_head_of_a_partition_has_session_offset_time_and_reason() -> None:
    watch = watching(*stalled())
    assert section(watch, "head of line") == [
        "orders[0] anna @100 1 m 30 s since 08:00:00: its handler is running, attempt 2, after OSError: no answer"
    ]
    (narrow,) = section(watch, "head of line", 60)
    assert narrow.startswith("orders[0] anna @100 1 m 30 s: its handler")


def test_a_head_whose_session_is_not_logged_is_a_question_mark() -> None:
    watch = watching(*(partition(at, in_flight=1, head=None) for at in TEN))
    assert section(watch, "head of line") == ["orders[0] ? @100 1 m 30 s since 08:00:00: unfinished"]


def failed(at: float, session: str = "", error: str = "away", **fields: object) -> bytes:
    usual = {"consumer": 0, "session_id": session, "error_type": "builtins.OSError", "error": error}
    return line("task.dead_lettered", at, **{**usual, "topic": "t", "partition": 1, "offset": 7, **fields})


def test_an_error_is_one_row_with_its_count_its_latest_session_and_its_place() -> None:
    watch = watching(*(failed(at, f"s{at}") for at in range(30)))
    assert section(watch, "failures") == ["08:00:29 dead-lettered OSError: away ×30 s29 t[1]@7"]


def test_the_latest_error_is_first() -> None:
    watch = watching(failed(0, error="first"), failed(1, error="second"), failed(2, error="first"))
    assert [row.split()[3] for row in section(watch, "failures")] == ["first", "second"]


def test_a_long_error_is_cut_so_that_its_count_and_its_session_are_seen() -> None:
    watch = watching(*(failed(at, "anna", "x" * 300) for at in range(3)))
    (row,) = section(watch, "failures", 60)
    assert len(row) <= 60
    assert row.endswith("… ×3 anna")


def test_events_are_the_latest_first() -> None:
    watch = watching(line("fleet.stopping", 1, reason="SIGTERM"), line("fleet.stopped", 2, exit_code=0))
    assert section(watch, "rebalances, restarts") == [
        "08:00:02 fleet the fleet stopped with exit code 0",
        "08:00:01 fleet the fleet is stopping: SIGTERM",
    ]


def test_hot_sessions_are_those_of_all_consumers_the_busiest_first() -> None:
    def busiest(session: str, waiting: int) -> list[dict[str, object]]:
        load = {"session_id": session, "topic": "t", "partition": 1, "waiting": waiting, "partition_waiting": 16_000}
        return [{name: value for name, value in load.items() if session != "old" or name != "partition_waiting"}]

    watch = watching(
        consumer(0, busiest_sessions=busiest("a", 160)),
        consumer(0, consumer=1, pid=8, busiest_sessions=busiest("b", 12_000)),
        consumer(0, consumer=2, pid=9, busiest_sessions=busiest("old", 5)),
    )
    assert section(watch, "hot sessions") == [
        "   12.0k waiting: b in t[1], 75 % of what waits there",
        "     160 waiting: a in t[1], 1 % of what waits there",
        "       5 waiting: old in t[1]",
    ]


def test_what_is_set_aside_is_shown_by_partition() -> None:
    busy = [partition(0, n, set_aside=count, set_aside_sessions=count) for n, count in enumerate((0, 1, 25_000))]
    watch = watching(consumer(0), *busy)
    assert section(watch, "hot sessions") == [
        "       1 set aside: 1 session in orders[1]",
        "   25.0k set aside: 25,000 sessions in orders[2]",
    ]


def test_what_was_read_again_is_shown_with_what_it_was_for() -> None:
    watch = watching(
        consumer(0, records_read_again=20_000, tasks_read_again=8_000),
        consumer(0, consumer=1, pid=8, records_read_again=5_000, tasks_read_again=2_000),
    )
    (row,) = section(watch, "hot sessions")
    assert row.strip() == "25,000 records read again for 10,000 tasks set aside, 2.5 each"


def test_what_is_set_aside_because_of_a_delay_is_shown_by_partition() -> None:
    waiting = partition(0, 2, delayed_set_aside=25_000, next_set_aside_seconds=754.0)
    assert section(watching(consumer(0), partition(0, 1), waiting), "hot sessions") == [
        "   25.0k set aside until they are due: the first in 12 m 34 s, in orders[2]"
    ]


def test_groups_that_wait_for_branches_are_counted() -> None:
    watch = watching(consumer(0, open_joins=11_000), consumer(0, consumer=1, pid=8, open_joins=1000))
    assert section(watch, "hot sessions") == ["   12.0k groups waiting for some of their branches"]


def test_a_session_of_a_consumer_that_ended_is_not_hot_any_more() -> None:
    busiest = [{"session_id": "a", "topic": "t", "partition": 1, "waiting": 5}]
    watch = watching(consumer(0, busiest_sessions=busiest), line("consumer.stopped", 1, consumer=0))
    assert section(watch, "hot sessions") == []


def a_section(heading: str, count: int) -> Section:
    return Section(heading, [Text(f"{heading} {n}") for n in range(count)])


def test_a_section_gets_a_row_before_another_gets_more_and_none_without_its_heading() -> None:
    assert shares(20, [50, 3, 0, 9]) == [11, 3, 0, 3]
    assert shares(4, [5, 5, 5]) == [1, 1, 0]
    assert shares(1, [5]) == [0]
    assert shares(0, []) == []
    assert shares(100, [2, 3]) == [2, 3]


@given(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=6))
def test_sections_fill_the_lines_and_never_more(height: int, wants: list[int]) -> None:
    given_rows = shares(height, wants)
    used = sum(got + 1 for got in given_rows if got)
    assert used <= height
    assert all(got <= wanted for got, wanted in zip(given_rows, wants, strict=True))
    if any(0 < got < wanted for got, wanted in zip(given_rows, wants, strict=True)):
        assert used == height


def test_a_heading_has_the_count_of_the_rows_that_do_not_fit() -> None:
    shown = [row.plain for row in laid_out([a_section("failures", 9)], 20, 4)]
    assert shown == ["failures         +6 ", "failures 0", "failures 1", "failures 2"]


def test_a_section_that_does_not_fit_has_no_heading() -> None:
    assert [row.plain.strip() for row in laid_out([a_section("a", 1), a_section("b", 1)], 20, 2)] == ["a", "a 0"]


@pytest.mark.parametrize("cut", [fitted, lambda found, width: laid_out([Section("x" * 99, list(found))], width, 9)])
@pytest.mark.parametrize("width", [5, 20, 80])
def test_no_row_is_wider_than_the_terminal(cut: Callable[[list[Text], int], list[Text]], width: int) -> None:
    found = cut([Text("y" * 300), Text("z")], width)
    assert max(row.cell_len for row in found) <= width


def test_the_time_of_a_view_is_given() -> None:
    watch = watching(*stalled())
    (row,) = [row.plain for row in rows.lists(watch, BEGAN + 1000, 80)[0].rows]
    assert " 16 m 40 s since 08:00:00" in row

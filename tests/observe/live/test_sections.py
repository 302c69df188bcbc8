"""The sections of the live page: what they show, and that texts of a log remain texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from processor.observe.lines import ReadStats
from processor.observe.live.sections import DESCRIBED, FIRST, MOST_PARTITIONS, Observed, sections
from processor.observe.live.shell import ABOVE, LEFT, RIGHT, shell
from processor.observe.watch import Watch
from tests.observe.building import BEGAN, consumer, head, line, partition, watching

HOSTILE = "<script>alert(1)</script>\"'&amp;"


def shown(watch: Watch, at: float = 10.0, **more: Any) -> dict[str, str]:
    return dict(sections(Observed(watch, ReadStats(lines=4), BEGAN + at, **more)))


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def elements(html: str) -> set[str]:
    found = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, _: object) -> None:
            found.add(tag)

    Reader().feed(html)
    return found


def test_every_section_has_its_place_on_the_page() -> None:
    drawn = set(shown(watching(consumer(0), partition(0))))
    assert drawn == {*ABOVE, *LEFT, *RIGHT, "footer"}
    assert set(shown(Watch())) == drawn
    assert set(re.findall(r'id="(\w+)"', shell())) == drawn | {"connection"}


def test_before_the_first_event_the_page_shows_that_it_waits_and_what_was_read() -> None:
    stats = ReadStats(lines=3, foreign=3)
    drawn = sections(Observed(Watch(), stats, BEGAN))
    assert "Waiting for the first event" in words(drawn["state"])
    assert "3 lines so far, none of them an event" in words(drawn["state"])
    assert "--log-format json" in words(drawn["state"])
    over = sections(Observed(Watch(), stats, BEGAN, is_over=True))
    assert "The log has ended without an event" in words(over["state"])


@pytest.mark.parametrize(
    ("at", "more", "state"),
    [
        (10.0, {}, "Live 08:00:10 UTC"),
        (30.0, {}, "Live 08:00:10 UTC, 20 s ago"),
        (90.0, {}, "No news 08:00:10 UTC, 1 m 20 s ago"),
        (90.0, {"is_over": True}, "The log has ended 08:00:10 UTC"),
    ],
)
def test_the_page_shows_whether_the_log_grows(at: float, more: dict[str, Any], state: str) -> None:
    drawn = shown(watching(consumer(0), partition(0), consumer(10)), at, **more)
    assert state in words(drawn["state"])


def test_a_fleet_that_has_stopped_is_not_called_silent() -> None:
    drawn = shown(watching(consumer(0), line("consumer.stopped", 5, consumer=0, exit_code=0)), 500)
    assert "No consumer is running" in words(drawn["state"])


def test_the_worst_partition_is_first_described_and_in_the_title() -> None:
    stalled = [partition(at, number=7, lag=50, gap=9, in_flight=3, head=head()) for at in range(0, 100, 10)]
    drawn = shown(watching(*stalled, partition(95, number=1, lag=0), consumer(95)), 95)
    assert 'data-title="1 at fault · ' in drawn["state"]
    assert "1 of 2 partitions at fault" in words(drawn["state"])
    assert re.search(r"orders\[7\] stalled lag 50 .* session anna, offset 100", words(drawn["problems"]))
    rows = re.findall(r"<tr>.*?</tr>", drawn["partitions"])
    assert [words(row).split()[0] for row in rows[1:]] == ["orders[7]", "orders[1]"]
    assert re.search(r"orders\[7\] 1 m 36 s since 07:59:59 anna @100 its handler is running", words(drawn["blocks"]))


def test_figures_are_of_the_fleet_with_a_line_over_the_latest_rounds() -> None:
    reports = [
        consumer(at, tasks_per_second=float(at), handler_p50_seconds=0.002, handler_p99_seconds=0.25, in_flight=12)
        for at in (10, 20, 30, 40)
    ]
    drawn = shown(watching(*reports), 40)["figures"]
    assert "tasks/s 30 max 30" in words(drawn)
    assert "attempt, p99 250 ms p50 2 ms" in words(drawn)
    assert "in flight 12 1 running" in words(drawn)
    assert drawn.count('class="line"') == 6
    assert "10 succeeded · 0 retried · 0 timed out · 0 dead letters · 0 rebalances · 0 restarts" in words(drawn)


def test_consumers_show_the_handlers_whose_tasks_wait() -> None:
    held = [
        {"handler": "charge", "waiting": 12, "suspended_seconds": 3.0, "error_type": "OSError", "error": "away"},
        {"handler": "mail", "waiting": 2, "suspended_seconds": None, "error_type": None, "error": None},
    ]
    drawn = shown(watching(consumer(0, held_handlers=held)), 1)
    assert "charge: suspended, 12 wait; mail: at its limit, 2 wait" in words(drawn["consumers"])
    assert "The handler charge is suspended" in words(drawn["problems"])


def test_lists_are_bounded_and_report_what_they_leave_out() -> None:
    reports = [partition(at, number=n, lag=50) for at in range(0, 100, 10) for n in range(MOST_PARTITIONS + 10)]
    failures = [
        line("task.dead_lettered", 99, consumer=0, error_type=f"E{n}", error="x", topic="orders", partition=0, offset=n)
        for n in range(FIRST + 2)
    ]
    drawn = shown(watching(*reports, *failures), 99)
    assert drawn["partitions"].count("<tr>") == MOST_PARTITIONS + 2  # each of its two tables has a heading
    assert "And 10 partitions more." in words(drawn["partitions"])
    assert drawn["problems"].count("<article") == DESCRIBED
    assert f"And {MOST_PARTITIONS + 10 - DESCRIBED} partitions more, in the table below." in words(drawn["problems"])
    assert "<summary>2 more</summary>" in drawn["failures"]


def test_all_texts_of_a_log_are_text() -> None:
    texts = {"session_id": HOSTILE, "error_type": HOSTILE, "error": HOSTILE}
    busiest = [{"session_id": HOSTILE, "topic": HOSTILE, "partition": 0, "waiting": 9}]
    held = [{"handler": HOSTILE, "waiting": 1, "suspended_seconds": 1.0, "error_type": HOSTILE, "error": HOSTILE}]
    stalled = [
        partition(at, topic=HOSTILE, group=HOSTILE, lag=50, gap=9, in_flight=3, head=head(**texts), waits_for=[HOSTILE])
        for at in range(0, 100, 10)
    ]
    started = line(
        "fleet.started", 0, app=HOSTILE, topics=[HOSTILE], group=HOSTILE, processes=1, workers=1, version="1"
    )
    letter = line("task.dead_lettered", 98, consumer=0, topic=HOSTILE, partition=0, offset=1, **texts)
    last = consumer(99, busiest_sessions=busiest, held_handlers=held, host=HOSTILE)
    drawn = shown(watching(started, *stalled, letter, last), 99)
    assert elements("".join(drawn.values())).isdisjoint({"script", "img", "link", "style"})
    for name in ("state", "problems", "partitions", "consumers", "blocks", "failures", "sessions", "events"):
        assert "&lt;script&gt;alert(1)" in drawn[name], name


def test_headings_are_in_order_and_drawings_have_words() -> None:
    stalled = [partition(at, lag=50, gap=9, in_flight=3, head=head()) for at in range(0, 100, 10)]
    drawn = shown(watching(*stalled, *(consumer(at) for at in (10, 20, 30))), 99)
    page = "".join(drawn[name] for name in (*ABOVE, *LEFT, *RIGHT))
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all('role="img"' in svg and re.search(r'aria-label="[^"]+"', svg) for svg in re.findall(r"<svg[^>]*>", page))
    assert all('scope="col"' in cell for cell in re.findall(r"<th\b[^>]*>", page))


def test_no_style_stands_in_the_page_that_its_policy_would_refuse() -> None:
    stalled = [partition(at, lag=50, gap=9, in_flight=3, head=head()) for at in range(0, 100, 10)]
    page = shell() + "".join(shown(watching(*stalled, consumer(99)), 99).values())
    assert not re.search(r"\b(style|onclick|onload|onerror)=|<style|javascript:|https?://", page)


def test_what_is_paused_set_aside_or_waits_for_a_branch_is_shown() -> None:
    paused = {"kind": "session", "session_id": "s3", "since": int(BEGAN * 1000), "by": "ann@ops-1", "waiting": 12}
    aside: dict[str, Any] = {
        "set_aside": 5000,
        "set_aside_sessions": 2,
        "delayed_set_aside": 7000,
        "next_set_aside_seconds": 61.0,
    }
    watch = watching(partition(0, **aside), consumer(10, paused_by=[paused], open_joins=3))
    drawn = shown(watch)
    assert "Paused: session s3, for 10 s, since 08:00:00, by ann@ops-1: 12 tasks waiting" in words(drawn["problems"])
    assert "5,000 set aside: 2 sessions in orders[0]" in words(drawn["sessions"])
    assert "7,000 set aside until they are due: the first in 1 m 01 s, in orders[0]" in words(drawn["sessions"])
    assert "3 groups waiting for some of their branches" in words(drawn["sessions"])
    load = {"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 900, "partition_waiting": 1000}
    costly = consumer(10, busiest_sessions=[load], records_read_again=2000, tasks_read_again=800)
    costs = words(shown(watching(costly))["sessions"])
    assert "90 %" in costs
    assert "2,000 records read again for 800 tasks set aside, 2.5 each" in costs
    assert words(shown(watching(partition(0), consumer(10)))["sessions"]) == ""

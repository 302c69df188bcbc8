"""A real run, recorded: 8 partitions, 2 consumers, one session that hangs for 30 s, one consumer killed."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from processor.observe.follow import FileTail, to_the_end
from processor.observe.lines import Passed
from processor.observe.report.findings import findings
from processor.observe.report.text import text
from processor.observe.watch import Watch
from processor.observe.window import Status

RECORDED = Path(__file__).parent / "recorded" / "shop.jsonl.gz"


@pytest.fixture(scope="module")
def read() -> tuple[Watch, Passed]:
    watch, passed = Watch(), Passed()
    with closing(FileTail(RECORDED, "", passed)) as tail:
        for event in to_the_end([tail]):
            watch.hear(event)
    watch.finish()
    return watch, passed


@pytest.fixture
def watch(read: tuple[Watch, Passed]) -> Watch:
    return read[0]


@pytest.fixture
def passed(read: tuple[Watch, Passed]) -> Passed:
    return read[1]


def recorded(event: str) -> Iterator[dict[str, Any]]:
    """The lines, read without the observer."""
    with gzip.open(RECORDED) as lines:
        for line in lines:
            told = msgspec.json.decode(line)
            if told["event"] == event:
                yield told


def test_every_line_is_an_event(passed: Passed) -> None:
    with gzip.open(RECORDED) as lines:
        assert passed.lines == passed.events == sum(1 for _ in lines)
    assert passed.foreign == 0


def test_what_was_done_is_what_the_consumers_counted_last(watch: Watch) -> None:
    last = {stats["pid"]: stats for stats in recorded("consumer.stats")}
    assert len(last) == 3
    assert watch.load.counts.succeeded == sum(stats["succeeded"] for stats in last.values())
    assert watch.load.counts.dead_lettered == sum(stats["dead_lettered"] for stats in last.values())


def test_which_session_held_partition_7_since_when_and_why(watch: Watch) -> None:
    hold = watch.longest_holds()[0]
    assert (hold.topic, hold.partition, hold.session_id) == ("orders", 7, "anna")
    assert 28 <= hold.seconds <= 31
    assert hold.why == "its handler runs, attempt 1"


def test_the_partition_that_it_held_was_stalled_and_recovered(watch: Watch) -> None:
    verdicts = {finding.partition.name: finding for finding in findings(watch, watch.now)}
    assert verdicts["orders[7]"].status is Status.OK
    assert verdicts["orders[7]"].partition.worst is Status.STALLED


def test_the_hot_session_is_the_first_of_the_busy(watch: Watch) -> None:
    assert watch.sessions.busiest()[0].session_id == "<script>alert(1)</script>"


def test_the_failures_are_those_of_the_log(watch: Watch) -> None:
    counted = Counter(told["error_type"] for told in recorded("task.dead_lettered"))
    grouped = {g.example.error_type: g.count for g in watch.failures.groups if "dead-lettered" in g.outcomes}
    assert grouped == counted


def test_the_killed_consumer_is_one_restart(watch: Watch) -> None:
    assert watch.moments.counts["restart"] == 1
    assert any("SIGKILL" in happened.text for happened in watch.moments.last)


def test_the_text_tells_it_in_lines_that_fit(watch: Watch, passed: Passed) -> None:
    told = text(watch, watch.now, passed, width=80)
    assert max(map(len, told.splitlines())) <= 80
    assert "session anna" in told
    assert "shop on orders" in told

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

from processor.observe.follow import FileTail, read_to_end
from processor.observe.lines import ReadStats
from processor.observe.report.findings import findings
from processor.observe.report.text import text
from processor.observe.watch import Watch
from processor.observe.window import Status

RECORDED = Path(__file__).parent / "recorded" / "shop.jsonl.gz"


@pytest.fixture(scope="module")
def read() -> tuple[Watch, ReadStats]:
    watch, stats = Watch(), ReadStats()
    with closing(FileTail(RECORDED, "", stats)) as tail:
        for event in read_to_end([tail]):
            watch.handle(event)
    watch.finish()
    return watch, stats


@pytest.fixture
def watch(read: tuple[Watch, ReadStats]) -> Watch:
    return read[0]


@pytest.fixture
def stats(read: tuple[Watch, ReadStats]) -> ReadStats:
    return read[1]


def recorded(event: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of one event, read without the observer."""
    with gzip.open(RECORDED) as lines:
        for line in lines:
            fields = msgspec.json.decode(line)
            if fields["event"] == event:
                yield fields


def test_every_line_is_an_event(stats: ReadStats) -> None:
    with gzip.open(RECORDED) as lines:
        assert stats.lines == stats.events == sum(1 for _ in lines)
    assert stats.foreign == 0


def test_the_counters_are_those_that_the_consumers_reported_last(watch: Watch) -> None:
    last = {stats["pid"]: stats for stats in recorded("consumer.stats")}
    assert len(last) == 3
    assert watch.load.counts.succeeded == sum(stats["succeeded"] for stats in last.values())
    assert watch.load.counts.dead_lettered == sum(stats["dead_lettered"] for stats in last.values())


def test_the_session_that_blocked_partition_7_is_known_with_time_and_reason(watch: Watch) -> None:
    block = watch.longest_blocks()[0]
    assert (block.topic, block.partition, block.session_id) == ("orders", 7, "anna")
    assert 28 <= block.seconds <= 31
    assert block.why == "its handler is running, attempt 1"


def test_the_partition_that_it_blocked_was_stalled_and_recovered(watch: Watch) -> None:
    verdicts = {finding.partition.name: finding for finding in findings(watch, watch.now)}
    assert verdicts["orders[7]"].status is Status.OK
    assert verdicts["orders[7]"].partition.worst is Status.STALLED


def test_the_hot_session_is_the_first_of_the_busiest(watch: Watch) -> None:
    assert watch.sessions.busiest()[0].session_id == "<script>alert(1)</script>"


def test_the_failures_are_those_of_the_log(watch: Watch) -> None:
    counted = Counter(fields["error_type"] for fields in recorded("task.dead_lettered"))
    grouped = {g.example.error_type: g.count for g in watch.failures.groups if "dead-lettered" in g.outcomes}
    assert grouped == counted


def test_the_killed_consumer_is_one_restart(watch: Watch) -> None:
    assert watch.timeline.counts["restart"] == 1
    assert any("SIGKILL" in entry.text for entry in watch.timeline.recent)


def test_the_lines_of_the_text_fit_its_width(watch: Watch, stats: ReadStats) -> None:
    shown = text(watch, watch.now, stats, width=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "session anna" in shown
    assert "shop on orders" in shown

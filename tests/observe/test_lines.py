"""Lines out of chunks, and events out of lines, whatever comes before and between them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.lines import ReadStats, Splitter, events
from processor.observe.report.text import newer
from processor.telemetry.events import ConsumerStats, ConsumerStopping
from tests.observe.building import BEGAN, line, sourced

STOPPING = line("consumer.stopping", 1.5, consumer=3, reason="SIGTERM")


def test_a_line_has_an_event_a_time_and_a_source() -> None:
    (event,) = sourced(STOPPING, name="a.log")
    assert event.at == BEGAN + 1.5
    assert event.source == "a.log"
    assert isinstance(event.event, ConsumerStopping)
    assert (event.envelope.consumer, event.envelope.pid, event.event.reason) == (3, 7, "SIGTERM")


def test_the_source_is_the_host_unless_a_prefix_names_a_better_one() -> None:
    hosted = line("consumer.stopping", host="web-1")
    assert [event.source for event in sourced(hosted, b"shop-1  | " + hosted, name="f")] == ["web-1", "shop-1"]


def test_a_missing_field_has_its_default_and_an_unknown_one_is_ignored() -> None:
    (event,) = sourced(line("consumer.stats", succeeded=3, from_the_future={"a": [1]}))
    assert isinstance(event.event, ConsumerStats)
    assert (event.event.succeeded, event.event.retried, event.event.handler_p99_seconds) == (3, 0, None)


@pytest.mark.parametrize(
    ("prefix", "source"),
    [
        (b"", "f"),
        (b"   ", "f"),
        (b"shop-1  | ", "shop-1"),
        (b"\x1b[36mshop-1  | \x1b[0m", "shop-1"),
        (b"[pod/shop-5d8f-x2x/processor] ", "pod/shop-5d8f-x2x/processor"),
        (b"shop-5d8f-x2x processor ", "shop-5d8f-x2x processor"),
        (b"2026-11-24T11:22:40.452123456Z ", "f"),
        (b"[pod/shop-5d8f/processor] 2026-11-24T11:22:40.452123456Z ", "pod/shop-5d8f/processor"),
        (b"2026-11-24T11:22:40.452123456+02:00 stderr F ", "f"),
        (b"\xff\xfe ", "\ufffd\ufffd"),
    ],
)
def test_the_prefix_that_a_log_viewer_adds_names_the_source(prefix: bytes, source: str) -> None:
    (event,) = sourced(prefix + STOPPING, name="f")
    assert event.source == source


def test_a_line_is_unwrapped_from_dockers_record() -> None:
    kept = {"log": STOPPING.decode() + "\n", "stream": "stderr", "time": "2026-11-24T11:22:40.452123456Z"}
    (event,) = sourced(json.dumps(kept).encode(), name="0a1b-json.log")
    assert isinstance(event.event, ConsumerStopping)
    assert (event.at, event.source) == (BEGAN + 1.5, "0a1b-json.log")


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"log":"Traceback (most recent call last):\\n","stream":"stderr"}',
        b'{"log":"{\\"event\\": \\"consumer.stats\\", \\"in_fl","stream":"stderr"}',
        b'{"log":"\\ud800","stream":"stderr"}',
        b'{"log":["no text"]}',
        b'{"log":"',
        b"Traceback (most recent call last):",
        b'2026-11-24 11:22:40 [info     ] consumer.stopping  reason=SIGTERM {"not": "json"',
        b"{}",
        b"[]",
        b'{"event": "consumer.stopping"}',
        b'{"event": 3, "timestamp": "2026-11-24T11:22:40Z"}',
        b'{"event": "a", "timestamp": "yesterday"}',
        b"\xff\x00{",
        b"{" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_line_that_is_not_an_event_is_only_counted(foreign: bytes) -> None:
    stats = ReadStats()
    assert len(list(events([foreign, STOPPING], "", stats))) == 1
    assert (stats.lines, stats.foreign, stats.events) == (2, 1, 1)


def test_an_event_that_is_unknown_here_does_not_count_as_foreign() -> None:
    stats = ReadStats()
    assert list(events([line("of.the.future")], "", stats)) == []
    assert (stats.events, stats.foreign) == (1, 0)


def test_events_of_a_newer_log_version_are_read_and_counted() -> None:
    stats = ReadStats()
    assert len(list(events([line("consumer.stopping", log_version=2), STOPPING], "", stats))) == 2
    assert stats.newer == 1
    assert "1 event of a newer log version may be misread" in newer(stats)


def test_a_field_of_another_type_makes_a_line_foreign() -> None:
    stats = ReadStats()
    assert list(events([line("consumer.stats", succeeded="many")], "", stats)) == []
    assert stats.foreign == 1


def test_a_time_without_a_zone_is_utc() -> None:
    plain = STOPPING.replace(b"+00:00", b"")
    assert plain != STOPPING
    (event,) = sourced(plain)
    assert event.at == BEGAN + 1.5


@given(st.lists(st.binary(max_size=20).filter(lambda text: b"\n" not in text)), st.data())
def test_lines_are_the_same_however_they_are_cut_into_chunks(lines: list[bytes], data: st.DataObject) -> None:
    whole, splitter, found = b"".join(text + b"\n" for text in lines), Splitter(ReadStats()), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += splitter.feed(whole[:size])
        whole = whole[size:]
    assert found == lines
    assert splitter.rest() == b""


@given(st.integers(1, 40))
def test_a_line_that_is_too_long_is_counted_and_the_next_is_whole(size: int) -> None:
    stats = ReadStats()
    splitter, found = Splitter(stats, longest=10), []
    whole = b"short\n" + b"x" * 30 + b"\nnext\n"
    for start in range(0, len(whole), size):
        found += splitter.feed(whole[start : start + size])
    if size <= 30:  # one that came whole takes no memory beyond its chunk
        assert found == [b"short", b"next"]
        assert stats.too_long == 1
    assert (found[0], found[-1]) == (b"short", b"next")


def test_a_line_without_an_end_is_returned_at_the_end() -> None:
    splitter = Splitter(ReadStats())
    assert splitter.feed(b"a\nb") == [b"a"]
    assert splitter.rest() == b"b"
    assert splitter.rest() == b""

"""Lines out of chunks, and events out of lines, whatever stands before and between them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.lines import Passed, Splitter, events
from processor.observe.report.text import newer
from processor.telemetry.reading import ConsumerStatsTold, StoppingTold
from tests.observe.telling import BEGAN, heard, line

STOPPING = line("consumer.stopping", 1.5, consumer=3, reason="SIGTERM")


def test_a_line_tells_its_event_its_time_and_its_fields() -> None:
    (event,) = heard(STOPPING, name="a.log")
    assert event.at == BEGAN + 1.5
    assert event.source == "a.log"
    assert isinstance(event.told, StoppingTold)
    assert (event.told.consumer, event.told.pid, event.told.reason) == (3, 7, "SIGTERM")


def test_a_line_that_names_its_host_is_from_there_unless_its_prefix_tells_better() -> None:
    hosted = line("consumer.stopping", host="web-1")
    assert [event.source for event in heard(hosted, b"shop-1  | " + hosted, name="f")] == ["web-1", "shop-1"]


def test_a_field_that_is_missing_has_its_default_and_an_unknown_one_is_passed_over() -> None:
    (event,) = heard(line("consumer.stats", succeeded=3, from_the_future={"a": [1]}))
    assert isinstance(event.told, ConsumerStatsTold)
    assert (event.told.succeeded, event.told.retried, event.told.handler_p99_seconds) == (3, 0, None)


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
def test_what_log_viewers_set_before_a_line_tells_where_it_is_from(prefix: bytes, source: str) -> None:
    (event,) = heard(prefix + STOPPING, name="f")
    assert event.source == source


def test_a_line_as_docker_keeps_it_is_taken_out_of_its_wrapping() -> None:
    kept = {"log": STOPPING.decode() + "\n", "stream": "stderr", "time": "2026-11-24T11:22:40.452123456Z"}
    (event,) = heard(json.dumps(kept).encode(), name="0a1b-json.log")
    assert isinstance(event.told, StoppingTold)
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
def test_a_line_that_is_no_event_is_counted_and_nothing_else(foreign: bytes) -> None:
    passed = Passed()
    assert len(list(events([foreign, STOPPING], "", passed))) == 1
    assert (passed.lines, passed.foreign, passed.events) == (2, 1, 1)


def test_an_event_without_use_here_is_not_called_foreign() -> None:
    passed = Passed()
    assert list(events([line("consumer.topic_created", topic="t"), line("of.the.future")], "", passed)) == []
    assert (passed.events, passed.foreign) == (2, 0)


def test_events_of_a_newer_log_version_are_read_and_counted() -> None:
    passed = Passed()
    assert len(list(events([line("consumer.stopping", log_version=2), STOPPING], "", passed))) == 2
    assert passed.newer == 1
    assert "1 event of a newer log version may be read wrongly" in newer(passed)


def test_a_field_of_another_type_makes_the_line_useless_but_harmless() -> None:
    passed = Passed()
    assert list(events([line("consumer.stats", succeeded="many")], "", passed)) == []


def test_a_time_without_a_zone_is_utc() -> None:
    plain = STOPPING.replace(b"+00:00", b"")
    assert plain != STOPPING
    (event,) = heard(plain)
    assert event.at == BEGAN + 1.5


@given(st.lists(st.binary(max_size=20).filter(lambda text: b"\n" not in text)), st.data())
def test_lines_are_the_same_however_they_come(lines: list[bytes], data: st.DataObject) -> None:
    whole, splitter, found = b"".join(text + b"\n" for text in lines), Splitter(Passed()), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += splitter.feed(whole[:size])
        whole = whole[size:]
    assert found == lines
    assert splitter.rest() == b""


@given(st.integers(1, 40))
def test_a_line_that_is_too_long_is_counted_and_the_next_is_whole(size: int) -> None:
    passed = Passed()
    splitter, found = Splitter(passed, longest=10), []
    whole = b"short\n" + b"x" * 30 + b"\nnext\n"
    for start in range(0, len(whole), size):
        found += splitter.feed(whole[start : start + size])
    if size <= 30:  # one that came whole costs no memory that was not there already
        assert found == [b"short", b"next"]
        assert passed.too_long == 1
    assert (found[0], found[-1]) == (b"short", b"next")


def test_what_has_no_end_yet_is_had_at_the_end() -> None:
    splitter = Splitter(Passed())
    assert splitter.feed(b"a\nb") == [b"a"]
    assert splitter.rest() == b"b"
    assert splitter.rest() == b""

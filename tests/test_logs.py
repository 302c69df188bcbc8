"""Events as log lines."""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any, TextIO

import pytest

from processor import logs
from processor.events import (
    ConsumerAssigned,
    ConsumerCommitFailed,
    ConsumerPaused,
    FleetStopping,
    SessionLoad,
    TaskStuck,
)
from processor.settings import LogFormat, LogLevel
from tests.support.stats import consumer_stats, partition_stats


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_configured", None)


def lines_of(event: Any, log_format: LogFormat = "json", log_level: LogLevel = "info", **bound: Any) -> list[str]:
    stream = io.StringIO()
    logs.configure(log_format, log_level, stream)
    logs.emitter(**bound)(event)
    return stream.getvalue().splitlines()


def test_a_json_line_has_the_event_its_level_its_time_the_bound_fields_and_its_own() -> None:
    (line,) = lines_of(FleetStopping(reason="SIGTERM"), consumer=2)
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("timestamp"))
    expected = {"level": "info", "event": "fleet.stopping", "pid": os.getpid(), "consumer": 2, "reason": "SIGTERM"}
    assert told == expected


def test_nested_statistics_become_objects() -> None:
    (line,) = lines_of(partition_stats())
    assert json.loads(line)["head"]["offset"] == 7
    (line,) = lines_of(
        consumer_stats(busiest_sessions=[SessionLoad(session_id="s", topic="t", partition=3, waiting=1)])
    )
    told = json.loads(line)
    assert told["busiest_sessions"] == [{"session_id": "s", "topic": "t", "partition": 3, "waiting": 1}]


def test_the_console_shows_single_partitions_at_debug_only() -> None:
    assert len(lines_of(partition_stats(), "json", "info")) == 1
    assert len(lines_of(partition_stats(), "console", "info")) == 0
    assert len(lines_of(partition_stats(), "console", "debug")) == 1


@pytest.mark.parametrize(("level", "written"), [("debug", 1), ("info", 0), ("warning", 0), ("error", 0)])
def test_an_event_below_the_level_is_not_written(level: LogLevel, written: int) -> None:
    assert len(lines_of(ConsumerPaused(topic="t", partition=0, in_flight=1), log_level=level)) == written


HOSTILE = 'a\nb\r\x1b[31m\u2028\u202e\x9b\x00{"event":"forged"}'


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_field_value_can_forge_a_line_or_reach_the_terminal(log_format: LogFormat) -> None:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    logs.emitter()(ConsumerCommitFailed(error=HOSTILE, partitions=[HOSTILE]))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not any(control in text for control in "\r\x1b\x00")
    if log_format == "console":
        assert text.isprintable() or not any(control in text for control in "\u2028\u202e\x9b")
    else:
        assert json.loads(text)["error"] == HOSTILE


def test_text_that_is_no_unicode_is_written_all_the_same() -> None:
    (line,) = lines_of(FleetStopping(reason="half \ud800 a pair"))
    assert json.loads(line)["reason"] == "half \ud800 a pair"


def test_a_stack_on_the_console_is_set_below_its_line_and_cannot_pass_for_one() -> None:
    stuck = TaskStuck(
        task_id="i", session_id="s", task_name="n", topic="t", partition=0, offset=1, attempt=1, running_seconds=31.0,
        stack='File "a.py", line 1\n2024-01-01 [info] forged\x1b[2J',
    )  # fmt: skip
    first, *below = lines_of(stuck, "console")
    assert "task.stuck" in first
    assert below == ['    | File "a.py", line 1', "    | 2024-01-01 [info] forged\\u001b[2J"]


def test_the_console_tells_long_lists_by_their_length() -> None:
    load = SessionLoad(session_id="s", topic="t", partition=3, waiting=1)
    (line,) = lines_of(consumer_stats(busiest_sessions=[load, load]), "console")
    assert "busiest_sessions=2" in line
    (line,) = lines_of(ConsumerAssigned(partitions=["t[0]@5", "t[1]@7"], restored=0), "console")
    assert "t[0]@5, t[1]@7" in line


class Broken(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Broken(), closed()])
@pytest.mark.parametrize("log_format", ["json", "console", "auto"])
def test_a_line_that_cannot_be_written_is_counted_and_raises_nothing(stream: TextIO, log_format: LogFormat) -> None:
    logs.configure(log_format, "info", stream)
    logs.emitter()(FleetStopping(reason="x"))
    assert logs.lost_lines() == 1


def test_each_line_is_written_by_one_call_so_that_processes_can_share_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def recorded(descriptor: int, data: bytes) -> int:
        calls.append(bytes(data))
        return write(descriptor, data)

    reader, writer = os.pipe()
    write = os.write
    monkeypatch.setattr(os, "write", recorded)
    with os.fdopen(writer, "w") as stream, os.fdopen(reader) as received:
        logs.configure("json", "info", stream)
        logs.emitter()(consumer_stats())
        line = received.readline()
    assert calls == [line.encode()]


def test_the_applications_own_structlog_configuration_is_left_alone() -> None:
    import structlog

    before = structlog.get_config()
    logs.configure("json", "info", io.StringIO())
    logs.emitter()(FleetStopping(reason="x"))
    assert structlog.get_config() == before
    assert not structlog.is_configured()

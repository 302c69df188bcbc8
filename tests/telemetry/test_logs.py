"""Events as log lines."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from typing import Any, TextIO

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.telemetry import logs
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerCommitFailed,
    ConsumerFetchPaused,
    ConsumerStarted,
    FleetStopping,
    PartitionsIdle,
    SessionLoad,
    TaskDeadLettered,
    TaskStuck,
)
from processor.telemetry.redaction import NOT_LOGGED, LogFormat, LogLevel, Redaction, hashed
from tests.support.stats import consumer_stats, partition_stats
from tests.support.until import until


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_configured", None)


def lines_of(event: Any, log_format: LogFormat = "json", log_level: LogLevel = "info", **bound: Any) -> list[str]:
    stream = io.StringIO()
    logs.configure(log_format, log_level, stream)
    logs.emitter(**bound)(event)
    return stream.getvalue().splitlines()


def test_a_json_line_has_event_level_time_the_bound_fields_and_those_of_the_event() -> None:
    (line,) = lines_of(FleetStopping(reason="SIGTERM"), group="g", consumer=2)
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("timestamp"))
    assert fields == {
        "level": "info", "event": "fleet.stopping", "log_version": 1, "host": socket.gethostname(), "pid": os.getpid(),
        "group": "g", "consumer": 2, "reason": "SIGTERM",
    }  # fmt: skip


def test_nested_statistics_become_objects() -> None:
    (line,) = lines_of(partition_stats())
    assert json.loads(line)["head"]["offset"] == 7
    (line,) = lines_of(
        consumer_stats(
            busiest_sessions=[SessionLoad(session_id="s", topic="t", partition=3, waiting=1, partition_waiting=2)]
        )
    )
    fields = json.loads(line)
    assert fields["busiest_sessions"] == [
        {"session_id": hashed("s"), "topic": "t", "partition": 3, "waiting": 1, "partition_waiting": 2}
    ]


def test_the_console_leaves_out_what_is_0_or_empty() -> None:
    (line,) = lines_of(consumer_stats(lag=None, waiting=0), "console", group="g", fleet=1, consumer=0)
    assert "consumer=0" in line
    assert "succeeded=5" in line
    assert not [word for word in line.split() if word.startswith(("lag=", "waiting=", "group=", "fleet=", "host="))]
    started = ConsumerStarted(
        topics=["t"],
        group="g",
        workers=1,
        workers_most=1,
        value_format="json",
        group_protocol="classic",
        engine="pure",
    )
    (line,) = lines_of(started, "console", group="g")
    assert "group=g" in line


def test_the_console_shows_single_partitions_at_debug_only() -> None:
    assert len(lines_of(partition_stats(), "json", "info")) == 1
    assert len(lines_of(partition_stats(), "console", "info")) == 0
    (line,) = lines_of(partition_stats(), "console", "debug")
    assert "state=parked state_seconds=0.2" in line


def test_the_console_shows_the_count_of_idle_partitions_at_debug_only() -> None:
    idle = PartitionsIdle(topic="t", commit_points=dict.fromkeys(range(400), 7))
    assert len(lines_of(idle, "console", "info")) == 0
    (line,) = lines_of(idle, "console", "debug")
    assert "commit_points=400" in line


@pytest.mark.parametrize(("level", "written"), [("debug", 1), ("info", 0), ("warning", 0), ("error", 0)])
def test_an_event_below_the_level_is_not_written(level: LogLevel, written: int) -> None:
    assert len(lines_of(ConsumerFetchPaused(topic="t", partition=0, fetched_ahead=1), log_level=level)) == written


HOSTILE = 'a\nb\r\x1b[31m\u2028\u202e\u2066\u200f\u061c\x9b\x00{"event":"forged"}'


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_field_value_can_forge_a_line_or_reach_the_terminal(log_format: LogFormat) -> None:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    logs.emitter()(ConsumerCommitFailed(error=HOSTILE, partitions=[HOSTILE]))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not any(control in text for control in "\r\x1b\x00\u2028\u202e\u2066\u200f\u061c\x9b")
    if log_format == "json":
        assert json.loads(text)["error"] == HOSTILE


def test_text_with_a_lone_surrogate_is_written_escaped() -> None:
    (line,) = lines_of(FleetStopping(reason="half \ud800 a pair"))
    assert msgspec.json.decode(line)["reason"] == r"half \ud800 a pair"


def test_a_stack_is_printed_below_its_line_and_cannot_forge_one() -> None:
    stuck = TaskStuck(
        task_id="i", session_id="s", task_name="n", topic="t", partition=0, offset=1, attempt=1, trace_id=None,
        span_id=None, running_seconds=31.0, stack='File "a.py", line 1\n2024-01-01 [info] forged\x1b[2J',
    )  # fmt: skip
    first, *below = lines_of(stuck, "console")
    assert "task.stuck" in first
    assert below == ['    | File "a.py", line 1', "    | 2024-01-01 [info] forged\\u001b[2J"]


def test_the_console_shows_long_lists_as_their_lengths() -> None:
    load = SessionLoad(session_id="s", topic="t", partition=3, waiting=1, partition_waiting=2)
    (line,) = lines_of(consumer_stats(busiest_sessions=[load, load]), "console")
    assert "busiest_sessions=2" in line
    (line,) = lines_of(ConsumerAssigned(partitions=["t[0]@5", "t[1]@7"], settled_ahead=0), "console")
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


def test_a_blocked_reader_costs_lines_and_no_time_and_reads_how_many_when_it_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "STALLED_SECONDS", 0.05)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as received:
        logs.configure("json", "info", stream)
        emit = logs.emitter()
        for number in range(1000):
            emit(FleetStopping(reason=f"{number} {'x' * (9000 if number == 30 else 500)}"))
        lost = logs.lost_lines()
        assert 0 < lost < 1000
        kept = received.read(1 << 20)
        emit(FleetStopping(reason="goes on"))
        kept += received.read(1 << 20)
    *lines, last, report = [line for line in kept.split(b"\n") if line]
    assert msgspec.json.decode(last)["reason"] == "goes on"
    assert msgspec.json.decode(report)["event"] == "log.lines_lost"
    assert msgspec.json.decode(report)["lines"] == lost
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(lines) - len(whole) <= 1  # one may have been torn, and the next began on a line of its own
    assert len(whole) == 1000 - lost


def test_each_line_is_one_system_call_so_that_processes_can_share_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_structlog_configuration_of_the_application_is_not_changed() -> None:
    import structlog

    before = structlog.get_config()
    logs.configure("json", "info", io.StringIO())
    logs.emitter()(FleetStopping(reason="x"))
    assert structlog.get_config() == before
    assert not structlog.is_configured()


def logged(event: Any, redaction: Redaction) -> dict[str, Any]:
    stream = io.StringIO()
    logs.configure("json", "debug", stream, redaction)
    logs.emitter()(event)
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def dead_letter() -> TaskDeadLettered:
    return TaskDeadLettered(
        task_id="i", session_id="anna", task_name="n", topic="t", partition=0, offset=1, attempt=1, trace_id=None,
        span_id=None, dead_letter_topic="t.dlq", error_type="builtins.KeyError", error="'card 4111'", traceback=None,
    )  # fmt: skip


def test_a_session_is_hashed_unless_plain_ones_are_asked_for() -> None:
    load = SessionLoad(session_id="anna", topic="t", partition=3, waiting=1, partition_waiting=2)
    for event in (dead_letter(), partition_stats(), consumer_stats(busiest_sessions=[load])):
        assert "anna" not in str(logged(event, Redaction()))
        assert "#b22bbbaafa01" in str(logged(event, Redaction()))
        assert "anna" in str(logged(event, Redaction(sessions="plain")))


def test_a_task_without_a_session_has_no_hash() -> None:
    event = dead_letter()
    event.session_id = ""
    assert logged(event, Redaction())["session_id"] == ""


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="there is no b2sum")
@settings(max_examples=20, deadline=None)
@given(session=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_hash_of_a_session_is_that_of_b2sum(session: str) -> None:
    digest = subprocess.run(["b2sum", "-l", "48"], input=session.encode(), capture_output=True, check=True).stdout
    assert hashed(session) == "#" + digest.split()[0].decode()


def test_the_text_of_an_error_can_be_left_out_and_its_type_remains() -> None:
    line = logged(dead_letter(), Redaction(errors="type"))
    assert (line["error_type"], line["error"]) == ("builtins.KeyError", NOT_LOGGED)
    assert logged(partition_stats(), Redaction(errors="type"))["head"]["error"] == NOT_LOGGED
    assert logged(partition_stats(head=None), Redaction(errors="type"))["head"] is None
    refused = ConsumerCommitFailed(error="REBALANCE_IN_PROGRESS", partitions=[])
    assert logged(refused, Redaction(errors="type"))["error"] == "REBALANCE_IN_PROGRESS"


def test_a_long_identifier_is_cut() -> None:
    event = dead_letter()
    event.session_id = event.task_id = "x" * 1_000_000
    line = logged(event, Redaction(sessions="plain"))
    assert line["session_id"] == line["task_id"] == "x" * 199 + "…"
    assert logged(event, Redaction())["session_id"] == hashed(event.session_id)


def test_threads_that_log_at_once_into_a_full_pipe_do_not_block_and_do_not_mix_their_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "STALLED_SECONDS", 0.05)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as received:
        logs.configure("json", "info", stream)
        emit = logs.emitter()
        finished = threading.Event()

        def log(thread: int) -> None:
            for number in range(100):
                emit(FleetStopping(reason=f"{thread} " * (3000 if number % 2 else 1500)))

        def read_slowly(kept: bytearray) -> None:
            while not finished.wait(0.001):
                kept.extend(received.read(4096))

        kept = bytearray()
        slow = threading.Thread(target=read_slowly, args=(kept,), daemon=True)
        threads = [threading.Thread(target=log, args=(thread,), daemon=True) for thread in range(16)]
        for thread in (slow, *threads):
            thread.start()
        until(lambda: not threads[0].is_alive() or len(kept) > 100_000)
        finished.set()
        slow.join(20)  # what it has read comes before what is read here
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        kept += received.read(1 << 20)
    assert 0 < logs.lost_lines() < 1600
    whole = [line for line in bytes(kept).split(b"\n") if line.endswith(b"}") and line.startswith(b"{")]
    assert len(whole) > 10
    for line in whole:
        assert len(set(msgspec.json.decode(line).get("reason", "").split())) <= 1

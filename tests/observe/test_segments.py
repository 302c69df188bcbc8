"""Logs that follow each other in one file are read as if each had a file of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from processor.observe.follow import read_to_end
from processor.observe.lines import ReadStats, SourcedEvent
from processor.observe.segments import MOST, segments
from tests.observe.building import BEGAN, line


def log_of(host: str, first: int, last: int) -> list[bytes]:
    return [line("consumer.stopping", at, host=host, reason=host) + b"\n" for at in range(first, last)]


def read(path: Path, lines: list[bytes], stats: ReadStats | None = None) -> tuple[int, list[SourcedEvent]]:
    """Return the count of segments, and their events."""
    path.write_bytes(b"".join(lines))
    with path.open("rb") as file:
        found = segments(file, "f", stats or ReadStats())
        return len(found), list(read_to_end(found))


def test_logs_of_pods_one_after_the_other_are_read_in_the_order_of_their_times(tmp_path: Path) -> None:
    logs = [log_of(host, 0, 300) for host in ("a", "b", "c")]
    stats = ReadStats()
    count, events = read(tmp_path / "log", [one for log in logs for one in log], stats)
    assert count == 3
    assert [(event.at - BEGAN, event.source) for event in events] == [(at, h) for at in range(300) for h in "abc"]
    assert (stats.events, stats.lines, stats.bytes) == (900, 900, (tmp_path / "log").stat().st_size)


def test_files_of_docker_are_split_too(tmp_path: Path) -> None:
    lines = log_of("a", 0, 300) + log_of("b", 0, 300)
    wrapped = [json.dumps({"log": one.decode(), "stream": "stderr"}).encode() + b"\n" for one in lines]
    count, events = read(tmp_path / "log", wrapped)
    assert (count, events[1].source) == (2, "b")


def test_lines_that_are_slightly_late_do_not_start_a_segment(tmp_path: Path) -> None:
    lines = log_of("a", 0, 500)
    chance = random.Random(1)
    late = sorted(range(500), key=lambda at: at + chance.uniform(0, 20))
    count, events = read(tmp_path / "log", [lines[at] for at in late])
    assert (count, len(events)) == (1, 500)
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_a_log_without_any_order_is_read_in_bounded_memory(tmp_path: Path) -> None:
    lines = log_of("a", 0, 3000)
    random.Random(1).shuffle(lines)
    count, events = read(tmp_path / "log", lines)
    assert (count, len(events)) == (MOST, 3000)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"\n"],
        [b"no event, and no end"],
        [b'{"timestamp": "2026-02-31T10:00:00Z"}\n', b'{"timestamp": "2026-02-30T10:00:00Z"}\n'],
        [b"\xff" * 300_000, b"\n"],
    ],
)
def test_a_file_without_events_has_none(tmp_path: Path, lines: list[bytes]) -> None:
    assert read(tmp_path / "log", lines) == (1, [])


def test_the_last_line_needs_no_end_and_what_comes_later_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(log_of("a", 0, 3)).rstrip())
    with path.open("rb") as file:
        found = segments(file, "f", ReadStats())
        with path.open("ab") as more:
            more.write(b"\n" + log_of("b", 0, 1)[0])
        assert [event.at - BEGAN for event in read_to_end(found)] == [0, 1, 2]


def test_a_file_that_is_truncated_meanwhile_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(log_of("a", 0, 3)))
    with path.open("rb") as file:
        found = segments(file, "f", ReadStats())
        path.write_bytes(log_of("a", 0, 1)[0])
        assert len(list(read_to_end(found))) == 1

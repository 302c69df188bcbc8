"""Logs that stand one behind another in one file are read as if each had a file of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from processor.observe.follow import to_the_end
from processor.observe.lines import Heard, Passed
from processor.observe.segments import MOST, whole
from tests.observe.telling import BEGAN, line


def log_of(host: str, first: int, last: int) -> list[bytes]:
    return [line("consumer.stopping", at, host=host, reason=host) + b"\n" for at in range(first, last)]


def read(path: Path, lines: list[bytes], passed: Passed | None = None) -> tuple[int, list[Heard]]:
    """How many stretches there were, and what they told."""
    path.write_bytes(b"".join(lines))
    with path.open("rb") as file:
        stretches = whole(file, "f", passed or Passed())
        return len(stretches), list(to_the_end(stretches))


def test_pods_that_were_told_one_after_another_are_heard_in_the_order_of_their_times(tmp_path: Path) -> None:
    told = [log_of(host, 0, 300) for host in ("a", "b", "c")]
    passed = Passed()
    count, heard = read(tmp_path / "log", [one for log in told for one in log], passed)
    assert count == 3
    assert [(event.at - BEGAN, event.source) for event in heard] == [(at, h) for at in range(300) for h in "abc"]
    assert (passed.events, passed.lines, passed.bytes) == (900, 900, (tmp_path / "log").stat().st_size)


def test_dockers_files_are_taken_apart_too(tmp_path: Path) -> None:
    lines = log_of("a", 0, 300) + log_of("b", 0, 300)
    wrapped = [json.dumps({"log": one.decode(), "stream": "stderr"}).encode() + b"\n" for one in lines]
    count, heard = read(tmp_path / "log", wrapped)
    assert (count, heard[1].source) == (2, "b")


def test_lines_that_are_a_moment_late_are_no_stretch_of_their_own(tmp_path: Path) -> None:
    lines = log_of("a", 0, 500)
    chance = random.Random(1)
    late = sorted(range(500), key=lambda at: at + chance.uniform(0, 20))
    count, heard = read(tmp_path / "log", [lines[at] for at in late])
    assert (count, len(heard)) == (1, 500)
    assert [event.at for event in heard] == sorted(event.at for event in heard)


def test_a_log_without_any_order_is_read_in_bounded_memory(tmp_path: Path) -> None:
    lines = log_of("a", 0, 3000)
    random.Random(1).shuffle(lines)
    count, heard = read(tmp_path / "log", lines)
    assert (count, len(heard)) == (MOST, 3000)


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
def test_what_is_no_log_tells_nothing(tmp_path: Path, lines: list[bytes]) -> None:
    assert read(tmp_path / "log", lines) == (1, [])


def test_the_last_line_needs_no_end_and_what_comes_later_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(log_of("a", 0, 3)).rstrip())
    with path.open("rb") as file:
        stretches = whole(file, "f", Passed())
        with path.open("ab") as more:
            more.write(b"\n" + log_of("b", 0, 1)[0])
        assert [event.at - BEGAN for event in to_the_end(stretches)] == [0, 1, 2]


def test_a_file_that_is_cut_meanwhile_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(log_of("a", 0, 3)))
    with path.open("rb") as file:
        stretches = whole(file, "f", Passed())
        path.write_bytes(log_of("a", 0, 1)[0])
        assert len(list(to_the_end(stretches))) == 1

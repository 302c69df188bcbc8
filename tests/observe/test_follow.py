"""Logs as they are on disks and in pipes: growing, rotated, cut, gzipped, several at once."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from processor.errors import SettingsError
from processor.observe.follow import FileTail, PipeTail, Tail, merged, read_to_end
from processor.observe.lines import ReadStats, SourcedEvent
from processor.telemetry.events import ConsumerStopping
from tests.observe.building import BEGAN, line


def stopping(reason: str, at: float = 0.0) -> bytes:
    return line("consumer.stopping", at, reason=reason) + b"\n"


def reasons(events: list[SourcedEvent]) -> list[str]:
    return [event.event.reason for event in events if isinstance(event.event, ConsumerStopping)]


Opened = Callable[..., FileTail]


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_tail(
            path: Path, name: str = "", stats: ReadStats | None = None, last_bytes: int | None = None
        ) -> FileTail:
            tail = FileTail(path, name, stats or ReadStats(), last_bytes)
            stack.callback(tail.close)
            return tail

        yield open_tail


def fresh(tail: Tail) -> list[str]:
    return reasons(list(tail.events()))


def test_a_file_is_read_to_its_end_and_then_on(tmp_path: Path, opened: Opened) -> None:
    log = tmp_path / "log"
    log.write_bytes(stopping("a"))
    tail = opened(log)
    assert fresh(tail) == ["a"]
    assert fresh(tail) == []
    with log.open("ab") as file:
        file.write(stopping("b") + stopping("c")[:20])
    assert fresh(tail) == ["b"]
    with log.open("ab") as file:
        file.write(stopping("c")[20:])
    assert fresh(tail) == ["c"]


def test_a_rotated_file_is_read_to_its_end_before_the_new_one(tmp_path: Path, opened: Opened) -> None:
    log = tmp_path / "log"
    log.write_bytes(stopping("a"))
    tail = opened(log)
    assert fresh(tail) == ["a"]
    with log.open("ab") as file:
        file.write(stopping("b"))
    log.rename(tmp_path / "log.1")
    assert fresh(tail) == ["b"]
    log.write_bytes(stopping("c"))
    assert fresh(tail) == ["c"]


def test_a_file_that_is_renamed_is_read_until_another_takes_its_place(tmp_path: Path, opened: Opened) -> None:
    """A container runtime writes to the renamed file until it opens the new one."""
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        tail = opened(log)
        log.rename(tmp_path / "log.1")
        assert fresh(tail) == []
        writer.write(stopping("a"))
        assert fresh(tail) == ["a"]
        writer.write(stopping("b"))
        log.write_bytes(stopping("c"))
        assert fresh(tail) == ["b", "c"]


def test_a_file_that_is_cut_is_read_from_its_beginning(tmp_path: Path, opened: Opened) -> None:
    log = tmp_path / "log"
    log.write_bytes(stopping("a") + stopping("b"))
    tail = opened(log)
    assert fresh(tail) == ["a", "b"]
    log.write_bytes(stopping("c"))
    assert fresh(tail) == ["c"]


def test_of_a_long_file_only_the_end_is_read_and_no_half_line(tmp_path: Path, opened: Opened) -> None:
    log, stats = tmp_path / "log", ReadStats()
    log.write_bytes(b"".join(stopping(str(n)) for n in range(100)))
    tail = opened(log, stats=stats, last_bytes=3 * len(stopping("99")) + 5)
    assert fresh(tail) == ["97", "98", "99"]
    assert stats.foreign == 0


def test_a_gzipped_file_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress(stopping("a") + stopping("b")[:-1]))
    with closing(FileTail(log, "", ReadStats())) as tail:
        assert reasons(list(read_to_end([tail]))) == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "cut in its header", "overwritten", "cut in its checksum"])
def test_a_damaged_gzipped_file_is_an_error_in_one_line(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b"".join(stopping(os.urandom(50).hex(), n) for n in range(1_000)))
    half = len(whole) // 2
    log = tmp_path / "log.gz"
    log.write_bytes(
        {
            "cut": whole[:half],
            "cut in its header": whole[:5],
            "overwritten": whole[:half] + bytes(100) + whole[half + 100 :],
            "cut in its checksum": whole[:-4],
        }[damage]
    )
    with closing(FileTail(log, "", ReadStats())) as tail, pytest.raises(SettingsError) as raised:
        list(read_to_end([tail]))
    assert str(log) in str(raised.value)
    assert "damaged or incomplete" in str(raised.value)


def test_a_pipe_is_read_as_far_as_it_goes_and_ends_with_its_writer() -> None:
    reader, writer = os.pipe()
    tail = PipeTail(reader, ReadStats())
    assert fresh(tail) == []
    os.write(writer, stopping("a") + stopping("b")[:-1])
    assert fresh(tail) == ["a"]
    before = tail.is_over
    os.close(writer)
    assert fresh(tail) == []
    assert (before, tail.is_over) == (False, True)
    assert reasons(list(tail.last_line())) == ["b"]
    os.close(reader)


def test_several_logs_are_read_in_the_order_of_their_times(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "a").write_bytes(stopping("1", 1) + stopping("4", 4) + stopping("5", 3))  # the last was written late
    (tmp_path / "b").write_bytes(stopping("2", 2) + stopping("6", 5))
    stats = ReadStats()
    events = list(read_to_end([opened(tmp_path / name, name, stats) for name in "ab"]))
    assert reasons(events) == ["1", "2", "4", "5", "6"]
    assert [event.at - BEGAN for event in events] == [1, 2, 4, 4, 5]
    assert [event.source for event in events] == ["a", "b", "a", "a", "b"]
    assert stats.lines == 5


def test_what_is_new_is_merged_again(tmp_path: Path, opened: Opened) -> None:
    logs = [tmp_path / name for name in "ab"]
    for log in logs:
        log.touch()
    tails = [opened(log, log.name) for log in logs]
    assert list(merged(tails)) == []
    for log in logs:
        log.write_bytes(stopping(log.name))
    assert sorted(reasons(list(merged(tails)))) == ["a", "b"]

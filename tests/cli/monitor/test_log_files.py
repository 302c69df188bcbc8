"""Where `monitor` and `report` read: files of all kinds, and standard input."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from processor.cli.monitor import log_files
from processor.cli.monitor.log_files import complete, opened, size
from processor.errors import SettingsError
from processor.observe.follow import FileTail, PipeTail, read_to_end
from processor.observe.lines import ReadStats
from processor.observe.segments import Segment
from processor.telemetry.events import ConsumerStopping
from tests.observe.building import line


def stopping(reason: str, at: float = 0.0) -> bytes:
    return line("consumer.stopping", at, reason=reason) + b"\n"


def read(files: list[str], spooled: Callable[[int], None] = lambda _: None) -> list[tuple[str, str]]:
    """The source and the reason of each event."""
    with complete(files, ReadStats(), spooled) as tails:
        return [
            (found.source, found.event.reason)
            for found in read_to_end(tails)
            if isinstance(found.event, ConsumerStopping)
        ]


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    reader, writer = os.pipe()
    saved = sys.stdin
    sys.stdin = os.fdopen(reader)

    def write() -> None:
        os.write(writer, content)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        sys.stdin.close()
        sys.stdin = saved


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_bytes(stopping("a", 1) + stopping("b", 2))
    return path


def test_one_file_names_no_source(log: Path) -> None:
    assert read([str(log)]) == [("", "a"), ("", "b")]


def test_of_several_files_each_is_a_source(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.log"
    other.write_bytes(stopping("c", 1.5))
    assert read([str(log), str(other)]) == [(str(log), "a"), (str(other), "c"), (str(log), "b")]


def test_a_file_that_is_named_twice_is_read_once(log: Path) -> None:
    assert read([str(log), str(log)]) == [("", "a"), ("", "b")]


def test_a_gzipped_file_is_read_too(log: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "a.log.1.gz"
    zipped.write_bytes(gzip.compress(stopping("old", 0)))
    assert [reason for _, reason in read([str(log), str(zipped)])] == ["old", "a", "b"]


def test_a_file_whose_times_step_back_is_read_in_their_order(log: Path) -> None:
    log.write_bytes(b"".join(stopping(f"{pod}{at}", at) for pod in "ab" for at in (0, 100, 200)))
    with complete([str(log)], ReadStats(), lambda _: None) as tails:
        assert [type(tail) for tail in tails] == [Segment, Segment]
    assert [reason for _, reason in read([str(log)])] == ["a0", "b0", "a100", "b100", "a200", "b200"]


@pytest.mark.parametrize("files", [[], ["-"]])
def test_standard_input_is_read_to_its_end_and_its_progress_is_reported(files: list[str]) -> None:
    progress: list[int] = []
    content = stopping("b", 200) + stopping("a", 0)
    with standard_input(content):
        assert [reason for _, reason in read(files, progress.append)] == ["a", "b"]
    assert progress[-1] == len(content)


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(stopping("a")))
    writer.start()
    assert read([str(pipe)]) == [("", "a")]
    writer.join()


def test_a_followed_file_is_a_tail_and_a_followed_input_a_pipe(log: Path) -> None:
    with standard_input(b""), opened([str(log), "-"], ReadStats()) as tails:
        assert [type(tail) for tail in tails] == [FileTail, PipeTail]


def test_pipes_that_a_shell_names_are_followed() -> None:
    """As in `processor monitor <(kubectl logs -f a) <(kubectl logs -f b)`."""
    pipes = [os.pipe(), os.pipe()]
    for (_, writer), reason in zip(pipes, "ab", strict=True):
        os.write(writer, stopping(reason))
        os.close(writer)
    names = [f"/dev/fd/{reader}" for reader, _ in pipes]
    with opened(names, ReadStats()) as tails:
        found = [
            (each.source, each.event.reason) for each in read_to_end(tails) if isinstance(each.event, ConsumerStopping)
        ]
    assert found == list(zip(names, "ab", strict=True))
    for reader, _ in pipes:
        os.close(reader)


def test_a_named_pipe_is_followed_from_its_first_writer_on(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with opened([str(pipe)], ReadStats()) as (tail,):
        assert list(tail.events()) == []
        assert not tail.is_over
        pipe.write_bytes(stopping("a"))
        assert [each.event.reason for each in read_to_end([tail]) if isinstance(each.event, ConsumerStopping)] == ["a"]


@pytest.mark.parametrize("is_followed", [True, False])
def test_a_log_that_cannot_be_read_is_one_sentence(is_followed: bool, tmp_path: Path) -> None:
    def open_log(name: str) -> None:
        with opened([name], ReadStats()) if is_followed else complete([name], ReadStats(), lambda _: None):
            pytest.fail("it was opened")

    with pytest.raises(SettingsError, match=r"the log 'nowhere\.log' cannot be read: No such file or directory"):
        open_log("nowhere.log")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        open_log(str(tmp_path))


def test_a_closed_standard_input_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(SettingsError, match="standard input is closed; name log files"):
        read([])


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_files, "os", SimpleNamespace(read=full))  # other threads read as before
    with (
        standard_input(b""),
        pytest.raises(SettingsError, match=r"standard input cannot be copied to .*: No space left"),
    ):
        read([])


def test_the_size_of_files_is_known_and_that_of_pipes_and_gzipped_files_is_not(log: Path, tmp_path: Path) -> None:
    zipped, pipe = tmp_path / "a.gz", tmp_path / "pipe"
    zipped.write_bytes(gzip.compress(b"x"))
    os.mkfifo(pipe)
    assert size([str(log), str(log)]) == log.stat().st_size
    for unknown in ("-", "nowhere.log", str(zipped), str(pipe)):
        assert size([str(log), unknown]) is None
    assert size([]) is None

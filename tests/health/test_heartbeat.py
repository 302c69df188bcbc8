"""Heartbeats are written, and whatever prevents one stops nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from processor.errors import LoadError
from processor.health import heartbeat
from processor.health.heartbeat import ConsumerHeartbeat, HeartbeatWriter, consumer_heartbeat, fleet_heartbeats
from processor.telemetry.events import Event, HeartbeatFailed
from tests.support.until import until


def starting() -> ConsumerHeartbeat:
    return consumer_heartbeat(0, None)


def test_heartbeats_are_written_until_the_stop_which_removes_the_files(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    writer = HeartbeatWriter(path, starting, lambda event: None, seconds=0.001)
    writer.start()
    until(path.exists)
    first = heartbeat.read(path)
    until(lambda: heartbeat.read(path).written_at > first.written_at)
    writer.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    heartbeat.write(path, starting())
    done = threading.Event()

    def write() -> None:
        for _ in range(300):
            heartbeat.write(path, starting())
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert heartbeat.read(path).pid == os.getpid()
    thread.join()


def test_a_heartbeat_that_cannot_be_written_is_logged_once_and_retried(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    events: list[Event] = []
    writer = HeartbeatWriter(folder / "heartbeat", starting, events.append, seconds=0.001)
    writer.start()
    until(lambda: writer._failures > 3)
    folder.mkdir()
    until((folder / "heartbeat").exists)
    writer.stop()
    (failed,) = events
    assert isinstance(failed, HeartbeatFailed)
    assert (failed.error, failed.failures) == ("No such file or directory", 1)


def test_a_disk_that_hangs_does_not_block_the_stop(tmp_path: Path) -> None:
    looked, released = threading.Event(), threading.Event()

    def hang() -> ConsumerHeartbeat:
        looked.set()
        released.wait(60)
        return starting()

    writer = HeartbeatWriter(tmp_path / "heartbeat", hang, lambda event: None)
    writer.start()
    assert looked.wait(10)
    begun = monotonic()
    writer.stop()
    assert monotonic() - begun < heartbeat.LAST_WRITE_SECONDS + 5
    released.set()


def test_a_link_in_the_scratch_files_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "heartbeat.tmp").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        heartbeat.write(tmp_path / "heartbeat", starting())
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/heartbeat", "No such file or directory"),
        ("folder", "not a regular file"),
        ("fifo", "not a regular file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with (
        pytest.raises(LoadError, match=reason),
        fleet_heartbeats(str(tmp_path / name), starting, lambda event: None, consumers=1),
    ):
        sleep(0)

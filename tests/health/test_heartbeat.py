"""The heart writes, and whatever keeps it from that stops nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from processor.errors import LoadError
from processor.health import heart, heartbeat
from processor.health.heart import Heart, first_beating
from processor.health.heartbeat import ConsumerBeat, beat_of
from processor.telemetry.events import Event, HeartbeatFailed
from tests.support.until import until


def starting() -> ConsumerBeat:
    return beat_of(0, None)


def test_it_beats_until_it_is_stopped_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    one = Heart(path, starting, lambda event: None, seconds=0.001)
    one.start()
    until(path.exists)
    first = heartbeat.read(path)
    until(lambda: heartbeat.read(path).written_at > first.written_at)
    one.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    heartbeat.write(path, starting())
    done = threading.Event()

    def write() -> None:
        for _ in range(300):
            heartbeat.write(path, starting())
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert heartbeat.read(path).pid == os.getpid()
    writer.join()


def test_a_heartbeat_that_cannot_be_written_is_told_once_and_goes_on_when_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    events: list[Event] = []
    one = Heart(folder / "heartbeat", starting, events.append, seconds=0.001)
    one.start()
    until(lambda: one._failures > 3)
    folder.mkdir()
    until((folder / "heartbeat").exists)
    one.stop()
    (told,) = events
    assert isinstance(told, HeartbeatFailed)
    assert (told.error, told.failures) == ("No such file or directory", 1)


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    looked, released = threading.Event(), threading.Event()

    def hang() -> ConsumerBeat:
        looked.set()
        released.wait(60)
        return starting()

    one = Heart(tmp_path / "heartbeat", hang, lambda event: None)
    one.start()
    assert looked.wait(10)
    begun = monotonic()
    one.stop()
    assert monotonic() - begun < heart.LAST_BEAT_SECONDS + 5
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
    [("missing/heartbeat", "No such file or directory"), ("folder", "no plain file"), ("fifo", "no plain file")],
)
def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with (
        pytest.raises(LoadError, match=reason),
        first_beating(str(tmp_path / name), starting, lambda event: None, consumers=1),
    ):
        sleep(0)

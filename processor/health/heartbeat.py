"""What a fleet and its consumers write about themselves for `processor health`, and the files that hold it.

The fleet's parent writes PATH, its consumers PATH.0, PATH.1 and so on; a consumer without a parent writes PATH.
Moments are those of the machine's monotonic clock, in seconds: it is the same in every process of a machine, no
correction of the time of day moves it, and it stands still while the machine sleeps.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

import msgspec

from processor.errors import LoadError

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer

State = Literal["starting", "joining", "assigned", "idle", "draining"]
"""`joining`: not in the group, or not any more. `idle`: in it, with fewer partitions than consumers."""


class ConsumerBeat(msgspec.Struct, frozen=True, kw_only=True, tag="consumer", tag_field="of"):
    """One consumer, at the moment of writing."""

    pid: int
    consumer: int
    state: State
    written_at: float
    polled_at: float | None = None
    """When its poller last went round: polled, or looked at what it waits for in a drain."""
    partitions: int = 0
    running: int = 0
    """lanes that are lent"""
    settled: int = 0
    """tasks since the start"""
    stuck_at: float | None = None
    """When the first of the running attempts is past its time and its grace; None while nothing runs."""


class Place(msgspec.Struct, frozen=True):
    """A consumer's place in a fleet."""

    consumer: int
    pid: int | None
    """None between two lives, and when no other is to follow."""
    since: float
    """When this life began, or the last one ended."""
    done: bool
    """No other life is to follow: its part of the work is done."""


class FleetBeat(msgspec.Struct, frozen=True, kw_only=True, tag="fleet", tag_field="of"):
    """A fleet's parent, at the moment of writing."""

    pid: int
    written_at: float
    turned_at: float
    """When its loop last went round."""
    stopping: bool
    places: list[Place]


Beat = FleetBeat | ConsumerBeat

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Beat] = msgspec.json.Decoder(FleetBeat | ConsumerBeat)


def consumers_file(path: Path, index: int) -> Path:
    """Where the consumer `index` of the fleet writes whose parent writes to `path`."""
    return path.with_name(f"{path.name}.{index}")


def beat_of(index: int, consumer: Consumer | None) -> ConsumerBeat:
    """A consumer now; None is one that is still being put together."""
    if consumer is None:
        return ConsumerBeat(pid=os.getpid(), consumer=index, state="starting", written_at=monotonic())
    pulse = consumer.pulse()
    state: State = "assigned" if pulse.partitions else "idle"
    if pulse.stopping:
        state = "draining"
    elif not pulse.in_group:
        state = "joining"
    return ConsumerBeat(
        pid=os.getpid(),
        consumer=index,
        state=state,
        written_at=monotonic(),
        polled_at=pulse.last_loop_at,
        partitions=pulse.partitions,
        running=pulse.running,
        settled=pulse.settled,
        stuck_at=pulse.stuck_at,
    )


def write(path: Path, beat: Beat) -> None:
    """Puts `beat` in the place of what `path` holds; a reader sees the one or the other, never a half.

    Raises:
        OSError: it cannot be written.
    """
    scratch = _scratch(path)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(_encode(beat))
    scratch.replace(path)


def check(path: Path) -> None:
    """Refuses to put a heartbeat in the place of something that is no plain file.

    Raises:
        LoadError: in one sentence that says what is wrong.
    """
    if path.exists() and not path.is_file():
        raise LoadError(f"--heartbeat-file {str(path)!r} is no plain file: give the name of a file of its own")


def read(path: Path) -> Beat:
    """What `path` holds.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: it is no heartbeat.
    """
    return _decoder.decode(path.read_bytes())


def remove(path: Path) -> None:
    """Takes the file away, if it is there: who has ended has no heartbeat."""
    for gone in (path, _scratch(path)):
        with contextlib.suppress(OSError):
            gone.unlink()


def _scratch(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")

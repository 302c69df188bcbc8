"""Heartbeats: the state of a fleet and its consumers, which each process writes to a file, for `processor health`.

The fleet's parent writes PATH, its consumers PATH.0, PATH.1 and so on; a consumer without a parent writes PATH. Times
are of the machine's monotonic clock, in seconds: all processes of a machine share it, corrections of the time of day do
not move it, and it stops while the machine is suspended.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from processor.errors import LoadError
from processor.telemetry.events import Emit, HeartbeatFailed

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer

INTERVAL_SECONDS: Final = 1.0
"""Time between two heartbeats."""

LOG_AGAIN_SECONDS: Final = 60.0
"""Time between two log lines about heartbeats that cannot be written."""

LAST_WRITE_SECONDS: Final = 1.0
"""How long a stop waits for a heartbeat that is being written."""

State = Literal["starting", "joining", "assigned", "idle", "draining"]
"""`joining`: not yet, or no longer, in the group. `idle`: in the group, but with no partition left for it."""


class ConsumerHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="consumer", tag_field="of"):
    """The state of one consumer at the time of writing."""

    pid: int
    consumer: int
    state: State
    written_at: float
    polled_at: float | None = None
    """When its poller last completed a loop, polling or draining."""
    partitions: int = 0
    running: int = 0
    """Sessions that a worker has taken."""
    workers: int = 0
    settled: int = 0
    """Tasks settled since the start."""
    stuck_at: float | None = None
    """When the first running attempt exceeds its time limit and the grace period; None while nothing runs."""
    suspended: list[str] = []
    """Suspended handlers: their tasks wait for the end of an outage."""
    pauses: int = 0
    """Pauses in force."""
    paused_since: int | None = None
    """When the oldest of them was ordered, in milliseconds since the epoch; None without one."""


class Place(msgspec.Struct, frozen=True):
    """The place of a consumer in its fleet, which successive processes fill."""

    consumer: int
    pid: int | None
    """None while no process fills it."""
    since: float
    """When its process started, or the last one exited."""
    done: bool
    """Whether no other process follows, because the work is done."""
    extra: bool = False
    """Whether it was added while the fleet ran. The fleet is ready without such a consumer."""


class FleetHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="fleet", tag_field="of"):
    """The state of a fleet's parent at the time of writing."""

    pid: int
    written_at: float
    last_loop_at: float
    """When its loop was last entered."""
    stopping: bool
    places: list[Place]


Heartbeat = FleetHeartbeat | ConsumerHeartbeat

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Heartbeat] = msgspec.json.Decoder(FleetHeartbeat | ConsumerHeartbeat)


def consumer_heartbeat(index: int, consumer: Consumer | None) -> ConsumerHeartbeat:
    """Return the present state of a consumer; None is one that is not assembled yet."""
    if consumer is None:
        return ConsumerHeartbeat(pid=os.getpid(), consumer=index, state="starting", written_at=monotonic())
    pulse = consumer.pulse()
    state: State = "assigned" if pulse.partitions else "idle"
    if pulse.stopping:
        state = "draining"
    elif not pulse.in_group:
        state = "joining"
    return ConsumerHeartbeat(
        pid=os.getpid(),
        consumer=index,
        state=state,
        written_at=monotonic(),
        polled_at=pulse.last_loop_at,
        partitions=pulse.partitions,
        running=pulse.running,
        workers=pulse.workers,
        settled=pulse.settled,
        stuck_at=pulse.stuck_at,
        suspended=list(pulse.suspended),
        pauses=pulse.pauses,
        paused_since=pulse.paused_since,
    )


# --- files -----------------------------------------------------------------------------------------


def consumer_file(path: Path, index: int) -> Path:
    """Return the heartbeat file of the consumer `index` of the fleet whose parent writes to `path`."""
    return path.with_name(f"{path.name}.{index}")


def write(path: Path, heartbeat: Heartbeat) -> None:
    """Replace the content of `path`; a reader sees the old or the new heartbeat, never a part.

    Raises:
        OSError: it cannot be written.
    """
    scratch = _scratch(path)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(_encode(heartbeat))
    scratch.replace(path)


def read(path: Path) -> Heartbeat:
    """Return the heartbeat in `path`.

    Raises:
        OSError: the file cannot be read.
        msgspec.MsgspecError: it does not hold a heartbeat.
    """
    return _decoder.decode(path.read_bytes())


def remove(path: Path) -> None:
    """Remove the file, if it exists: a process that has ended has no heartbeat."""
    for gone in (path, _scratch(path)):
        with contextlib.suppress(OSError):
            gone.unlink()


def _scratch(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


# --- writing ---------------------------------------------------------------------------------------


class HeartbeatWriter:
    """Writes a heartbeat every second, in a separate thread, which a disk that hangs or is full can block safely.

    Args:
        path: the file.
        state: returns the heartbeat to write; called in the writer's thread.
        emit: logs, at most once a minute, that heartbeats cannot be written.
        seconds: time between two heartbeats.
    """

    def __init__(
        self, path: Path, state: Callable[[], Heartbeat], emit: Emit, *, seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._path = path
        self._state = state
        self._emit = emit
        self._seconds = seconds
        self._failures = 0
        self._log_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start to write."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and remove the file."""
        self._stopped.set()
        self._thread.join(LAST_WRITE_SECONDS)
        remove(self._path)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._write()
            self._stopped.wait(self._seconds)

    def _write(self) -> None:
        try:
            write(self._path, self._state())
        except Exception as error:  # noqa: BLE001 — whatever prevents a heartbeat must not prevent the next
            self._failures += 1
            self._log(error)
        else:
            self._failures = 0

    def _log(self, error: Exception) -> None:
        now = monotonic()
        if now >= self._log_at:
            self._log_at = now + LOG_AGAIN_SECONDS
            self._emit(HeartbeatFailed(path=str(self._path), error=_reason(error), failures=self._failures))


@contextmanager
def heartbeats(file: str | None, state: Callable[[], Heartbeat], emit: Emit) -> Iterator[None]:
    """Write heartbeats while the context is entered; without a file, do nothing."""
    if file is None:
        yield
        return
    writer = HeartbeatWriter(Path(file), state, emit)
    writer.start()
    try:
        yield
    finally:
        writer.stop()


@contextmanager
def fleet_heartbeats(file: str | None, state: Callable[[], Heartbeat], emit: Emit, *, consumers: int) -> Iterator[None]:
    """Write the heartbeats of a fleet's parent. Check first that the parent and its consumers can write theirs.

    At the end, remove the files of consumers too: a consumer that was killed leaves its file behind.

    Raises:
        LoadError: a heartbeat cannot be written.
    """
    if file is None:
        yield
        return
    files = [consumer_file(Path(file), index) for index in range(consumers)]
    try:
        _check([*files, Path(file)], state())
        for each in files:  # a consumer that has not written yet has no heartbeat
            remove(each)
        with heartbeats(file, state, emit):
            yield
    finally:
        for each in files:
            remove(each)


def _check(files: Sequence[Path], heartbeat: Heartbeat) -> None:
    for file in files:
        # `Path.exists` raises for a name that is too long; that it cannot be written is found below
        if os.path.exists(file) and not file.is_file():  # noqa: PTH110
            raise LoadError(f"--heartbeat-file {str(file)!r} is not a regular file: give the path of a separate file")
    for file in files:
        try:
            write(file, heartbeat)
        except OSError as error:
            raise LoadError(f"--heartbeat-file {str(file)!r} cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or f"{type(error).__name__}: {error}"

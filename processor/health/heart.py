"""The thread that writes a heartbeat. A disk that hangs or is full holds up nothing but this thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from processor.errors import LoadError
from processor.health import heartbeat
from processor.health.heartbeat import Beat
from processor.telemetry.events import Emit, HeartbeatFailed

BEAT_SECONDS: Final = 1.0
"""Between two heartbeats."""

TELL_SECONDS: Final = 60.0
"""How often a heartbeat that cannot be written is told of."""

LAST_BEAT_SECONDS: Final = 1.0
"""How long an end waits for the heartbeat that is being written."""


class Heart:
    """Writes what `look` sees to `path`, every second.

    Args:
        path: the file.
        look: what is to be written; called in the heart's thread.
        emit: hears of what cannot be written, once a minute at most.
        seconds: between two heartbeats.
    """

    def __init__(self, path: Path, look: Callable[[], Beat], emit: Emit, *, seconds: float = BEAT_SECONDS) -> None:
        self._path = path
        self._look = look
        self._emit = emit
        self._seconds = seconds
        self._failures = 0
        self._next_word = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, and takes the file away."""
        self._stopped.set()
        self._thread.join(LAST_BEAT_SECONDS)
        heartbeat.remove(self._path)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._beat()
            self._stopped.wait(self._seconds)

    def _beat(self) -> None:
        try:
            heartbeat.write(self._path, self._look())
        except Exception as error:  # noqa: BLE001 — whatever keeps a heartbeat from being written, the work goes on
            self._failures += 1
            self._tell(error)
        else:
            self._failures = 0

    def _tell(self, error: Exception) -> None:
        now = monotonic()
        if now >= self._next_word:
            self._next_word = now + TELL_SECONDS
            self._emit(HeartbeatFailed(path=str(self._path), error=_reason(error), failures=self._failures))


@contextmanager
def beating(file: str | None, look: Callable[[], Beat], emit: Emit) -> Iterator[None]:
    """Beats as long as it is entered; without a file it does nothing."""
    if file is None:
        yield
        return
    heart = Heart(Path(file), look, emit)
    heart.start()
    try:
        yield
    finally:
        heart.stop()


@contextmanager
def first_beating(file: str | None, look: Callable[[], Beat], emit: Emit, *, consumers: int) -> Iterator[None]:
    """The same for the first process of a fleet, which finds out at once whether it and its consumers can write.

    At the end it takes the files of consumers away too: one that was killed has left its own.

    Raises:
        LoadError: a heartbeat cannot be written.
    """
    if file is None:
        yield
        return
    files = [heartbeat.consumers_file(Path(file), index) for index in range(consumers)]
    try:
        _try_all([*files, Path(file)], look())
        for each in files:  # until a consumer has written one itself, it has none
            heartbeat.remove(each)
        with beating(file, look, emit):
            yield
    finally:
        for each in files:
            heartbeat.remove(each)


def _try_all(files: Sequence[Path], beat: Beat) -> None:
    for file in files:
        heartbeat.check(file)
    for file in files:
        try:
            heartbeat.write(file, beat)
        except OSError as error:
            raise LoadError(f"--heartbeat-file {str(file)!r} cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or f"{type(error).__name__}: {error}"

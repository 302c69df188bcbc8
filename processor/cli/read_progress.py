"""`ReadProgress`: how far a long log has been read, on stderr where that is a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from processor.observe.lines import Passed

SHOW_SECONDS: Final = 0.1

LOOK_EVERY: Final = 1024
"""Events between two looks at the clock."""


class ReadProgress:
    """A moving line that is gone at the end; nothing off a terminal.

    Args:
        passed: what has been read.
        size: bytes that there are, None where nobody knows.
    """

    def __init__(self, passed: Passed, size: int | None) -> None:
        console = Console(stderr=True)
        columns = (
            (BarColumn(), DownloadColumn(), TimeRemainingColumn()) if size else (SpinnerColumn(), DownloadColumn())
        )
        self._progress = Progress(
            TextColumn("reading"), *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._bar = self._progress.add_task("reading", total=size)
        self._passed = passed
        self._shown = time.monotonic()
        self._events = 0

    def show(self) -> None:
        """Moves the line, at most ten times a second; to be called at every event."""
        self._events += 1
        if self._events % LOOK_EVERY:
            return
        now = time.monotonic()
        if now - self._shown >= SHOW_SECONDS:
            self._shown = now
            self._progress.update(self._bar, completed=self._passed.bytes)

    def spooled(self, size: int) -> None:
        """So many bytes of a pipe have come: most of the time is waiting for them."""
        self._progress.update(self._bar, completed=size)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

"""`SendProgress`, the moving line of `processor produce`; off a terminal it is silent."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

SHOW_SECONDS = 0.1


class SendProgress:
    """Bytes of the file that are done, and tasks a second."""

    def __init__(self, console: Console, size: int | None) -> None:
        """Takes the file's bytes; None where nobody knows them."""
        self._console = console
        columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn()) if size else (SpinnerColumn(),)
        self._progress = Progress(
            TextColumn("sending"),
            *columns,
            TextColumn("{task.fields[tasks]:,} tasks, {task.fields[rate]:,.0f}/s"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("sending", total=size, tasks=0, rate=0.0)
        self._started = time.monotonic()
        self._shown = 0.0

    def show(self, bytes_read: int, tasks: int) -> None:
        """Moves the line, at most ten times a second."""
        now = time.monotonic()
        if now - self._shown >= SHOW_SECONDS:
            self._shown = now
            rate = tasks / max(now - self._started, 0.001)
            self._progress.update(self._bar, completed=bytes_read, tasks=tasks, rate=rate)

    def say(self, line: str) -> None:
        """A line above the moving one; its text is nobody's markup."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

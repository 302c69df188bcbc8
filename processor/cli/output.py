"""The progress that long-running commands show on a terminal, and the case that the reader of an output is gone."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from processor.observe.lines import ReadStats

SHOW_SECONDS: Final = 0.1
"""Seconds between two updates of a progress line."""

LOOK_EVERY: Final = 1024
"""Number of events between two checks of the clock."""


class NotesConsole(Console):
    """Standard error, for notes about a command's work. If they cannot be written, the work continues."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Continue without a reader. Rich itself would end the program."""
        silence(sys.stderr)


class SendProgress:
    """A progress line with the part of the file that is done, and the tasks per second."""

    def __init__(self, console: NotesConsole, size: int | None) -> None:
        """`size` is the file's size in bytes; None if unknown."""
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
        """Write a line above the progress line, if possible. Any thread may call this. The text is not markup."""
        try:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        except OSError:  # a full disk, a terminal that has hung up
            silence(sys.stderr)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class ReadProgress:
    """A progress line that is removed at the end; nothing off a terminal.

    Args:
        stats: counts what is read.
        size: bytes in total, None if unknown.
    """

    def __init__(self, stats: ReadStats, size: int | None) -> None:
        console = NotesConsole()
        columns = (
            (BarColumn(), DownloadColumn(), TimeRemainingColumn()) if size else (SpinnerColumn(), DownloadColumn())
        )
        self._progress = Progress(
            TextColumn("reading"), *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._bar = self._progress.add_task("reading", total=size)
        self._stats = stats
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
            self._progress.update(self._bar, completed=self._stats.bytes)

    def spooled(self, size: int) -> None:
        """Show that `size` bytes of a pipe have been read; most of the time passes in waiting for them."""
        self._progress.update(self._bar, completed=size)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def note(line: str) -> None:
    """Write one line to standard error; ignore that it cannot be written."""
    try:
        typer.echo(line, err=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Discard all further output to a standard stream whose reader has left, as `head` does, or whose disk is full.

    Otherwise the interpreter would report an error when it flushes the stream at exit, and change the exit code.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_reader() -> None:
    """Checks without a write that standard output, if it is a pipe, still has a reader.

    Raises:
        BrokenPipeError: it is closed.
    """
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # standard output is closed, or an object of a test
        return
    poll = select.poll()
    poll.register(descriptor, 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, "nothing reads standard output")

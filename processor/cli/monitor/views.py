"""The views of `processor monitor` on a terminal and as lines. Each decides when it is drawn again."""

from __future__ import annotations

import time
from typing import Final, Protocol

import typer
from rich.console import Console
from rich.live import Live

from processor.cli.monitor.screen import line, screen
from processor.observe.lines import ReadStats
from processor.observe.watch import Watch

ON_A_TERMINAL: Final = 1.0
OFF_A_TERMINAL: Final = 10.0
"""Seconds between two views."""


class View(Protocol):
    """Shows a `Watch`."""

    def update(self) -> None:
        """Draw the state, if it is due."""

    def end(self) -> bool:
        """Handle the end of the logs. Return whether the view stays until the command is stopped."""


class Pace:
    """When the next view is due.

    Args:
        every: seconds between two.
        at_once: whether the first is due at once.
    """

    def __init__(self, every: float, at_once: bool) -> None:
        self._every = every
        self._next = time.monotonic() + (0.0 if at_once else every)

    def is_due(self) -> bool:
        """Return whether the next view is due. If so, the one after it is due `every` seconds later."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._every
        return True


class LineView:
    """A line at intervals, for output that is not a terminal."""

    def __init__(self, watch: Watch, stats: ReadStats, every: float | None) -> None:
        self._watch = watch
        self._stats = stats
        self._pace = Pace(every or OFF_A_TERMINAL, at_once=False)

    def update(self) -> None:
        """Print a line, if it is due."""
        if self._pace.is_due():
            typer.echo(line(self._watch, self._stats, present(self._watch)))

    def end(self) -> bool:
        """The summary follows."""
        return False


class TerminalView:
    """The whole terminal, redrawn in place."""

    def __init__(self, watch: Watch, stats: ReadStats, every: float | None, live: Live) -> None:
        self._watch = watch
        self._stats = stats
        self._live = live
        self._pace = Pace(every or ON_A_TERMINAL, at_once=True)

    def update(self) -> None:
        """Draw the screen, if it is due."""
        if self._pace.is_due():
            width, height = self._live.console.size
            drawn = screen(self._watch, self._stats, present(self._watch), width, height)
            self._live.update(drawn, refresh=True)

    def end(self) -> bool:
        """The summary follows."""
        return False


def on(console: Console) -> Live | None:
    """Return a live display on a terminal; None if the console is not a terminal on which one can draw."""
    is_live = console.is_terminal and not console.is_dumb_terminal
    return Live(console=console, screen=True, auto_refresh=False) if is_live else None


def present(watch: Watch) -> float:
    """Return the time to show, in seconds since the epoch: a log may come from a machine whose clock is ahead."""
    return max(time.time(), watch.now)

"""`processor monitor [FILES…]`: a live view of a fleet, from its logs alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from processor.cli.monitor import log_files
from processor.cli.monitor.report import print_text, read
from processor.cli.monitor.screen import line, screen
from processor.cli.stop import Stop
from processor.observe.follow import PipeTail, Tail, merged
from processor.observe.lines import ReadStats
from processor.observe.watch import Watch
from processor.options.option import SECONDS, Argument, Option

LAST_BYTES: Final = 64 * 1024 * 1024
"""Of a longer log only the end is read: an hour of a large fleet, in some seconds."""

TICK_SECONDS: Final = 0.2
"""Time between two looks at the files; a signal waits no longer."""

ON_A_TERMINAL: Final = 1.0
OFF_A_TERMINAL: Final = 10.0
"""Seconds between two views."""


def monitor(
    files: Annotated[
        list[str] | None,
        Argument(
            "JSON logs of processor run, followed while they grow and across rotation; - is standard input.",
            metavar="FILES",
            default_shown="standard input",
        ),
    ] = None,
    once: Annotated[bool, Option("Print a summary of the logs and exit.")] = False,
    every: Annotated[
        float | None,
        Option("Time between updates.", metavar=SECONDS, at_least=0.1, default_shown="1 on a terminal, 10 off one"),
    ] = None,
    window: log_files.Window = log_files.WINDOW_DEFAULT,
) -> int:
    """Watch a fleet live, from its JSON logs alone.

    Shows which partitions lag and which session each commit point waits
    for, since when and why; throughput, latency, failures, rebalances and
    restarts. Off a terminal it prints a line every ten seconds and a summary
    at the end. Ctrl-C ends it, as does the end of standard input.

    kubectl logs -f --prefix -l app=shop | processor monitor
    """
    stats, watch = ReadStats(), Watch(window)
    if once:
        read(files or [], watch, stats)
    else:
        with log_files.opened(files or [], stats, LAST_BYTES) as tails, Stop() as stop:
            Monitor(tails, watch, stats, every, stop).run()
        watch.finish()
    print_text(watch, stats)
    return 0


class Monitor:
    """Reads new events and updates the view at intervals.

    Args:
        tails: the logs.
        watch: takes the events.
        stats: counts what is read.
        every: seconds between two views; None for the default of the output.
        stop: set when a signal has come.
    """

    def __init__(self, tails: Sequence[Tail], watch: Watch, stats: ReadStats, every: float | None, stop: Stop) -> None:
        self._tails = tails
        self._watch = watch
        self._stats = stats
        self._stop = stop
        self._console = Console(highlight=False)
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._every = every or (ON_A_TERMINAL if self._is_live else OFF_A_TERMINAL)
        self._next_view = time.monotonic() + (0.0 if self._is_live else self._every)

    def run(self) -> None:
        """Run until all logs have ended or a signal comes."""
        if not self._is_live:
            self._loop()
            return
        with Live(console=self._console, screen=True, auto_refresh=False) as self._live:
            self._loop()

    def _loop(self) -> None:
        while not self._stop.is_asked():
            for event in merged(self._tails):
                self._watch.handle(event)
                self._show()
                if self._stop.is_asked():
                    return
            if all(tail.is_over for tail in self._tails):
                break
            self._show()
            self._wait()
        for tail in self._tails:
            for event in tail.last_line():
                self._watch.handle(event)

    def _wait(self) -> None:
        for tail in self._tails:
            if isinstance(tail, PipeTail) and not tail.is_over:
                tail.wait(TICK_SECONDS)
                return
        time.sleep(TICK_SECONDS)

    def _show(self) -> None:
        if time.monotonic() < self._next_view:
            return
        self._next_view = time.monotonic() + self._every
        now = max(time.time(), self._watch.now)
        if self._live is None:
            typer.echo(line(self._watch, self._stats, now))
            return
        width, height = self._console.size
        self._live.update(screen(self._watch, self._stats, now, width, height), refresh=True)

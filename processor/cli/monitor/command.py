"""`processor monitor [FILES…]`: a live view of a fleet, from its logs alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from processor.cli.monitor import log_files
from processor.cli.monitor.report import print_text, read
from processor.cli.monitor.screen import line, screen
from processor.observe.follow import PipeTail, Tail, merged
from processor.observe.lines import Passed
from processor.observe.watch import Watch
from processor.options.option import SECONDS, Argument, Option

LAST_BYTES: Final = 64 * 1024 * 1024
"""Of a long log only the end is looked at: an hour of a large fleet, read in some seconds."""

TICK_SECONDS: Final = 0.2
"""How long a look at the files, or a signal, may wait."""

ON_A_TERMINAL: Final = 1.0
OFF_A_TERMINAL: Final = 10.0


def monitor(
    files: Annotated[
        list[str] | None,
        Argument(
            "JSON logs of processor run, followed as they grow and are rotated; - is standard input.",
            metavar="FILES",
            default_shown="standard input",
        ),
    ] = None,
    once: Annotated[bool, Option("Print a summary of what the logs hold, and end.")] = False,
    every: Annotated[
        float | None,
        Option("Time between two views.", metavar=SECONDS, at_least=0.1, default_shown="1 on a terminal, 10 off one"),
    ] = None,
    window: log_files.Window = log_files.WINDOW_DEFAULT,
) -> int:
    """Watch a fleet live, by its JSON logs alone.

    Which partitions lag, and which session holds each commit point, since
    when and why; throughput, latency, failures, rebalances and restarts.
    Off a terminal a line every ten seconds, and a summary at the end.
    Ctrl-C ends it; so does the end of standard input.

    kubectl logs -f --prefix -l app=shop | processor monitor
    """
    passed, watch = Passed(), Watch(window)
    if once:
        read(files or [], watch, passed)
    else:
        with log_files.opened(files or [], passed, LAST_BYTES) as tails, Stop() as stop:
            Monitor(tails, watch, passed, every, stop).run()
        watch.finish()
    print_text(watch, passed)
    return 0


class Stop:
    """SIGINT and SIGTERM leave a note: the view is to be left in order."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            # In a script's background SIGINT is ignored, and is to stay so.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def is_asked(self) -> bool:
        """Whether it is time to end."""
        return self._asked

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


class Monitor:
    """Reads what comes, and shows it from time to time.

    Args:
        tails: where the logs come from.
        watch: what is known of the fleet.
        passed: what was read.
        every: seconds between two views, None for what suits the output.
        stop: tells when to end.
    """

    def __init__(self, tails: Sequence[Tail], watch: Watch, passed: Passed, every: float | None, stop: Stop) -> None:
        self._tails = tails
        self._watch = watch
        self._passed = passed
        self._stop = stop
        self._console = Console(highlight=False)
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._every = every or (ON_A_TERMINAL if self._is_live else OFF_A_TERMINAL)
        self._next_view = time.monotonic() + (0.0 if self._is_live else self._every)

    def run(self) -> None:
        """Until all logs have ended or somebody asks to stop."""
        if not self._is_live:
            self._loop()
            return
        with Live(console=self._console, screen=True, auto_refresh=False) as self._live:
            self._loop()

    def _loop(self) -> None:
        while not self._stop.is_asked():
            for heard in merged(self._tails):
                self._watch.hear(heard)
                self._show()
                if self._stop.is_asked():
                    return
            if all(tail.is_over for tail in self._tails):
                break
            self._show()
            self._wait()
        for tail in self._tails:
            for heard in tail.last_words():
                self._watch.hear(heard)

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
            typer.echo(line(self._watch, self._passed, now))
            return
        width, height = self._console.size
        self._live.update(screen(self._watch, self._passed, now, width, height), refresh=True)

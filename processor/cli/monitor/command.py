"""`processor monitor [FILES…]`: a live view of a fleet, from its logs alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

from rich.console import Console

from processor.cli.monitor import log_files, views
from processor.cli.monitor.report import print_text, read
from processor.cli.monitor.views import LineView, TerminalView, View
from processor.cli.output import note
from processor.cli.stop import Stop
from processor.errors import SettingsError
from processor.observe.follow import PipeTail, Tail, merged
from processor.observe.lines import ReadStats
from processor.observe.live.address import fault, listen, parse
from processor.observe.watch import Watch
from processor.options.option import SECONDS, Argument, Option

LAST_BYTES: Final = 64 * 1024 * 1024
"""The most bytes that are read of the end of a log: an hour of a large fleet, read in some seconds."""

TICK_SECONDS: Final = 0.2
"""Seconds between two checks of the files; the longest delay until a signal is handled."""


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
    serve: Annotated[
        str | None,
        Option(
            "Show the view as a web page at this address instead, 127.0.0.1 if only a port is given; needs the extra "
            "'web'.",
            metavar="HOST:PORT",
            rule=fault,
        ),
    ] = None,
    every: Annotated[
        float | None,
        Option(
            "Time between updates.",
            metavar=SECONDS,
            at_least=0.1,
            default_shown="1 on a terminal and on a page, 10 elsewhere",
        ),
    ] = None,
    window: log_files.Window = log_files.WINDOW_DEFAULT,
) -> int:
    """Watch a fleet live, from its JSON logs alone.

    Shows which partitions lag, and which session each commit point waits
    for, with start and reason; throughput, latency, failures, rebalances and
    restarts. If its output is not a terminal, it prints a line every ten seconds
    and a summary at the end. Ctrl-C ends it, as does the end of standard input.
    A page (--serve) is read-only, has no login, and stays until Ctrl-C.

    kubectl logs -f --prefix -l app.kubernetes.io/instance=shop --max-log-requests 20 | processor monitor
    """
    stats, watch = ReadStats(), Watch(window)
    if once and serve is not None:
        raise SettingsError("--once prints a summary and exits, --serve shows a page until Ctrl-C: give one of them")
    if once:
        read(files or [], watch, stats)
    else:
        with (
            log_files.opened(files or [], stats, LAST_BYTES) as tails,
            Stop() as stop,
            _view(serve, watch, stats, every) as view,
        ):
            Monitor(tails, watch, stop, view).run()
    print_text(watch, stats)
    return 0


@contextmanager
def _view(serve: str | None, watch: Watch, stats: ReadStats, every: float | None) -> Iterator[View]:
    if serve is not None:
        with _page(serve, watch, stats, every) as page:
            yield page
    elif (live := views.on(Console(highlight=False))) is None:
        yield LineView(watch, stats, every)
    else:
        with live:
            yield TerminalView(watch, stats, every, live)


@contextmanager
def _page(serve: str, watch: Watch, stats: ReadStats, every: float | None) -> Iterator[View]:
    # Here, because the extra `web` may be missing.
    from processor.cli.monitor.page_view import PageView
    from processor.observe.live.server import LiveServer

    listener = listen(parse(serve))
    with LiveServer(listener) as server:
        if not listener.is_loopback:
            note(f"warning: everyone who reaches {listener.url} can read the page; it has no login and no TLS")
        note(f"the live view is at {listener.url} until Ctrl-C")
        yield PageView(watch, stats, every, server)


class Monitor:
    """Reads new events and keeps the view up to date.

    Args:
        tails: the logs.
        watch: the state, to which the events are applied.
        stop: set when a signal has arrived.
        view: shows the watch.
    """

    def __init__(self, tails: Sequence[Tail], watch: Watch, stop: Stop, view: View) -> None:
        self._tails = tails
        self._watch = watch
        self._stop = stop
        self._view = view

    def run(self) -> None:
        """Run until all logs have ended or a signal arrives; with a view that stays, until a signal arrives."""
        self._follow()
        self._watch.finish()
        if not self._stop.is_asked() and self._view.end():
            while not self._stop.is_asked():
                self._view.update()
                time.sleep(TICK_SECONDS)

    def _follow(self) -> None:
        while not self._stop.is_asked():
            for event in merged(self._tails):
                self._watch.handle(event)
                self._view.update()
                if self._stop.is_asked():
                    return
            if all(tail.is_over for tail in self._tails):
                break
            self._view.update()
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

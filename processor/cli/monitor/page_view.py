"""The view of `processor monitor --serve`: a page in browsers, drawn while at least one shows it."""

from __future__ import annotations

from typing import Final

from processor.cli.monitor.views import Pace, present
from processor.cli.output import note
from processor.observe.lines import ReadStats
from processor.observe.live.sections import Observed, sections
from processor.observe.live.server import LiveServer
from processor.observe.watch import Watch

ON_A_PAGE: Final = 1.0
"""Seconds between two views."""


class PageView:
    """Sends the state of a `Watch` to the browsers.

    Args:
        watch: the state.
        stats: counts of what was read.
        every: seconds between two views; None for the default.
        server: serves the page.
    """

    def __init__(self, watch: Watch, stats: ReadStats, every: float | None, server: LiveServer) -> None:
        self._watch = watch
        self._stats = stats
        self._server = server
        self._is_over = False
        self._pace = Pace(every or ON_A_PAGE, at_once=True)

    def update(self) -> None:
        """Draw the page, if it is due and a browser shows it."""
        if self._server.is_stale or (self._server.is_watched and self._pace.is_due()):
            self._server.show(sections(Observed(self._watch, self._stats, present(self._watch), self._is_over)))

    def end(self) -> bool:
        """Show that the logs have ended, and return True: without the server, a browser would show an error."""
        self._is_over = True
        note("the log has ended; the page stays until Ctrl-C")
        return True

"""`FleetReports`: what a fleet logs about itself while it runs, and the metrics that it serves."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from processor.fleet.size import FleetSize
from processor.fleet.slots import Slots
from processor.options.bounds import bounds_of
from processor.settings import Settings
from processor.telemetry.cadence import Cadence, Repeats
from processor.telemetry.events import Emit, FleetStarted, FleetStats, FleetStopped
from processor.telemetry.prometheus import MetricsSnapshot, serving
from processor.telemetry.totals import Totals
from processor.version import installed_version


class FleetReports:
    """Belongs to the parent's thread, except for the metrics, which another thread reads."""

    def __init__(self, settings: Settings, app: str, slots: Slots, size: FleetSize, emit: Emit) -> None:
        self.totals = Totals()
        self.has_started = False
        """Whether a consumer has started. A fleet that fails before that prints one line, which says what is wrong."""
        self._settings = settings
        self._app = app
        self._slots = slots
        self._size = size
        self._emit = emit
        self._cadence = Cadence(settings.stats_interval)
        self._repeats = Repeats(self._cadence.repeat_seconds)
        self._began = time.monotonic()
        self.next_stats = self._began + settings.stats_interval
        """When the next statistics are due, in seconds of the monotonic clock."""

    def serving(self) -> AbstractContextManager[None]:
        """Serve the metrics, if the settings ask for it.

        Raises:
            LoadError: prometheus-client is missing.
            SettingsError: the metrics cannot be served at their address.
        """
        settings = self._settings
        return serving(settings.metrics_port, settings.metrics_host, settings.group, self._snapshot)

    def emit_started(self) -> None:
        """Logs the start of the fleet: its first consumer has started."""
        self.has_started = True
        bounds = bounds_of(self._settings.processes)
        self._emit(
            FleetStarted(
                app=self._app,
                topics=list(self._settings.topics),
                group=self._settings.group,
                processes=len(self._slots),
                processes_most=bounds.most,
                workers=bounds_of(self._settings.workers).least,
                version=installed_version(),
            )
        )
        self._emit(self.totals.stats([None] * len(self._slots)))

    def emit_stats_when_due(self) -> None:
        """Logs the fleet's statistics every `--stats-interval`, if they are new."""
        now = time.monotonic()
        if now < self.next_stats:
            return
        self.next_stats = now + self._settings.stats_interval
        if self.has_started:
            stats = self._stats()
            if self._repeats.is_due(stats, now):
                self._emit(stats)

    def emit_stopped(self, exit_code: int) -> None:
        """Logs the end of the fleet: its last consumer has exited."""
        if self.has_started:
            uptime = time.monotonic() - self._began
            self._emit(self.totals.stats([]))
            self._emit(
                FleetStopped(exit_code=exit_code, uptime_seconds=round(uptime, 3), restarts=self.totals.restarts)
            )

    def _stats(self) -> FleetStats:
        overdue = self._cadence.overdue_seconds(idle=False)
        silent = sum(slot.is_silent(overdue) for slot in self._slots)
        latest = [child.stats for child in self._slots.children]
        return self.totals.stats(latest, silent=silent, at_limit=self._size.limit is not None)

    def _snapshot(self) -> MetricsSnapshot:
        children = {slot.index: child for slot in self._slots if (child := slot.child) is not None}
        return MetricsSnapshot(
            self._stats(),
            {index: child.stats for index, child in children.items() if child.stats is not None},
            [partition for child in children.values() for partition in child.partitions],
        )

"""`WorkerCount`: how many workers a consumer has, and why."""

from __future__ import annotations

import threading

from processor.runtime.crew import Crew
from processor.telemetry.events import ConsumerWorkersChanged, ConsumerWorkersLimited, Emit


class WorkerCount:
    """The configured number, unless the control topic orders another one. Any thread may call it."""

    def __init__(self, configured: int, crew: Crew, emit: Emit) -> None:
        self._configured = configured
        self._crew = crew
        self._emit = emit
        self._lock = threading.Lock()

    def order(self, count: int, by: str) -> None:
        """Has `count` workers until `release`."""
        with self._lock:
            self._change(count, f"ordered by {by}")

    def release(self) -> None:
        """Has the configured number again."""
        with self._lock:
            self._change(self._configured, "the order has ended")

    def _change(self, count: int, reason: str) -> None:
        before = self._crew.size
        if count == before:
            return
        refusal = self._crew.resize(count)
        if refusal is not None:
            self._emit(ConsumerWorkersLimited(wanted=count, workers=self._crew.size, error=refusal))
        if self._crew.size != before:
            self._emit(ConsumerWorkersChanged(workers=self._crew.size, workers_before=before, reason=reason))

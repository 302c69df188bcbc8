"""`Stopping`: whether a consumer was asked to stop, why, and how fast."""

from __future__ import annotations

from processor.telemetry.events import ConsumerRecycling, Emit


class Stopping:
    """Written by any thread, signal handlers too, so without a lock; read by the poller's thread."""

    def __init__(self, emit: Emit) -> None:
        self.reason: str | None = None
        """None while nothing has asked for a stop; the first reason stays."""
        self.at_once = False
        """Running tasks are not waited for."""
        self.recycling = False
        """A handler cannot be stopped: another process should take this one's place."""
        self._emit = emit

    @property
    def is_asked(self) -> bool:
        """Whether the consumer is to stop."""
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Asks for an orderly stop."""
        self.reason = self.reason or reason

    def ask_at_once(self, reason: str) -> None:
        """Asks for a stop that waits for no running task."""
        self.ask(reason)
        self.at_once = True

    def recycle(self, reason: str) -> None:
        """Asks for an orderly stop, after which another process takes this one's place."""
        if not self.recycling:
            self.recycling = True
            self._emit(ConsumerRecycling(reason=reason))
            self.ask(reason)

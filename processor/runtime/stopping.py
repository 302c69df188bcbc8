"""`Stopping`: whether a consumer was asked to stop, why, and how fast."""

from __future__ import annotations

from processor.telemetry.events import ConsumerRecycling, Emit


class Stopping:
    """Any thread writes it, also a signal handler, and so without a lock. The poller's thread reads it."""

    def __init__(self, emit: Emit) -> None:
        self.reason: str | None = None
        """The reason for the stop; None before one is requested. The first reason stays."""
        self.is_requested = False
        """Whether a stop was requested from outside: the consumer does not end by itself alone."""
        self.at_once = False
        """Whether to stop without waiting for running tasks."""
        self.for_good = False
        """Whether no other process takes this one's place, so that the group must not wait for one."""
        self.recycling = False
        """Whether another process should take this one's place, because a handler cannot be stopped."""
        self._emit = emit

    @property
    def is_asked(self) -> bool:
        """Whether the consumer is to stop."""
        return self.reason is not None

    def ask(self, reason: str, *, for_good: bool = False) -> None:
        """Requests an orderly stop. If one is requested already, `for_good` still applies to it."""
        self.is_requested = True
        self.for_good = self.for_good or for_good
        self.reason = self.reason or reason

    def ask_at_once(self, reason: str) -> None:
        """Requests a stop that does not wait for running tasks."""
        self.ask(reason)
        self.at_once = True

    def recycle(self, reason: str) -> None:
        """Requests an orderly stop, after which another process takes this one's place."""
        if not self.recycling:
            self.recycling = True
            self._emit(ConsumerRecycling(reason=reason))
            self.reason = self.reason or reason

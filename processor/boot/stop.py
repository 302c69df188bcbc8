"""What asks a consumer to stop: signals, the fleet's parent, or its absence; also before there is a consumer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol


class Stoppable(Protocol):
    """A consumer, as far as it can be asked to stop; from signal handlers and other threads too."""

    def request_stop(self, reason: str) -> None:
        """Drain, commit, leave."""

    def request_stop_now(self, reason: str) -> None:
        """End at once."""


class Stop:
    """Without a lock: it is called from signal handlers, which interrupt whoever holds one.

    Each order is noted first and then passed on, and `attach` notes the consumer first and then looks for
    orders: whichever comes second sees the other. A consumer may hear of one order twice.
    """

    def __init__(self, leave: Callable[[], object] = lambda: os._exit(0)) -> None:
        """`leave` ends the process; it is called for a stop that comes before there is a consumer."""
        self._leave = leave
        self._consumer: Stoppable | None = None
        self._signals = 0
        self._reason: str | None = None
        self._reason_now: str | None = None

    def attach(self, consumer: Stoppable) -> None:
        """From now on `consumer` hears of it; of what was asked for before, at once."""
        self._consumer = consumer
        self._pass_on()

    def drain(self, reason: str) -> None:
        """Asks for an orderly stop. Before there is a consumer nothing has begun, and the process ends."""
        self._reason = self._reason or reason
        self._pass_on()

    def now(self, reason: str) -> None:
        """Asks for an end at once."""
        self._reason_now = self._reason_now or reason
        self._pass_on()

    def signalled(self, name: str) -> None:
        """The first signal drains, each one after it ends at once."""
        self._signals += 1
        if self._signals == 1:
            self.drain(name)
        else:
            self.now(name)

    def _pass_on(self) -> None:
        consumer = self._consumer
        if consumer is None:
            self._leave()
        elif self._reason_now is not None:
            consumer.request_stop_now(self._reason_now)
        elif self._reason is not None:
            consumer.request_stop(self._reason)

"""`Stop`: passes stop requests to a consumer, including those that arrive before the consumer exists."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol


class Stoppable(Protocol):
    """The part of a consumer that stops it. Safe to call from signal handlers and other threads."""

    def request_stop(self, reason: str, *, for_good: bool = False) -> None:
        """Requests a clean stop: drain, commit, leave the group; `for_good` if no successor takes its place."""

    def request_stop_now(self, reason: str) -> None:
        """Requests an immediate end."""


class Stop:
    """Stop requests from signals, from the fleet's parent, or because the parent is gone.

    It uses no lock, since a signal handler may interrupt the thread that holds it. A request is stored first and then
    passed on; `attach` stores the consumer first and then looks for requests. Whichever comes second sees the other.
    The consumer may receive a request twice.
    """

    def __init__(self, leave: Callable[[], object] = lambda: os._exit(0)) -> None:
        """`leave` ends the process. It is called for a stop request that arrives before there is a consumer."""
        self._leave = leave
        self._consumer: Stoppable | None = None
        self._signals = 0
        self._reason: str | None = None
        self._reason_now: str | None = None
        self._for_good = False

    def attach(self, consumer: Stoppable) -> None:
        """Passes requests to `consumer` from now on, beginning with those that were made before."""
        self._consumer = consumer
        self._pass_on()

    def drain(self, reason: str, *, for_good: bool = False) -> None:
        """Requests a clean stop. Before there is a consumer there is nothing to stop, and the process ends.

        With `for_good`, no successor takes its place. That also applies to a stop that was requested before.
        """
        self._for_good = self._for_good or for_good
        self._reason = self._reason or reason
        self._pass_on()

    def now(self, reason: str) -> None:
        """Requests an end at once."""
        self._reason_now = self._reason_now or reason
        self._pass_on()

    def on_signal(self, name: str) -> None:
        """Handles a signal: the first one requests a clean stop, any further one an end at once."""
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
            consumer.request_stop(self._reason, for_good=self._for_good)

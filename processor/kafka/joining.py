"""`Joining`: reports how long a consumer has been waiting to join its group.

The client tries to join without end and mostly without a log line, while the coordinator waits for a crashed member,
does not respond, or refuses.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from processor.telemetry.events import ConsumerJoining, Emit

REMIND_SECONDS: Final = 10.0
"""Time between two reports. Joining takes less than a second, or a few seconds if members hand partitions over."""

UNANSWERED: Final = "the coordinator has not responded: it waits for another member, or is unreachable"


class Joining:
    """The wait from a subscription, or from the loss of membership, until the assignment, which may be empty."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._began: float | None = None
        self._next_reminder = 0.0
        self._reason = UNANSWERED
        self.has_ended = False
        """True once the consumer has joined the group."""

    def begin(self) -> None:
        """Begins the wait, unless it has begun."""
        if self._began is None:
            self._began = monotonic()
            self._next_reminder = self._began + REMIND_SECONDS
            self._reason = UNANSWERED

    def refuse(self, reason: str) -> None:
        """Notes that the coordinator has refused the consumer, and the client retries. It is reported at once, then
        repeatedly.
        """
        if reason != self._reason:
            self._reason = reason
            self._next_reminder = 0.0

    def end(self) -> None:
        """Ends the wait: the consumer has joined the group."""
        self._began = None
        self.has_ended = True

    def remind(self) -> None:
        """Reports the wait if a report is due."""
        if self._began is None or (now := monotonic()) < self._next_reminder:
            return
        self._next_reminder = now + REMIND_SECONDS
        self._emit(ConsumerJoining(seconds=round(now - self._began, 3), reason=self._reason))

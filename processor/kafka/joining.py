"""`Joining`: reports that the group has not let a consumer in, for as long as it does not.

The client tries to join without end and mostly without a log line: while a coordinator waits for a dead member, does
not answer, or refuses.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from processor.telemetry.events import ConsumerJoining, Emit

REMIND_SECONDS: Final = 10.0
"""Between two reports. Joining takes some tenths of a second, and some seconds where members hand partitions over."""

UNANSWERED: Final = "the coordinator has not answered: it waits for another member, or it is away"


class Joining:
    """A wait for the group, from the subscription or a loss until partitions are assigned, be they none."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._began: float | None = None
        self._next_reminder = 0.0
        self._reason = UNANSWERED
        self.has_ended = False
        """Whether the group has let this consumer in before."""

    def begin(self) -> None:
        """The consumer tries to join."""
        if self._began is None:
            self._began = monotonic()
            self._next_reminder = self._began + REMIND_SECONDS
            self._reason = UNANSWERED

    def refuse(self, reason: str) -> None:
        """The coordinator has refused it, and the client tries again: reported at once, then with the reminders."""
        if reason != self._reason:
            self._reason = reason
            self._next_reminder = 0.0

    def end(self) -> None:
        """The group has let the consumer in."""
        self._began = None
        self.has_ended = True

    def remind(self) -> None:
        """Reports the wait where it is time to."""
        if self._began is None or (now := monotonic()) < self._next_reminder:
            return
        self._next_reminder = now + REMIND_SECONDS
        self._emit(ConsumerJoining(seconds=round(now - self._began, 3), reason=self._reason))

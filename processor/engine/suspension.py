"""`Suspension`: suspends a handler while one of its dependencies is unavailable.

| state | attempts that may run |
| --- | --- |
| calm | any number |
| suspended | one now and then, the *probe*, after a delay that grows |
| recovering | one, and one more with each success, until no task waits any more |
"""

from __future__ import annotations

from processor.engine.retry import backoff, spread

SUSPEND_AFTER = 10
"""A handler is suspended after this many attempts in a row ended in an outage. Fewer could be a few bad connections
among many good ones."""


class Suspension:
    """Whether one handler is suspended.

    Args:
        first: seconds between the suspension and the first probe.
        most: the longest time between two probes, in seconds.
    """

    def __init__(self, first: float, most: float) -> None:
        self.allowance: int | None = None
        """How many attempts may run; None is any number, 0 is suspended."""
        self.row = 0
        """Attempts in a row that ended in an outage, without probes."""
        self.since = 0.0
        """When the first of them ended."""
        self.suspended_at = 0.0
        self.probes = 0
        """Number of probes since the handler was suspended."""
        self.error_type = self.error = ""
        """The error of the last attempt that ended in an outage."""
        self.due = 0.0
        """When the next probe may begin, while suspended."""
        self._first = first
        self._most = most

    @property
    def is_suspended(self) -> bool:
        """Whether nothing but the probe may begin."""
        return self.allowance == 0

    def fail(self, now: float, jitter: float) -> bool:
        """Record an attempt that ended in an outage. Return whether this suspends the handler, which was not before.

        While it is suspended, only the probe's end counts. `jitter` is from 0 to 1.
        """
        if self.is_suspended:
            self.probes += 1
            self._delay(now, jitter)
            return False
        if not self.row:
            self.since = now
        self.row += 1
        if self.row < SUSPEND_AFTER:
            return False
        self.allowance, self.suspended_at, self.probes = 0, now, 0
        self._delay(now, jitter)
        return True

    def succeed(self) -> bool:
        """Record a success; while the handler is suspended, that of the probe. Return whether this resumes it."""
        self.row = 0
        if self.is_suspended:
            self.probes += 1
            self.allowance = 1
            return True
        if self.allowance is not None:
            self.allowance += 1
        return False

    def pass_over(self) -> None:
        """Record an attempt that failed for another reason: the row ends. A suspension stays, with its probe due."""
        if not self.is_suspended:
            self.row = 0

    def recover(self) -> None:
        """Record that tasks no longer wait: a recovering handler is calm again."""
        if not self.is_suspended:
            self.allowance = None

    def _delay(self, now: float, jitter: float) -> None:
        self.due = now + spread(backoff(self.probes + 1, self._first, self._most), jitter, self._most)

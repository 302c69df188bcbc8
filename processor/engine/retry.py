"""What follows from a failed attempt: another one at a later time, or a dead letter."""

from __future__ import annotations

from typing import NamedTuple

from processor.engine.outcome import Cause, Failed

RETRIED = frozenset({Cause.FAILED, Cause.TIMED_OUT})
"""The causes that another attempt may not meet."""


class Setback(NamedTuple):
    """What keeps a task from being settled: it failed, was deferred, or its output was not accepted."""

    error_type: str
    error: str
    at: float
    """When that was, in seconds of the clock that the caller keeps."""
    due: float
    """When it is tried again, of the same clock; `at` where it is not."""


class Policy(NamedTuple):
    """How often a task is attempted, and how long its session waits between attempts, in seconds."""

    max_attempts: int
    backoff: float
    backoff_max: float

    def delay_after(self, failed: Failed, attempt: int, jitter: float) -> float | None:
        """Return the seconds until the next attempt, or None where the task becomes a dead letter.

        Capped exponential backoff.

        Args:
            failed: how the attempt failed.
            attempt: its number, 1 for the first.
            jitter: from 0 to 1. It spreads the delay over three quarters to five quarters of itself, so that sessions
                that failed together do not return together.
        """
        if failed.cause not in RETRIED or attempt >= self.max_attempts:
            return None
        return spread(backoff(attempt, self.backoff, self.backoff_max), jitter, self.backoff_max)


def backoff(failures: int, first: float, most: float) -> float:
    """Return `first` seconds after one failure, doubled with each further one, at most `most`."""
    return min(first * 2.0 ** min(failures - 1, 64), most)


def spread(delay: float, jitter: float, most: float) -> float:
    """Return `delay` moved by up to a quarter of itself, by `jitter` from 0 to 1; at most `most`."""
    return min(delay * (0.75 + jitter / 2), most)

"""Decides what follows a failed attempt: a retry after a delay, or a dead letter."""

from __future__ import annotations

from typing import NamedTuple

from processor.engine.outcome import Cause, Failed

RETRIED = frozenset({Cause.FAILED, Cause.TIMED_OUT})
"""Causes of failure for which a retry may succeed."""


class Setback(NamedTuple):
    """Why a task is not settled: its attempt failed, it was deferred, or its output was not accepted."""

    error_type: str
    error: str
    at: float
    """When it happened, in seconds of the caller's clock."""
    due: float
    """When the task is retried, in seconds of the same clock; equal to `at` if it is not."""


class Policy(NamedTuple):
    """Maximum number of attempts, and the delays between them in seconds."""

    max_attempts: int
    backoff: float
    backoff_max: float

    def delay_after(self, failed: Failed, attempt: int, jitter: float) -> float | None:
        """Return the seconds until the next attempt, or None if the task becomes a dead letter.

        Capped exponential backoff.

        Args:
            failed: how the attempt failed.
            attempt: its number, from 1.
            jitter: from 0 to 1. It varies the delay by up to a quarter, so that sessions that failed together are not
                retried together.
        """
        if failed.cause not in RETRIED or attempt >= self.max_attempts:
            return None
        return spread(backoff(attempt, self.backoff, self.backoff_max), jitter, self.backoff_max)


def backoff(failures: int, first: float, most: float) -> float:
    """Return the delay after a number of failures: `first` seconds, doubled with each further failure, up to `most`."""
    return min(first * 2.0 ** min(failures - 1, 64), most)


def spread(delay: float, jitter: float, most: float) -> float:
    """Return `delay` varied by up to a quarter, by `jitter` from 0 to 1, and at most `most`."""
    return min(delay * (0.75 + jitter / 2), most)

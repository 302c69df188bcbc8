"""What follows from a failed attempt: another one at a later time, or a dead letter."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Cause(enum.Enum):
    """How an attempt failed."""

    FAILED = "the handler raised an exception"
    TIMED_OUT = "its time was over, and the handler ended when told"
    REJECTED = "the handler says that no attempt can succeed, or its result cannot be written"
    UNKNOWN = "no handler is registered for the task's name"
    UNDECODABLE = "the value cannot be read"
    STUCK = "its time was over, and the handler went on"
    POSTPONED = "what is needed to read the value cannot be had now; there was no attempt"


RETRIED = frozenset({Cause.FAILED, Cause.TIMED_OUT})


class Failure(NamedTuple):
    """A failed attempt, as plain text: the exception and its frames are let go with the attempt."""

    cause: Cause
    error_type: str
    """The exception's name with its module."""
    message: str
    traceback: str | None = None
    retry_in: float = 0.0
    """Seconds until a postponed task is worth another look."""

    @property
    def attempted(self) -> bool:
        """Whether there was an attempt at all."""
        return self.cause is not Cause.POSTPONED


class Setback(NamedTuple):
    """What keeps a task from being settled: it failed, cannot be read yet, or what is sent of it was not taken."""

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

    def delay_after(self, failure: Failure, attempt: int, jitter: float) -> float | None:
        """Seconds until the next attempt after the failed `attempt` (1 for the first); None: dead letter.

        Capped exponential backoff. `jitter` from 0 to 1 spreads the delay over three quarters to five quarters of
        itself, so that sessions that failed together do not return together. What is postponed is never given up,
        and returns not before it is worth another look, but up to half as late again.
        """
        if not failure.attempted:
            return failure.retry_in * (1 + jitter / 2)
        if failure.cause not in RETRIED or attempt >= self.max_attempts:
            return None
        return spread(backoff(attempt, self.backoff, self.backoff_max), jitter, self.backoff_max)


def backoff(failures: int, first: float, most: float) -> float:
    """`first` seconds after one failure, doubled with each further one, at most `most`."""
    return min(first * 2.0 ** min(failures - 1, 64), most)


def spread(delay: float, jitter: float, most: float) -> float:
    """`delay` moved by up to a quarter of itself, by `jitter` from 0 to 1; at most `most`."""
    return min(delay * (0.75 + jitter / 2), most)

"""Decides what follows a failed attempt: a retry after a delay, or a dead letter."""

from __future__ import annotations

from typing import NamedTuple

from processor.engine.outcome import Cause, Failed, Verdict

RETRIED = frozenset({Cause.FAILED, Cause.TIMED_OUT, Cause.INTERRUPTED})
"""Causes of failure for which a retry may succeed. An interrupted task is retried if its cancellation has ended
meanwhile."""


PAUSED = "processor.Paused"
"""The error type of a task that does not begin because an operator has paused it."""


class Setback(NamedTuple):
    """Why a task is not settled: its attempt failed, it was deferred, or its output was not accepted."""

    error_type: str
    error: str
    at: float
    """When it happened, in seconds of the caller's clock."""
    due: float
    """When the task is retried, in seconds of the same clock; equal to `at` if it is not."""
    outages: int = 0
    """Attempts in a row that ended because a dependency of the handler was unavailable."""


ErrorTypes = tuple[type[BaseException], ...]


class ErrorRules(NamedTuple):
    """What the exceptions of a handler mean for further attempts: `reject_on` first, then `outage_on`, then `retry_on`.

    An exception of none of these types rejects the task.
    """

    retry_on: ErrorTypes = (BaseException,)
    reject_on: ErrorTypes = ()
    outage_on: ErrorTypes = ()

    def verdict(self, error: BaseException) -> Verdict:
        """Return the verdict on an exception that a handler raised."""
        if isinstance(error, self.reject_on):
            return Verdict.REJECT
        if isinstance(error, self.outage_on):
            return Verdict.OUTAGE
        return Verdict.RETRY if isinstance(error, self.retry_on) else Verdict.REJECT


DEFAULT_RULES = ErrorRules()
"""Every exception is retried."""


class Policy(NamedTuple):
    """Maximum number of attempts, and the delays between them in seconds."""

    max_attempts: int
    backoff: float
    backoff_max: float

    def with_own(self, max_attempts: int | None, backoff: float | None, backoff_max: float | None) -> Policy:
        """Return the policy of a handler that sets some of these values itself; None for those that it does not set.

        A handler's own first delay is never cut to the consumer's longest delay.
        """
        most = max(self.backoff_max, backoff or 0.0) if backoff_max is None else backoff_max
        return Policy(max_attempts or self.max_attempts, self.backoff if backoff is None else backoff, most)

    def delay_after(self, failed: Failed, attempt: int, jitter: float) -> float | None:
        """Return the seconds until the next attempt, or None if the task becomes a dead letter.

        Capped exponential backoff, unless the handler set the time itself.

        Args:
            failed: how the attempt failed.
            attempt: its number, from 1.
            jitter: from 0 to 1. It varies the delay by up to a quarter, so that sessions that failed together are not
                retried together.
        """
        if failed.cause not in RETRIED or failed.verdict is Verdict.REJECT:
            return None
        if failed.counts and attempt >= self.max_attempts:
            return None
        if failed.retry_in is not None:
            return failed.retry_in
        return self.delay(attempt, jitter)

    def delay(self, failures: int, jitter: float) -> float:
        """Return the seconds until the next attempt after this many failures. `jitter` is from 0 to 1."""
        return spread(backoff(failures, self.backoff, self.backoff_max), jitter, self.backoff_max)


def backoff(failures: int, first: float, most: float) -> float:
    """Return the delay after a number of failures: `first` seconds, doubled with each further failure, up to `most`."""
    return min(first * 2.0 ** min(failures - 1, 64), most)


def spread(delay: float, jitter: float, most: float) -> float:
    """Return `delay` varied by up to a quarter, by `jitter` from 0 to 1, and at most `most`."""
    return min(delay * (0.75 + jitter / 2), most)

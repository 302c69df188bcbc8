"""How an attempt ended, as a value."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from processor.engine.cancels import Cancel


class Cause(enum.Enum):
    """Why an attempt failed."""

    FAILED = "the handler raised an exception"
    TIMED_OUT = "the attempt reached its time limit, and the handler ended when it was interrupted"
    REJECTED = "the handler rejected the task, or its result cannot be encoded"
    UNKNOWN = "no handler is registered for the task's name"
    UNDECODABLE = "the value cannot be decoded"
    STUCK = "the attempt reached its time limit, and the handler kept running although it was interrupted"
    EXPIRED = "the task expired before it began"
    INVALID = "a header that sets the task's terms cannot be read"
    UNMET = "a task that it depends on is a dead letter"
    CANCELLED = "an operator has cancelled the task, and it did not begin"
    INTERRUPTED = "an operator has cancelled the task, and its handler was interrupted"
    DEADLY = "processes that ran it have died"


UNATTEMPTED = frozenset({Cause.EXPIRED, Cause.INVALID, Cause.UNMET, Cause.CANCELLED, Cause.DEADLY})
"""Causes for which a task fails without an attempt."""


class Verdict(enum.Enum):
    """What an exception means for further attempts."""

    RETRY = "another attempt may succeed"
    REJECT = "no other attempt can succeed"
    OUTAGE = "a dependency of the handler is unavailable: the task is attempted until it succeeds"


class Succeeded(NamedTuple):
    """The handler returned."""

    value: Any


class Failed(NamedTuple):
    """The task failed, most often by an attempt. Plain text: the exception and its frames are released with it."""

    cause: Cause
    error_type: str
    """The exception's name with its module."""
    message: str
    traceback: str | None = None
    verdict: Verdict = Verdict.RETRY
    retry_in: float | None = None
    """Seconds until the next attempt, as the handler set them; None leaves them to the backoff."""
    counts: bool = True
    """Whether it counts towards the maximum number of attempts."""

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return self.cause not in UNATTEMPTED


class Deferred(NamedTuple):
    """There was no attempt: the schema of the value is unavailable for now. No attempt is used up."""

    error_type: str
    """The exception's name with its module."""
    message: str
    retry_in: float
    """Seconds until the schema is worth another request."""

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False

    def delay(self, jitter: float) -> float:
        """Return the seconds until the next try: from `retry_in` to one and a half times that.

        Args:
            jitter: from 0 to 1. It spreads sessions that were deferred together.
        """
        return self.retry_in * (1 + jitter / 2)


class Held(NamedTuple):
    """There was no attempt: the handler is suspended, or has reached a limit of its own. No attempt is used up."""

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False


class Paused(NamedTuple):
    """There was no attempt: an operator has paused the tasks of this name. No attempt is used up."""

    name: str

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False


class Cancelled(NamedTuple):
    """There was no attempt: an operator has cancelled the task."""

    cancel: Cancel
    task: Any

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False


class Gathered(NamedTuple):
    """There was no attempt: the task is attempted with others, in a batch of its handler."""

    task: Any
    handler: Any

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False


class Arrived(NamedTuple):
    """There was no attempt: the record is not a task, but one of a join."""

    what: Any

    @property
    def is_attempt(self) -> bool:
        """Return whether the task was attempted."""
        return False


class Dropped(NamedTuple):
    """The watchdog gave up the attempt as stuck, and settled its task. What its handler returns no longer counts."""


Outcome = Succeeded | Failed | Deferred | Held | Paused | Cancelled | Gathered | Arrived | Dropped

"""The exceptions that end an attempt early, and those that a dead letter names as its error.

Each is public as `processor.NAME`, the name that a dead letter has for it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any


class Reject(Exception):
    """Raised by a handler: the task can never succeed. It is dead-lettered without another attempt."""

    __module__ = "processor"


class Retry(Exception):
    """Raised by a handler: the task is attempted again after a time that the handler sets.

    Args:
        message: the reason, for the log and for a dead letter.
        after: seconds until the next attempt, 0 or more.
        counts: whether this attempt counts towards `--max-attempts`, after which the task is dead-lettered.

    Raises:
        ValueError: `after` is not such a number, or `counts` is not a boolean.
    """

    __module__ = "processor"

    def __init__(self, message: str = "", *, after: float, counts: bool = True) -> None:
        given: object = after  # whatever the handler computed
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
            raise ValueError(f"Retry(after=…) must be a number of seconds from 0 on, not {after!r}")
        if not isinstance(counts, bool):
            raise ValueError(f"Retry(counts=…) must be True or False, not {counts!r}")
        super().__init__(message)
        self.after = float(after)
        self.counts = counts

    def __str__(self) -> str:
        text = super().__str__() or f"another attempt after {self.after:g} s"
        cause = self.__cause__
        return text if cause is None else f"{text} ({type(cause).__name__}: {cause})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it picklable: a handler may run its work in another process, which pickles exceptions."""
        return partial(type(self), after=self.after, counts=self.counts), self.args


class Interrupt(BaseException):
    """An exception that interrupts a running handler."""


class TaskTimeout(Interrupt):
    """Raised inside a handler when its attempt exceeds its time limit.

    Like `asyncio.CancelledError` it is not an `Exception`, so that a handler's `except Exception` does not catch it.
    It may be raised at any line of the handler, but not inside a call that blocks in C.
    """

    __module__ = "processor"


class TaskCancelled(Interrupt):
    """Raised inside a handler whose task an operator cancels while it runs (`processor control cancel`).

    Like `TaskTimeout` it is not an `Exception`, may be raised at any line, and never inside a call that blocks in C. A
    coroutine is cancelled instead.
    """

    __module__ = "processor"

    is_own = False
    """Whether the handler raised it by itself. That is a failed attempt."""


class Cancelled(Exception):
    """The error of a dead-lettered task that an operator has cancelled (`processor control cancel --dead-letter`)."""

    __module__ = "processor"


class HandlerStuck(Exception):
    """The error of a dead-lettered task whose handler kept running after `TaskTimeout` and its grace period."""

    __module__ = "processor"


class UnknownTask(Exception):
    """The error of a dead-lettered task whose name has no handler."""

    __module__ = "processor"


class InvalidHeader(Exception):
    """The error of a dead-lettered task with an invalid `task-` header. The task was not attempted."""

    __module__ = "processor"


class DependencyFailed(Exception):
    """The error of a dead-lettered task whose predecessor in a chain or a group is a dead letter."""

    __module__ = "processor"


class Expired(Exception):
    """The error of a dead-lettered task that expired before it began. `dlq-attempts` counts its earlier attempts."""

    __module__ = "processor"


class ProcessDied(Exception):
    """The error of a dead-lettered task whose consumer processes died while they ran it. `dlq-attempts` counts the
    deaths.
    """

    __module__ = "processor"

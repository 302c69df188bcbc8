"""Handlers of batches: when a batch is called, and how a handler reports that some of its tasks failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from processor.engine.loan import BatchRule
from processor.errors import SettingsError
from processor.handlers.policy import PolicyKeywords, check_names

MOST_TASKS = 100_000
"""The largest batch. A consumer holds all of its tasks in memory."""

_SINGLE: Final = ("concurrency", "rate")
"""Keywords for single tasks only."""


class BatchError(Exception):
    """Raised by a batch handler: the given tasks failed, and all others succeeded.

    Args:
        errors: the exception of each task that failed, by its index in the batch.

    Raises:
        ValueError: there is no exception, or an index is not an integer of 0 or more.
    """

    __module__ = "processor"

    def __init__(self, errors: Mapping[int, BaseException]) -> None:
        given: dict[Any, object] = dict(errors)
        if not given:
            raise ValueError("BatchError names no task: return where all have succeeded")
        for index, error in given.items():
            if isinstance(index, bool) or not isinstance(index, int) or index < 0:
                raise ValueError(f"BatchError takes indices of the batch, 0 for its first task, not {index!r}")
            if not isinstance(error, BaseException):
                raise ValueError(f"BatchError takes an exception for each index, not {error!r} for {index}")
        super().__init__(errors)
        self.errors = dict(errors)

    def __str__(self) -> str:
        index, error = next(iter(self.errors.items()))
        others = f" and {len(self.errors) - 1} more" if len(self.errors) > 1 else ""
        return f"task {index} of the batch{others}: {type(error).__name__}: {error}"


def check_batch_keywords(given: Mapping[str, object]) -> None:
    """Check that a batch allows each keyword that is given: `concurrency` and `rate` are only for single tasks.

    Raises:
        SettingsError: a keyword is not allowed.
    """
    for name in _SINGLE:
        if given.get(name) is not None:
            raise SettingsError(f"a batch has no keyword {name}: its size and --workers limit how much runs at once")
    check_names(
        (name for name in given if name not in _SINGLE),
        "a batch",
        ["size", "wait", "sessions", *(name for name in PolicyKeywords.__annotations__ if name not in _SINGLE)],
    )


def batch_rule(size: int, wait: float, sessions: int | None) -> BatchRule:
    """Return when a batch is called, from the keywords of `@app.batch`.

    Raises:
        SettingsError: one of them cannot be used.
    """
    given: tuple[object, object, object] = (size, wait, sessions)
    if isinstance(size, bool) or not isinstance(given[0], int) or not 1 <= size <= MOST_TASKS:
        raise SettingsError(f"size must be an integer from 1 to {MOST_TASKS}, not {size!r}")
    is_number = isinstance(given[1], int | float) and not isinstance(wait, bool)
    if not is_number or not math.isfinite(wait) or wait < 0:
        raise SettingsError(f"wait must be 0 or more seconds, not {wait!r}")
    if given[2] is not None and (isinstance(sessions, bool) or sessions != 1):
        raise SettingsError(f"sessions must be 1, for one session a batch, or None, for any number, not {sessions!r}")
    return BatchRule(size, float(wait), by_session=sessions == 1)

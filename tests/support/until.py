"""A bounded wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    what: str | Callable[[], object] = "it happens",
    seconds: float = 120.0,
    pause: float = 0.005,
) -> T:
    """Calls `condition` until its result is true, and returns the result.

    Args:
        condition: the condition to wait for.
        what: the expected condition, or a function that describes the actual state.
        seconds: how long to wait.
        pause: seconds between two calls.

    Raises:
        AssertionError: the condition is not fulfilled within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause)
    return answer

"""A wait for what happens elsewhere, with a bound."""

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
    """Asks until the answer is true, and returns it.

    Args:
        condition: the question.
        what: what should happen, or a function that describes what is the case instead.
        seconds: how long it may take.
        pause: seconds between two questions.

    Raises:
        AssertionError: it has not happened within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause)
    return answer

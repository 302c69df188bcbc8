"""A wait for what happens elsewhere, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T | None], what: str = "it happens", seconds: float = 20.0, pause: float = 0.005
) -> T:
    """Asks until the answer is true, with a `pause` (seconds) between two questions, and returns it.

    Raises:
        AssertionError: it is not within `seconds`; the message says `what` should have been.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return answer

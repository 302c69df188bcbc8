"""`Terms`: what a producer sets for a task: its urgency, its earliest start and its latest start."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from processor.engine.record import Headers


class Terms(NamedTuple):
    """The terms of one task. Times are in seconds since the epoch."""

    priority: int = 0
    """0 to 9; more is more urgent."""
    not_before: float = -inf
    expires: float = inf
    """The task is not begun after this time."""
    fault: str | None = None
    """Why a header cannot be read. The task is not attempted then, and the other terms have their defaults."""
    linked: bool = False
    """Whether headers link it with other tasks: those that it follows from, or that follow from it."""
    followed: bool = False
    """Whether other tasks follow from it: it is not settled before they are sent."""
    arrives: bool = False
    """Whether it is a record of a join, and has no handler."""
    refusal: tuple[type[Exception], str] | None = None
    """Why it is not begun, as the type and the text of an error."""

    @property
    def bind_its_begin(self) -> bool:
        """Whether a term must be checked before the task begins; a priority need not be."""
        return self._replace(priority=0) != ANY_TIME

    @property
    def due(self) -> float:
        """When the task becomes due: once it may begin, or once it has expired."""
        return min(self.not_before, self.expires)


ANY_TIME = Terms()
"""The terms of a task whose headers set none."""

TermsOf = Callable[[Headers], Terms | None]
"""Reads the terms in a record's headers; None if they set none."""


def no_terms(_: Headers) -> None:
    """Reads no terms from any headers."""

"""`Bounds`: a number that is chosen while a program runs, between two bounds; `8..64` as text."""

from __future__ import annotations

import re
from typing import NamedTuple


class Bounds(NamedTuple):
    """The smallest and the largest number."""

    least: int
    most: int

    @property
    def is_range(self) -> bool:
        """Whether the two bounds differ, so that the number is chosen at run time."""
        return self.least < self.most

    def __str__(self) -> str:
        return f"{self.least}..{self.most}"


Count = int | Bounds
"""A fixed number, or bounds."""

_TEXT = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")


def bounds_in(text: str) -> Bounds:
    """Read `MIN..MAX`.

    Raises:
        ValueError: the text does not have this form.
    """
    if (found := _TEXT.fullmatch(text)) is None:
        raise ValueError(text)
    return Bounds(int(found[1]), int(found[2]))


def bounds_of(count: Count) -> Bounds:
    """Return the bounds; those of a fixed number are equal."""
    return count if isinstance(count, Bounds) else Bounds(count, count)


def order_fault(count: Count) -> str | None:
    """What is wrong with the order of the bounds, in the words that follow an option's name; None if nothing is."""
    least, most = bounds_of(count)
    return None if least <= most else f"must have its minimum first, not {least}..{most}"

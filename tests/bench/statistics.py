"""Summarizes rounds: the median, the minimum and the maximum."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

Figures = Mapping[str, float]
"""The figures that one arm measured in one round, by name."""

Round = Mapping[str, Figures]
"""The figures of each arm that ran, by the arm's name."""


class Spread(msgspec.Struct, frozen=True):
    """The median, the minimum and the maximum of some rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of the values, of which there must be at least one."""
        return cls(statistics.median(values), min(values), max(values))


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a row, and its target."""

    name: str
    unit: str = ""
    of: Callable[[Round], float]
    """Computes the figure of one round. A ratio is taken within a round: a disturbance affects both of its terms."""
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, rounds: Sequence[Round]) -> Verdict | None:
        """Return the verdict on the rounds; None if no round has all arms that the figure needs."""
        values = [value for one in rounds if (value := self._value(one)) is not None]
        if not values:
            return None
        spread = Spread.of(values)
        return Verdict(
            name=self.name, unit=self.unit, spread=spread, target=self._target(), reached=self._reached(spread)
        )

    def _value(self, one: Round) -> float | None:
        try:
            return self.of(one)
        except (KeyError, ZeroDivisionError):
            return None

    def _reached(self, spread: Spread) -> bool | None:
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or spread.median >= self.at_least) and (
            self.at_most is None or spread.median <= self.at_most
        )

    def _target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The measured figure, and whether it reached its target; `reached` is None without a target."""

    name: str
    unit: str
    spread: Spread
    target: str
    reached: bool | None


def ratio(arm: str, to: str, figure: str = "rate") -> Callable[[Round], float]:
    """Return a function that divides one arm's figure by another's."""
    return lambda one: one[arm][figure] / one[to][figure]


def share(arm: str, ideal: float, figure: str = "rate") -> Callable[[Round], float]:
    """Return a function that divides one arm's figure by the ideal."""
    return lambda one: one[arm][figure] / ideal


def figure(arm: str, name: str = "rate") -> Callable[[Round], float]:
    """Return a function that reads one arm's figure."""
    return lambda one: one[arm][name]

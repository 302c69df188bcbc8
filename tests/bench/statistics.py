"""What three rounds say: the median, and how far the others are from it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

Figures = Mapping[str, float]
"""What one arm measured in one round, by name."""

Round = Mapping[str, Figures]
"""The figures of each arm that ran, by its name."""


class Spread(msgspec.Struct, frozen=True):
    """The median of some rounds, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a row, and what it has to reach."""

    name: str
    unit: str = ""
    of: Callable[[Round], float]
    """The figure of one round. A ratio is taken in the round: what disturbs a machine disturbs both its sides."""
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, rounds: Sequence[Round]) -> Verdict | None:
        """What the rounds say; None where an arm that it needs did not run in any."""
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
    """What was measured, and whether that is enough; None where nothing is asked."""

    name: str
    unit: str
    spread: Spread
    target: str
    reached: bool | None


def ratio(arm: str, to: str, figure: str = "rate") -> Callable[[Round], float]:
    """One arm's figure in another's."""
    return lambda one: one[arm][figure] / one[to][figure]


def share(arm: str, ideal: float, figure: str = "rate") -> Callable[[Round], float]:
    """One arm's figure in what there is to be had."""
    return lambda one: one[arm][figure] / ideal


def figure(arm: str, name: str = "rate") -> Callable[[Round], float]:
    """One arm's figure as it is."""
    return lambda one: one[arm][name]

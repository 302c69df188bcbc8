"""Varies one parameter and keeps the others fixed, to show how cost grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Spread


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a chart: the trial to run at each value, and the figure to plot."""

    name: str
    trial: Callable[[Stage, float], Figures]
    figure: str = "rate"


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """One chart before it is run."""

    name: str
    title: str
    x: str
    y: str
    values: Sequence[float]
    series: Sequence[Series]


class Swept(msgspec.Struct, kw_only=True):
    """One chart after it was run: the median of the rounds at each value, by the line's name."""

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]


def run(sweep: Sweep, stage: Stage, rounds: int) -> Swept:
    """Runs every line at every value once in each round."""
    measured: dict[tuple[str, float], list[float]] = {}
    for number in range(rounds):
        for value in sweep.values:
            done: dict[Callable[[Stage, float], Figures], Figures] = {}
            for series in sweep.series:
                stage.say(f"{sweep.name} {value:g}: {series.name}, round {number + 1}/{rounds}")
                if series.trial not in done:  # several lines may share a trial
                    done[series.trial] = _tried(series, stage, value)
                if series.figure in done[series.trial]:
                    measured.setdefault((series.name, value), []).append(done[series.trial][series.figure])
    return Swept(name=sweep.name, title=sweep.title, x=sweep.x, y=sweep.y, series=_medians(sweep, measured))


def _tried(series: Series, stage: Stage, value: float) -> Figures:
    try:
        return series.trial(stage, value)
    except Exception as error:  # noqa: BLE001 — a failure at one value must not stop the others
        stage.say(f"failed: {error}")
        return {}


def _medians(
    sweep: Sweep, measured: Mapping[tuple[str, float], Sequence[float]]
) -> dict[str, list[tuple[float, float]]]:
    return {
        series.name: [
            (value, Spread.of(measured[series.name, value]).median)
            for value in sweep.values
            if (series.name, value) in measured
        ]
        for series in sweep.series
    }

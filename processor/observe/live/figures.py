"""The figures of the whole fleet: a tile for each that changes, with a sparkline, and the counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from processor.observe.live.spark import spark
from processor.observe.load import Round
from processor.observe.report.markup import Element, tag
from processor.observe.report.tables import large
from processor.observe.watch import Watch
from processor.observe.wording import duration, many, number


class Tile(NamedTuple):
    """One figure: its name, its value, a second value in smaller letters, and what its line shows."""

    name: str
    value: str
    more: str
    line: Callable[[Round], float | None]
    style: str = "a"


def figures(watch: Watch) -> list[Element]:
    """Return the tiles and the counts; no tiles before the first round of reports has ended."""
    trail = list(watch.load.trail)
    drawn = [tag("dl", *(_drawn(tile, trail) for tile in _tiles(trail)), class_="tiles")] if trail else []
    return [*drawn, tag("p", " · ".join(_counts(watch)), class_="soft counts")]


def _tiles(trail: Sequence[Round]) -> list[Tile]:
    last = trail[-1]
    fastest = max(each.tasks_per_second for each in trail)
    return [
        Tile("tasks/s", large(last.tasks_per_second), f"max {large(fastest)}", lambda r: r.tasks_per_second),
        Tile(
            "attempt, p99",
            _seconds(last.p99_seconds),
            f"p50 {_seconds(last.p50_seconds)}",
            lambda r: r.p99_seconds,
            "b",
        ),
        Tile("lag", large(last.lag), f"gap {large(last.gap)}", lambda r: r.lag),
        Tile("in flight", large(last.in_flight), f"{number(last.running)} running", lambda r: r.in_flight),
        Tile(
            "oldest task",
            duration(last.oldest_unsettled_seconds),
            "unsettled",
            lambda r: r.oldest_unsettled_seconds,
            "b",
        ),
        Tile("failed/s", number(last.failures_per_second), "attempts", lambda r: r.failures_per_second, "bad"),
    ]


def _drawn(tile: Tile, trail: Sequence[Round]) -> Element:
    values = [(each.at, value) for each in trail if (value := tile.line(each)) is not None]
    line = spark(values, f"{tile.name} over time", tile.style)
    return tag("div", tag("dt", tile.name), tag("dd", tag("b", tile.value), tag("small", tile.more), line))


def _counts(watch: Watch) -> list[str]:
    counts, events = watch.load.counts, watch.timeline.counts
    return [
        f"{number(counts.succeeded)} succeeded",
        f"{number(counts.retried)} retried",
        f"{number(counts.timed_out)} timed out",
        many(counts.dead_lettered, "dead letter"),
        many(events["rebalance"], "rebalance"),
        many(events["restart"], "restart"),
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)

"""Sparklines: a figure over the latest time, small enough for a tile or a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from processor.observe.report.markup import Element, tag

WIDTH: Final = 120
HEIGHT: Final = 30
"""The size in the drawing's own units: the page stretches it."""

MOST: Final = 60
"""The most points of a sparkline: all sparklines of a page are sent again whenever their values change."""

Points = Sequence[tuple[float, float]]
"""Seconds since the epoch, and the value, in order of time."""


def spark(points: Points, about: str, style: str = "a") -> Element:
    """Return a line from 0 to the largest value with the area below it.

    Args:
        points: the values; fewer than two are not drawn.
        about: the text alternative.
        style: CSS class that sets its colour.
    """
    line = _line(thinned(points))
    area = [tag("path", d=f"{line}V{HEIGHT}H0Z", class_="area"), tag("path", d=line, class_="line")] if line else []
    return tag(
        "svg",
        *area,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=about,
        class_=f"spark {style}",
    )


def thinned(points: Points, most: int = MOST) -> Points:
    """Return at most `most` points, each the largest value of its neighbours: a peak must not disappear."""
    each = -(-len(points) // most)  # rounded up
    return [max(points[n : n + each], key=lambda point: point[1]) for n in range(0, len(points), each)] if each else []


def _line(points: Points) -> str:
    """The path, which begins at the left edge and ends at the right one; empty if there is nothing to draw."""
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return ""
    start, seconds = points[0][0], points[-1][0] - points[0][0]
    top = max(value for _, value in points) or 1.0
    places = [f"{(at - start) / seconds * WIDTH:.0f} {(1 - value / top) * HEIGHT:.1f}" for at, value in points]
    return "M" + "L".join(places)

"""Plots as inline SVG. Their labels are HTML around it, so that they stay readable on a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import floor, log10
from statistics import median
from typing import Final, NamedTuple

from processor.observe.report.markup import Element, tag
from processor.observe.series import Point
from processor.observe.wording import clock, date_time

WIDTH: Final = 1000
HEIGHT: Final = 200
"""The size in the drawing's own units: the page stretches it."""

DAY: Final = 86400.0

BREAK: Final = 3.0
"""A line breaks at a gap of this many times the median distance between points."""

ROWS: Final = 12
"""The most rows of the table below a plot."""


class Line(NamedTuple):
    """One figure over time."""

    name: str
    style: str
    """CSS class that sets its colour"""
    values: list[tuple[float, float]]
    """seconds since the epoch, and the value, in order of time"""


class Mark(NamedTuple):
    """Events of one kind, each a vertical line."""

    name: str
    style: str
    times: list[float]


class Span(NamedTuple):
    """The range of the horizontal axis, in seconds since the epoch."""

    start: float
    end: float

    def x(self, at: float) -> float:
        """Return the horizontal position of `at`."""
        return (at - self.start) / max(self.end - self.start, 1e-9) * WIDTH

    def label(self, at: float) -> str:
        """Return `at` as text: with the day if the axis is longer than a day."""
        return date_time(at)[5:16] if self.end - self.start > DAY else clock(at)


def means(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the mean of each bucket."""
    return [(point.at, point.mean) for point in points]


def mosts(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the maximum of each bucket: a peak must not disappear in a mean."""
    return [(point.at, point.most) for point in points]


def plot(
    heading: str, about: str, lines: Sequence[Line], marks: Sequence[Mark], span: Span, shown: Callable[[float], str]
) -> Element:
    """Return a figure with its heading, a sentence `about` it, and the same values as a table below.

    Args:
        heading: what is plotted.
        about: a summary, which also is the text alternative.
        lines: the figures; one without values is not drawn.
        marks: events in the same time.
        span: the horizontal axis.
        shown: formats a value.
    """
    top = nice(max((value for line in lines for _, value in line.values), default=0.0))
    svg = tag(
        "svg",
        *(tag("line", x1="0", x2=f"{WIDTH}", y1=f"{y}", y2=f"{y}", class_="grid") for y in (0, HEIGHT // 2, HEIGHT)),
        *(_mark(mark, at, span) for mark in marks for at in mark.times),
        *(_path(line, span, top) for line in lines),
        *_readings(lines, span, shown),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{heading}: {about}",
    )
    frame = tag("div", _vertical(top, shown), svg, _horizontal(span), class_="frame")
    caption = tag("figcaption", tag("h3", heading), tag("p", about), _legend(lines, marks))
    return tag("figure", caption, frame, _numbers(lines, span, shown))


def small(values: Sequence[tuple[float, float]], span: Span, about: str) -> Element:
    """Return a line without labels, for a row of a table."""
    line = Line("", "line a", list(values))
    path = _path(line, span, nice(max((value for _, value in values), default=0.0)))
    return tag(
        "svg",
        path,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=about,
        class_="small",
    )


def strip(values: Sequence[tuple[float, str, str]], span: Span, about: str) -> Element:
    """Return a band whose colour changes at the given times: (seconds since the epoch, CSS class, words)."""
    runs: list[tuple[float, str, str]] = []
    for value in values:
        if not runs or runs[-1][1] != value[1]:
            runs.append(value)
    ends = [at for at, _, _ in runs[1:]] + [span.end]
    return tag(
        "svg",
        *(_run(run, end, span) for run, end in zip(runs, ends, strict=False)),  # there may be no values
        viewBox=f"0 0 {WIDTH} 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=about,
        class_="strip",
    )


def _run(run: tuple[float, str, str], end: float, span: Span) -> Element:
    at, style, word = run
    return tag(
        "rect",
        tag("title", f"{word}, {span.label(at)} to {span.label(end)}"),
        x=_n(span.x(at)),
        y="0",
        width=_n(max(span.x(end) - span.x(at), 2)),
        height="10",
        class_=style,
    )


def nice(most: float) -> float:
    """Return the end of an axis: a short number whose half is short too, at least `most` and not far above it."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power >= 10 else (1, 2, 3, 4, 5, 6, 8, 10)
    return next(step * power for step in steps if step * power >= most * (1 - 1e-9))


def _path(line: Line, span: Span, top: float) -> Element:
    spaces = [after - before for (before, _), (after, _) in pairwise(line.values)]
    longest = BREAK * median(spaces) if spaces else 0.0
    steps, before = [], None
    for at, value in line.values:
        pen = "M" if before is None or at - before > longest else "L"
        steps.append(f"{pen}{_n(span.x(at))} {_n(HEIGHT - value / top * HEIGHT)}")
        before = at
    return tag("path", d="".join(steps), class_=line.style)


def _mark(mark: Mark, at: float, span: Span) -> Element:
    x = _n(span.x(at))
    return tag("line", x1=x, x2=x, y1="0", y2=f"{HEIGHT}", class_=f"mark {mark.style}")


def _readings(lines: Sequence[Line], span: Span, shown: Callable[[float], str]) -> list[Element]:
    """Return vertical bands, each of which shows its values when the pointer is over it."""
    by_time: dict[float, list[str]] = {}
    for line in lines:
        for at, value in line.values:
            by_time.setdefault(at, []).append(f"{line.name} {shown(value)}")
    times = sorted(by_time)
    ends = [*times[1:], span.end]
    return [
        tag(
            "rect",
            tag("title", f"{span.label(at)}  {', '.join(by_time[at])}"),
            x=_n(span.x(at)),
            y="0",
            width=_n(max(span.x(end) - span.x(at), 1)),
            height=f"{HEIGHT}",
            class_="reading",
        )
        for at, end in zip(times, ends, strict=False)  # there may be none
    ]


def _vertical(top: float, shown: Callable[[float], str]) -> Element:
    return tag("div", *(tag("span", shown(top * part)) for part in (1.0, 0.5, 0.0)), class_="y", aria_hidden="true")


def _horizontal(span: Span) -> Element:
    times = [span.start + (span.end - span.start) * part for part in (0.0, 0.5, 1.0)]
    return tag("div", *(tag("span", span.label(at)) for at in times), class_="x", aria_hidden="true")


def _legend(lines: Sequence[Line], marks: Sequence[Mark]) -> Element | None:
    entries = [(line.name, line.style) for line in lines if line.values]
    entries += [(mark.name, f"mark {mark.style}") for mark in marks if mark.times]
    if len(entries) < 2:
        return None
    return tag("ul", *(tag("li", tag("i", class_=style), name) for name, style in entries), class_="legend")


def _numbers(lines: Sequence[Line], span: Span, shown: Callable[[float], str]) -> Element | None:
    """Return a table with some values of each line, evenly spaced in time."""
    longest = max((line.values for line in lines), key=len, default=[])
    if not longest:
        return None
    times = [at for at, _ in longest[:: max(1, len(longest) // ROWS)]]
    values = [dict(line.values) for line in lines]
    rows = [
        tag("tr", tag("td", span.label(at)), *(tag("td", shown(v[at]) if at in v else "–") for v in values))
        for at in times
    ]
    head = tag("tr", tag("th", "time"), *(tag("th", line.name) for line in lines))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="numbers")
    return tag("details", tag("summary", "As a table"), table)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")

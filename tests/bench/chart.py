"""Draws SVG charts without a library: two kinds are enough, and both are readable on a light or a dark background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 90, 170, 48, 52
COLOURS = ("#2f6fb3", "#d1702b", "#3d9144", "#8b5fb0", "#a8433c")

Points = Sequence[tuple[float, float]]


def lines(title: str, x: str, y: str, series: Mapping[str, Points]) -> str:
    """Draw lines over a logarithmic x axis; the y axis starts at 0. `x` and `y` label the axes, with their units."""
    xs = sorted({point[0] for points in series.values() for point in points})
    most = _round_up(max(point[1] for points in series.values() for point in points))
    plot = _Plot(xs[0], xs[-1], most)
    parts = [_text(LEFT, 24, title, size=15, weight="bold"), *_grid(plot, most), *_ticks(plot, xs)]
    parts.append(_text(LEFT, TOP - 8, y))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, anchor="middle"))
    for index, (name, points) in enumerate(series.items()):
        parts += _line(plot, name, points, COLOURS[index % len(COLOURS)], index)
    return _svg(parts, HEIGHT)


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """Draw a bar for each name on a logarithmic axis, so that values a thousand times apart are all visible."""
    height = TOP + 26 * len(values) + 20
    least, most = min(values.values()), max(values.values())
    low, high = math.floor(math.log10(least)), math.log10(most)
    span = max(high - low, 1e-9)
    parts = [_text(10, 24, f"{title} ({unit}, logarithmic)", size=15, weight="bold")]
    for index, (name, value) in enumerate(values.items()):
        top = TOP + 26 * index
        width = 4 + (WIDTH - 260) * (math.log10(value) - low) / span
        parts.append(_text(110, top + 14, name, anchor="end"))
        parts.append(
            f'<rect x="118" y="{top}" width="{width:.1f}" height="18" rx="2" fill="{COLOURS[name == "processor"]}"/>'
        )
        parts.append(_text(126 + width, top + 14, f"{value:,.0f}"))
    return _svg(parts, height)


class _Plot:
    """Maps values to coordinates of the image."""

    def __init__(self, least: float, most: float, top: float) -> None:
        self._least = math.log10(least)
        self._span = max(math.log10(most) - self._least, 1e-9)
        self._top = top or 1.0

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - self._least) / self._span

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._top


def _grid(plot: _Plot, most: float) -> list[str]:
    parts = []
    for step in range(6):
        value = most * step / 5
        y = plot.y(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#9994" stroke-width="1"/>')
        parts.append(_text(LEFT - 8, y + 4, short(value), anchor="end"))
    return parts


def _ticks(plot: _Plot, xs: Sequence[float]) -> list[str]:
    parts, last = [], -math.inf
    for value in xs:
        x = plot.x(value)
        if x - last > 34:  # otherwise the label would overlap its neighbour
            parts.append(_text(x, HEIGHT - BOTTOM + 18, short(value), anchor="middle"))
            last = x
    return parts


def _line(plot: _Plot, name: str, points: Points, colour: str, index: int) -> list[str]:
    path = "L".join(f"{plot.x(x):.1f} {plot.y(y):.1f}" for x, y in points)
    dots = [f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
    legend_y = TOP + 14 + 20 * index
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *dots,
        f'<path d="M{WIDTH - RIGHT + 14} {legend_y - 4}h18" stroke="{colour}" stroke-width="3"/>',
        _text(WIDTH - RIGHT + 38, legend_y, name),
    ]


def short(value: float) -> str:
    """Format a number briefly: 1,500,000 is `1.5M`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * size >= value)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="#777">{escape(text)}</text>'
    )


def _svg(parts: Sequence[str], height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif">'
    )
    return "\n".join((head, *parts, "</svg>")) + "\n"

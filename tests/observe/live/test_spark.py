"""Sparklines: how values become a path."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.live.spark import HEIGHT, MOST, WIDTH, Points, spark, thinned
from processor.observe.report.markup import html_of


def path(points: Points) -> list[tuple[float, float]]:
    (line,) = re.findall(r'd="(M[^"]*)" class="line"', html_of(spark(points, "about")))
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", line)]


def test_a_line_goes_from_edge_to_edge_and_its_maximum_to_the_top() -> None:
    assert path([(100.0, 0.0), (110.0, 5.0), (120.0, 10.0)]) == [(0, HEIGHT), (WIDTH / 2, HEIGHT / 2), (WIDTH, 0)]


def test_zeros_are_a_line_at_the_bottom() -> None:
    assert path([(100.0, 0.0), (110.0, 0.0)]) == [(0, HEIGHT), (WIDTH, HEIGHT)]


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_a_chart_without_extent_is_not_drawn_but_keeps_its_label(points: Points) -> None:
    assert "<path" not in html_of(spark(points, "lag over time"))
    assert 'aria-label="lag over time"' in html_of(spark(points, "lag over time"))


@given(st.lists(st.floats(0, 1e9), max_size=500))
def test_thinning_keeps_the_order_the_bounds_and_the_maximum(values: list[float]) -> None:
    points = [(float(n), value) for n, value in enumerate(values)]
    few = thinned(points)
    assert len(few) <= MOST
    assert few == sorted(few)
    assert set(few) <= set(points)
    assert max((value for _, value in few), default=0.0) == max(values, default=0.0)

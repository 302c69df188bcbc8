"""Figures over time in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.series import Series

VALUES = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 1000)), max_size=60)


@given(VALUES, st.integers(2, 9))
def test_merged_buckets_keep_sums_means_and_peaks(values: list[tuple[int, int]], buckets: int) -> None:
    series = Series(buckets)
    for at, value in sorted(values):
        series.note(float(at), float(value))
    points = series.points()
    assert len(points) <= buckets
    assert sum(point.sum for point in points) == sum(value for _, value in values)
    assert series.most == max((value for _, value in values), default=0)
    assert [point.at for point in points] == sorted({point.at for point in points})
    for point in points:
        inside = [value for at, value in values if point.at <= at < point.at + series.width]
        assert point.mean == pytest.approx(sum(inside) / len(inside))
        assert point.most == max(inside)


def test_a_value_from_before_the_first_counts_as_of_the_first() -> None:
    series = Series()
    series.note(100.0, 1.0)
    series.note(50.0, 3.0)
    assert [(point.at, point.mean) for point in series.points()] == [(100.0, 2.0)]


def test_a_time_in_the_far_future_is_accepted() -> None:
    series = Series()
    series.note(0.0, 1.0)
    series.note(253_402_300_799.0, 2.0)
    assert [point.mean for point in series.points()] == [1.0, 2.0]

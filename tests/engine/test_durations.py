"""How long attempts took, in buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.durations import BOUNDS, QUICK_SECONDS, REPORTED, Durations


def test_the_bounds_ascend_and_each_that_is_reported_is_one_of_them() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert set(REPORTED) <= set(BOUNDS)


def test_nothing_has_no_quantile() -> None:
    assert Durations().quantile(0.5) is None


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    durations = Durations()
    durations.add(10, [])
    assert durations.quantile(0.5) == pytest.approx(QUICK_SECONDS / 2)


def test_what_is_longer_than_the_last_bound_is_reported_as_that_bound() -> None:
    durations = Durations()
    durations.add(0, [5000.0])
    assert durations.quantile(0.99) == BOUNDS[-1]


@given(
    slow=st.lists(st.floats(QUICK_SECONDS, 900.0, exclude_min=True), min_size=1, max_size=200),
    share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(slow: list[float], share: float) -> None:
    durations = Durations()
    durations.add(0, slow)
    told = durations.quantile(share)
    rank = min(len(slow) - 1, max(0, -int(-share * len(slow) // 1) - 1))
    true = sorted(slow)[rank]
    above = next(bound for bound in BOUNDS if bound >= true)
    below = BOUNDS[BOUNDS.index(above) - 1]
    assert told == pytest.approx(told and min(max(told, below), above))


@given(
    slow=st.lists(
        st.one_of(st.floats(QUICK_SECONDS, 5000.0, exclude_min=True), st.sampled_from(BOUNDS[1:])), max_size=50
    )
)
def test_durations_of_a_batch_count_in_the_same_buckets_as_one_by_one(slow: list[float]) -> None:
    together, alone = Durations(), Durations()
    together.add(3, slow)
    alone.add(3, [])
    for seconds in slow:
        alone.counts[next((n for n, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1
    assert together.counts == alone.counts


def test_the_table_is_cumulative_and_its_last_row_is_everything() -> None:
    durations = Durations()
    durations.add(7, [0.01, 0.02, 400.0])
    table = durations.cumulative()
    assert (table["0.001"], table["0.01"], table["0.025"], table["250"], table["+Inf"]) == (7, 8, 9, 9, 10)
    assert list(table.values()) == sorted(table.values())


def test_the_difference_of_two_moments_is_what_came_between_them() -> None:
    durations = Durations()
    durations.add(5, [1.0])
    before = durations.copy()
    durations.add(1, [2.0])
    assert durations.since(before).cumulative()["+Inf"] == 2

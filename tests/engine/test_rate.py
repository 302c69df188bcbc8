"""A rate holds in every period, and is used up while there is work."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.rate import Rate, Window

COUNTS = st.integers(1, 250)
SECONDS = st.sampled_from([1.0, 60.0, 3600.0])


@given(COUNTS, SECONDS, st.lists(st.floats(0, 5), max_size=400))
def test_no_more_begin_in_any_stretch_than_the_rate_allows(count: int, seconds: float, pauses: list[float]) -> None:
    rate, now, begun = Rate(count, seconds), 0.0, list[float]()
    for pause in pauses:
        now += pause * seconds / count
        for _ in range(rate.free(now)):
            rate.take(now)
            begun.append(now)
    for at in begun:
        assert sum(at <= other < at + seconds * (1 - 1e-9) for other in begun) <= count
        assert sum(other == at for other in begun) <= max(1, count // 10)


@given(COUNTS, SECONDS)
def test_a_backlog_has_the_whole_rate(count: int, seconds: float) -> None:
    rate, now, begun = Rate(count, seconds), 0.0, 0
    while now < 3 * seconds:
        assert rate.free(now) > 0
        rate.take(now)
        begun += 1
        now = max(now, rate.free_at(1) or 0.0)
    assert begun >= 3 * count


@given(COUNTS, SECONDS, st.integers(1, 30))
def test_the_time_that_is_named_is_the_first_at_which_so_many_may_begin(
    count: int, seconds: float, wanted: int
) -> None:
    rate = Rate(count, seconds)
    for n in range(max(1, count // 10)):
        rate.take(n * 1e-3 * seconds / count)
    at = rate.free_at(wanted)
    if at is None:
        assert wanted > max(1, count // 10)
        return
    assert at > 0
    assert rate.free(at * (1 - 1e-9)) < wanted <= rate.free(at)


def test_a_rate_of_one_begins_once_in_its_period() -> None:
    rate = Rate(1, 10.0)
    assert (rate.free(0.0), rate.free_at(2)) == (1, None)
    rate.take(0.0)
    assert (rate.free(9.9), rate.free_at(1), rate.free(10.0)) == (0, 10.0, 1)


@pytest.mark.parametrize("window", [Window(2, 1.0), Rate(20, 10.0)])
def test_capacity_that_is_free_at_once_is_free_since_minus_infinity(window: Window | Rate) -> None:
    assert window.free_at(2) == -inf
    assert window.free_at(3) is None
    window.take(5.0)
    assert (window.free(5.0), window.free_at(1), window.free_at(2)) == (1, -inf, 6.0)

"""The rules of Burrow, one by one, and those that differ."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.window import APART, WINDOW, Sample, Status, Window, judge


def samples(offsets: Sequence[int], lags: Sequence[int], apart: float = 10.0) -> list[Sample]:
    return [Sample(n * apart, offset, lag) for n, (offset, lag) in enumerate(zip(offsets, lags, strict=True))]


def judged(offsets: Sequence[int], lags: Sequence[int], silence: float = 0.0) -> Status:
    window = samples(offsets, lags)
    return judge(window, window[-1].at + silence)


STILL = [100] * WINDOW
MOVING = list(range(100, 100 + WINDOW))
GROWING = list(range(1, WINDOW + 1))
FALLING = GROWING[::-1]


def test_rule_1_a_lag_that_was_zero_once_is_ok() -> None:
    assert judged(STILL, [0, *GROWING[1:]]) is Status.OK
    assert judged(STILL, [*GROWING[:-1], 0], silence=1000) is Status.OK


def test_rule_2_an_offset_that_moves_back_is_a_rewind() -> None:
    assert judged([*MOVING[:-1], 50], GROWING) is Status.REWOUND
    assert judged([100, 99], [5, 6]) is Status.REWOUND


def test_rule_3_a_partition_not_reported_for_longer_than_the_window_is_stopped() -> None:
    span = (WINDOW - 1) * 10.0
    assert judged(MOVING, FALLING, silence=span + 0.1) is Status.STOPPED
    assert judged(MOVING, FALLING, silence=span) is Status.OK


def test_rule_4_an_offset_that_does_not_move_while_there_is_lag_is_a_stall() -> None:
    assert judged(STILL, [5] * WINDOW) is Status.STALLED
    assert judged(STILL, GROWING) is Status.STALLED


def test_rule_5_a_lag_that_only_grows_while_the_offset_moves_falls_behind() -> None:
    assert judged(MOVING, GROWING) is Status.BEHIND
    assert judged(MOVING, [*GROWING[:-1], 3]) is Status.OK
    assert judged(MOVING, FALLING) is Status.OK


def test_a_constant_lag_is_ok() -> None:
    """Burrow warns of it, but one task per second that takes a second is not a fault."""
    assert judged(MOVING, [1] * WINDOW) is Status.OK
    assert judged(MOVING, [1] * (WINDOW - 1) + [2]) is Status.BEHIND


@pytest.mark.parametrize("count", [1, WINDOW - 1])
def test_a_stall_takes_a_full_window(count: int) -> None:
    assert judged(STILL[:count], [5] * count) is Status.EARLY
    assert judged(MOVING[:count], GROWING[:count]) is Status.EARLY


def test_ok_takes_no_full_window() -> None:
    assert judged(MOVING[:4], FALLING[:4]) is Status.OK


def test_the_first_rule_that_holds_counts() -> None:
    assert judged([*STILL[:-1], 50], [5] * WINDOW, silence=1000) is Status.REWOUND
    assert judged(STILL, [5] * WINDOW, silence=1000) is Status.STOPPED


def test_a_window_keeps_the_latest_samples() -> None:
    window = Window(3)
    for sample in samples([1, 2, 3, 4, 5], [1] * 5):
        window.note(sample)
    assert [sample.offset for sample in window.samples] == [3, 4, 5]


def test_frequent_samples_do_not_shorten_the_window() -> None:
    window = Window()
    for sample in samples(range(100), [1] * 100, apart=0.25):
        window.note(sample)
    gaps = [after.at - before.at for before, after in zip(window.samples, list(window.samples)[1:], strict=False)]
    assert min(gaps[:-1]) >= APART
    assert window.samples[-1].offset == 99
    assert len(window.samples) == WINDOW


SAMPLES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=WINDOW)


@given(SAMPLES, st.floats(0, 500))
def test_every_window_has_a_verdict_and_a_bad_one_has_a_reason(pairs: list[tuple[int, int]], silence: float) -> None:
    offsets, lags = [offset for offset, _ in pairs], [lag for _, lag in pairs]
    found = judged(offsets, lags, silence)
    if 0 in lags:
        assert found is Status.OK
    elif offsets != sorted(offsets):
        assert found is Status.REWOUND
    elif found is Status.STALLED:
        assert len(set(offsets)) == 1
    elif found is Status.BEHIND:
        assert lags == sorted(lags)
        assert lags[0] < lags[-1]
        assert len(set(offsets)) > 1

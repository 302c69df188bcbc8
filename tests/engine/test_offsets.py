from __future__ import annotations

import itertools
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from processor.engine.ledger import Ledger
from processor.engine.offsets import BLOCK, Offsets, Progress
from tests.engine.record import FakeRecord


def admit(offsets: Offsets, *numbers: int) -> None:
    offsets.admit(numbers, [1] * len(numbers))


def test_nothing_is_known_before_the_first_delivery() -> None:
    offsets = Offsets()
    assert offsets.commit_point is None
    assert offsets.progress() is None
    assert not offsets


def test_the_commit_point_is_the_lowest_unsettled_offset_or_the_position() -> None:
    offsets = Offsets(10)
    assert offsets.commit_point == 10
    admit(offsets, 10, 12, 15)  # 11, 13 and 14 are holes
    offsets.settle([12])
    assert offsets.commit_point == 10
    assert offsets.highest_settled == 12
    offsets.settle([10])
    assert offsets.commit_point == 15
    offsets.settle([15])
    assert offsets.commit_point == 16
    assert offsets.highest_settled == 15


def test_the_bytes_are_those_of_unsettled_records() -> None:
    offsets = Offsets()
    offsets.admit([0, 1], [100, 20])
    offsets.settle([0])
    assert offsets.bytes == 20
    assert len(offsets) == 1


def test_the_end_of_a_partition_moves_past_what_is_never_delivered() -> None:
    offsets = Offsets(5)
    offsets.reach(9)
    assert offsets.commit_point == 9
    offsets.reach(7)
    assert offsets.commit_point == 9


def test_offsets_settled_before_are_skipped_once() -> None:
    offsets = Offsets(0, [(1, 3), (5, 6)])
    before = offsets.expects_settled
    assert before
    assert not offsets.skips(0)
    admit(offsets, 0)
    assert [offsets.skips(n) for n in (1, 2, 3)] == [True, True, False]
    admit(offsets, 3)
    assert not offsets.skips(7)  # 5 was a hole this time
    assert not offsets.expects_settled
    assert offsets.commit_point == 0


def test_an_end_inside_a_settled_range_keeps_the_rest_of_it() -> None:
    offsets = Offsets(0, [(1, 3), (5, 9)])
    offsets.reach(6)
    assert offsets.progress() == Progress(6, (), 6, ((6, 9),))
    assert offsets.skips(8)
    assert not offsets.expects_settled


def test_settled_ranges_lie_between_what_is_unsettled_and_reach_ahead() -> None:
    assert Progress(3, (3, 6, 7), 9, ((12, 14),)).settled_ranges() == [(4, 6), (8, 9), (12, 14)]
    assert Progress(3, (3,), 9, ((9, 14),)).settled_ranges() == [(4, 14)]
    assert Progress(3, (), 3, ((4, 5),)).settled_ranges() == [(4, 5)]
    assert Progress(3, (), 3, ()).settled_ranges() == []


@given(st.sets(st.integers(0, 60), min_size=1), st.data())
def test_a_restored_assignment_runs_exactly_what_was_unsettled(delivered: set[int], data: st.DataObject) -> None:
    """Whatever was settled, and however the rest is delivered, only settled offsets are skipped."""
    order = sorted(delivered)
    done = data.draw(st.lists(st.sampled_from(order), unique=True))
    offsets = Offsets()
    admit(offsets, *order)
    if done:
        offsets.settle(sorted(done))
    progress = offsets.progress()
    assert progress is not None
    restored = Offsets(progress.commit_point, progress.settled_ranges())
    again = [n for n in order if n >= progress.commit_point and not restored.skips(n)]
    assert again == [n for n in order if n not in done]


@given(st.integers(0, 20), st.lists(st.integers(1, 5), max_size=8), st.integers(0, 60))
def test_continuing_at_a_later_offset_misses_what_was_neither_delivered_nor_settled(
    start: int, steps: list[int], on: int
) -> None:
    settled, low = [], start
    for gap, length in zip(steps[::2], steps[1::2], strict=False):
        settled.append((low + gap, low + gap + length))
        low += gap + length
    missed = Offsets(start, settled).undelivered_below(on)
    done = {offset for low, high in settled for offset in range(low, high)}
    assert [offset for low, high in missed for offset in range(low, high)] == [
        offset for offset in range(start, on) if offset not in done
    ]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(missed))


def test_what_was_settled_right_at_the_position_is_not_missed() -> None:
    offsets = Offsets(10, [(11, 13), (15, 17)])
    admit(offsets, 10)
    assert offsets.undelivered_below(20) == [(13, 15), (17, 20)]


def test_before_anything_is_known_nothing_can_be_missed() -> None:
    assert Offsets().undelivered_below(100) == []


def test_what_is_skipped_behind_the_last_admitted_record_stays_past() -> None:
    """One fetch returns an unsettled record and settled ones after it: the next commit's skip map contains these."""
    ledger = Ledger(0, [(1, 100)])
    assert ledger.admit([FakeRecord(offset) for offset in range(100)], 0.0) == 1
    assert ledger.offsets.position == 100
    progress = ledger.progress()
    assert progress is not None
    assert (progress.commit_point, progress.settled_ranges()) == (0, [(1, 100)])


@given(st.sets(st.integers(0, 3 * BLOCK)), st.lists(st.integers(1, 9), max_size=6), st.integers(0, 200))
def test_the_lowest_ranges_are_the_same_with_a_limit_as_without_one(
    unsettled: set[int], steps: list[int], most: int
) -> None:
    """Compared with the state of each single offset."""
    position = 3 * BLOCK + 5
    bounds = list(accumulate([position, *steps]))
    ahead = list(zip(bounds[1::2], bounds[2::2], strict=False))
    base = min(unsettled, default=position)
    progress = Progress(base, tuple(sorted(unsettled)), position, tuple(ahead))
    settled = {offset for low, high in ahead for offset in range(low, high)}
    settled |= {offset for offset in range(base, position) if offset not in unsettled}
    ranges = progress.settled_ranges()
    assert {offset for low, high in ranges for offset in range(low, high)} == settled
    assert all(end < begin for (_, end), (begin, _) in pairwise(ranges))
    assert progress.settled_ranges(most) == ranges[:most]

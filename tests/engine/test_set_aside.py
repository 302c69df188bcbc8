"""Set-aside tasks: their offsets on shelves, and the settled ranges between them."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processor.engine.lane import READY, Lane
from processor.engine.offsets import Progress
from processor.engine.set_aside import FIRST_PORTION, Shelf, allot
from processor.engine.stretch import WINDOW, Stretch, merged
from tests.engine.record import FakeRecord

some_offsets = st.sets(st.integers(0, 60)).map(sorted)


def shelf_of(*offsets: int) -> Shelf:
    return Shelf(Lane(b"a", READY, FakeRecord(0)), offsets)


def stretch(*offsets: int) -> Stretch:
    return Stretch(array("q", offsets), 0, len(offsets))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9000)), max_size=40))
def test_the_offsets_of_several_sessions_come_in_order(steps: list[tuple[int, int]]) -> None:
    offsets, sessions = list[int](), [list[int]() for _ in range(4)]
    for session, step in steps:
        offsets.append((offsets[-1] if offsets else 0) + step)
        sessions[session].append(offsets[-1])
    assert [each for part in merged([stretch(*session) for session in sessions]) for each in part] == offsets


def test_a_window_without_a_gap_is_one_range_for_any_mix_of_sessions() -> None:
    even, odd = stretch(*range(0, 2 * WINDOW, 2)), stretch(*range(1, 2 * WINDOW + 1, 2), 2 * WINDOW + 7)
    assert list(merged([even, odd])) == [range(WINDOW), range(WINDOW, 2 * WINDOW), [2 * WINDOW + 7]]


@given(st.lists(st.integers(1, 5), max_size=30), st.lists(st.integers(0, 7), max_size=20))
def test_a_shelf_is_a_queue(steps: list[int], counts: list[int]) -> None:
    offsets = [sum(steps[: n + 1]) for n in range(len(steps))]
    shelf, taken = shelf_of(), list[int]()
    for offset in offsets:
        shelf.put(offset)
    for count in counts:
        assert not shelf or shelf.oldest == offsets[len(taken)]
        taken += shelf.take(count)
    assert taken == offsets[: sum(counts)]
    assert len(shelf) == len(offsets) - len(taken)


def test_a_stretch_stays_as_it_was_while_its_shelf_goes_on() -> None:
    shelf = shelf_of(1, 3, 5, 6)
    before = shelf.stretch()
    shelf.put(9)
    assert shelf.take(3) == [1, 3, 5]
    assert shelf.take_below(9) == [6]
    assert list(merged([before])) == [[1, 3, 5, 6]]
    assert list(merged([shelf.stretch()])) == [[9]]


@given(some_offsets, st.lists(some_offsets, max_size=3), st.integers(1, 20))
def test_nothing_that_is_set_aside_counts_as_settled(unsettled: list[int], shelves: list[list[int]], most: int) -> None:
    taken = set(unsettled)
    stretches = []
    for offsets in shelves:
        stretches.append(stretch(*[offset for offset in offsets if offset not in taken]))
        taken.update(offsets)
    point = min(taken, default=0)
    progress = Progress(point, tuple(unsettled), 61, ((70, 80),), tuple(each for each in stretches if each.end))
    settled = {offset for low, high in progress.settled_ranges() for offset in range(low, high)}
    assert settled == {*range(point, 61), *range(70, 80)} - taken
    assert progress.settled_ranges(most) == progress.settled_ranges()[:most]


def test_sessions_share_the_room_in_proportion_to_their_pace_and_none_gets_less_than_a_part_of_it() -> None:
    fast, slow, idle = shelf_of(), shelf_of(), shelf_of()
    fast.held, slow.held, idle.held = 1 + 30, 1 + 10, 0
    allot([fast, slow, idle], 100)
    assert [fast.share, slow.share, idle.share] == [6 + 282 * 30 // 41, 6 + 282 * 10 // 41, 6 + 282 // 41]
    slow.lane.waiting.clear()
    assert slow.pace == 2 * 11, "it ran out of tasks, and may be faster than it could show"
    slow.held = 1000
    allot([fast, slow, idle], 100)
    assert slow.share == FIRST_PORTION
    allot([fast, slow, idle], FIRST_PORTION)
    assert [fast.share, slow.share, idle.share] == [FIRST_PORTION] * 3
    allot([fast, slow], 1)
    assert [fast.share, slow.share] == [1, 1]


def test_a_million_tasks_take_ten_megabytes_and_fewer_as_they_go() -> None:
    shelf = shelf_of()
    for offset in range(1_000_000):
        shelf.put(offset)
    assert sys.getsizeof(shelf.stretch().offsets) < 10 << 20
    for _ in range(200):
        shelf.take(4096)
    assert len(shelf) == 1_000_000 - 200 * 4096
    assert sys.getsizeof(shelf.stretch().offsets) < 4 << 20


def test_of_a_million_tasks_that_are_set_aside_only_the_lowest_ranges_are_looked_for() -> None:
    shelf = shelf_of(*range(0, 2_000_000, 2))
    seen = 0

    class Counted(Sequence[int]):
        def __len__(self) -> int:
            return len(shelf)

        def __getitem__(self, place: Any) -> Any:
            nonlocal seen
            found = shelf.stretch().offsets[place]
            seen += len(found) if isinstance(place, slice) else 1
            return found

    progress = Progress(0, (), 2_000_000, (), (Stretch(Counted(), 0, len(shelf)),))
    assert progress.settled_ranges(100) == [(n, n + 1) for n in range(1, 200, 2)]
    assert seen <= WINDOW

"""What follows from the offsets of one partition and the commit's metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.engine.commit_note import Note, kept_note
from processor.operate.partition_view import PartitionView, unread, waits_for
from processor.runtime.ports import Partition


def view(
    committed: int | None, end: int, ranges: list[tuple[int, int]] | None = None, *, start: int = 0, number: int = 0
) -> PartitionView:
    metadata = skipmap.encode(committed or 0, ranges or [])[0] if ranges else ""
    return PartitionView(Partition("t", number), start, end, committed, metadata)


def test_done_tasks_behind_the_commit_are_ranges() -> None:
    one = view(10, 100, [(11, 50), (60, 70)])
    assert one.lag == 90
    assert one.settled_ranges() == [(11, 50), (60, 70)]
    assert [one.first_unsettled(offset) for offset in (0, 10, 11, 49, 50, 65)] == [10, 10, 50, 50, 50, 70]


def test_done_tasks_may_be_in_a_record_that_the_commit_refers_to() -> None:
    one = view(10, 100)._replace(metadata="r1:AAAA", recorded=[(11, 50), (95, 120)])
    assert one.settled_ranges() == [(11, 50), (95, 100)]
    away = one._replace(recorded="it cannot be read")
    assert away.settled_ranges() == []
    assert unread([one, away, away]) == ["it cannot be read; what it lists counts as not done"]


def test_without_a_commit_the_lag_is_what_is_retained() -> None:
    assert view(None, 100, start=40).lag == 60
    assert view(None, 100, start=40).first_unsettled(0) == 40


def test_a_commit_below_the_start_counts_as_others_count_it_and_leaves_what_is_retained() -> None:
    one = view(10, 100, [(11, 50), (60, 70)], start=45)
    assert one.lag == 90
    assert one.settled_below == 45
    assert one.settled_ranges() == [(45, 50), (60, 70)]


def test_a_commit_beyond_the_end_has_no_lag() -> None:
    """The topic was deleted and created again."""
    assert view(500, 100).lag == 0
    assert view(500, 100, [(501, 600)]).settled_ranges() == []


@pytest.mark.parametrize("metadata", ["of another tool", "p1:", "p2:AAAA", skipmap.encode(9, [(10, 12)])[0]])
def test_metadata_that_is_not_a_skip_map_of_this_commit_has_no_settled_ranges(metadata: str) -> None:
    assert PartitionView(Partition("t", 0), 0, 100, 10, metadata).settled_ranges() == []


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=8), st.integers(0, 120))
def test_the_first_unsettled_offset_is_the_lowest_one_that_no_range_has(
    committed: int, steps: list[tuple[int, int]], asked: int
) -> None:
    ranges, at = [], committed
    for gap, length in steps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    one = view(committed, at + 200, ranges)
    settled = {offset for low, high in [(0, committed), *ranges] for offset in range(low, high)}
    assert one.first_unsettled(asked) == next(offset for offset in range(asked, at + 200) if offset not in settled)


def grown(*committed: int | None, metadata: str = "") -> list[PartitionView]:
    return [
        PartitionView(Partition("t", number), 0, 100, offset, metadata if offset is not None else "")
        for number, offset in enumerate(committed)
    ]


def test_a_partition_that_the_group_never_committed_waits_for_the_others() -> None:
    assert waits_for(grown(40, 100, None, None), 0.0) == {2: [Partition("t", 0)], 3: [Partition("t", 0)]}


def test_nothing_waits_in_a_group_that_has_committed_nothing_or_has_worked_everything_off() -> None:
    assert waits_for(grown(None, None), 0.0) == {}
    assert waits_for(grown(100, 100, None), 0.0) == {}


def test_nothing_waits_for_arrivals_of_groups_that_are_not_complete() -> None:
    base = skipmap.encode_base(40)
    assert waits_for(grown(40, None, metadata=f"{base}{kept_note(60)}"), 0.0) == {}
    assert waits_for(grown(40, None, metadata=f"{base}{kept_note(59)}"), 0.0) == {1: [Partition("t", 0)]}
    copied = f"{skipmap.encode_base(39)}{kept_note(60)}"  # by a tool, to another offset
    assert waits_for(grown(40, None, metadata=copied), 0.0) == {1: [Partition("t", 0)]}


def test_a_partition_that_was_there_when_the_group_began_is_not_new_while_a_commit_says_so() -> None:
    note = str(Note(4, 1000))
    assert waits_for(grown(40, None, None, None, metadata=note), 999.0) == {}
    assert set(waits_for(grown(40, None, None, None, metadata=note), 1000.0)) == {1, 2, 3}

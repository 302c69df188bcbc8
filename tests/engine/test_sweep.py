from __future__ import annotations

from processor.engine.sweep import JUMP, Sweep
from tests.engine.record import FakeRecord


def records(*offsets: int) -> list[FakeRecord]:
    return [FakeRecord(offset) for offset in offsets]


def found(sweep: Sweep, *offsets: int) -> tuple[list[int], list[int]]:
    passed = sweep.take(records(*offsets))
    return [record.offset() for record in passed.found], passed.missed


def test_unwanted_records_are_passed_over_and_absent_wanted_ones_are_missed() -> None:
    sweep = Sweep([3, 5, 6, 9])
    assert found(sweep, 3, 4) == ([3], [])
    assert (sweep.next_wanted, sweep.last_wanted) == (5, 9)
    assert found(sweep, 6, 7) == ([6], [5])
    assert found(sweep, 10, 11) == ([], [9])
    assert found(sweep, 12) == ([], [])
    assert (sweep.is_done, sweep.should_jump) == (True, False)


def test_the_end_of_the_log_and_its_start_are_passed_without_a_record() -> None:
    sweep = Sweep([3, 5, 6])
    assert sweep.reach(5) == [3]
    assert sweep.reach(5) == []
    assert sweep.reach(100) == [5, 6]
    assert sweep.is_done


def test_a_long_way_to_the_next_wanted_offset_is_jumped() -> None:
    sweep = Sweep([3, 4, 5 + JUMP + 1])
    assert found(sweep, 3) == ([3], [])
    assert (sweep.is_done, sweep.should_jump) == (False, False)
    assert found(sweep, 4) == ([4], [])
    assert (sweep.should_jump, sweep.jump(), sweep.should_jump) == (True, 5 + JUMP + 1, False)

"""What a reset changes, and what it costs."""

from __future__ import annotations

import pytest

from processor.engine import skipmap
from processor.errors import ProcessorError
from processor.operate.moments import Target
from processor.operate.partition_view import PartitionView
from processor.operate.resets import Selection, change_of, selection_fault, selection_of
from processor.runtime.ports import Partition

PLACE = Partition("t", 3)
AT_40 = PartitionView(PLACE, 10, 100, 40, skipmap.encode(40, [(50, 60), (70, 71)])[0])


@pytest.mark.parametrize(
    ("target", "after", "runs_again", "skipped", "clamped"),
    [
        (Target("earliest"), 10, 30 + 11, 0, False),
        (Target("latest"), 100, 0, 60 - 11, False),
        (Target("offset", 40), 40, 11, 0, False),
        (Target("offset", 55), 55, 5 + 1, 10, False),
        (Target("offset", 3), 10, 41, 0, True),
        (Target("offset", 500), 100, 0, 49, True),
        (Target("shift", -5), 35, 5 + 11, 0, False),
        (Target("shift", 5), 45, 11, 5, False),
        (Target("shift", -500), 10, 41, 0, True),
    ],
)
def test_the_cost_of_a_reset(target: Target, after: int, runs_again: int, skipped: int, clamped: bool) -> None:
    change = change_of(AT_40, target, None)
    assert (change.before, change.after) == (40, after)
    assert (change.runs_again, change.skipped, change.clamped) == (runs_again, skipped, clamped)


def test_a_time_is_the_offset_that_the_broker_found_or_the_end() -> None:
    assert change_of(AT_40, Target("time", 1), 20).after == 20
    assert change_of(AT_40, Target("time", 1), None).after == 100


def test_a_partition_without_a_commit_can_be_set_but_not_shifted() -> None:
    fresh = PartitionView(PLACE, 10, 100, None)
    change = change_of(fresh, Target("latest"), None)
    assert (change.before, change.after, change.runs_again, change.skipped) == (None, 100, 0, 90)
    with pytest.raises(ProcessorError, match=r"t\[3\] has no committed offset to count from: give another --to"):
        change_of(fresh, Target("shift", 1), None)


def test_a_commit_below_the_retained_records_repeats_no_deleted_one() -> None:
    old = PartitionView(PLACE, 50, 100, 20)
    change = change_of(old, Target("earliest"), None)
    assert (change.after, change.runs_again, change.skipped) == (50, 0, 0)


def test_a_selection_is_a_topic_or_a_partition_of_one() -> None:
    assert selection_of("orders") == Selection("orders", None)
    assert selection_of("orders:12") == Selection("orders", 12)
    assert selection_fault("orders:12") is None
    for text in ("orders:", "orders:x", "orders:1:2", ":1", "or ders", "orders:-1"):
        assert selection_fault(text) is not None

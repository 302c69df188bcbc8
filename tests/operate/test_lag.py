"""The verdict on a partition, and the sums of a report."""

from __future__ import annotations

import msgspec
import pytest

from processor.engine import skipmap
from processor.engine.pauses import ALL, Pause, Pauses, Target
from processor.operate.lag import (
    UNKNOWN,
    Oldest,
    Owner,
    PartitionLag,
    Trail,
    partition_lag,
    sentence,
    totals_of,
    waits_itself,
    with_pause,
)
from processor.operate.partition_view import PartitionView
from processor.runtime.ports import Partition

PLACE = Partition("t", 0)


def view(committed: int | None, end: int, done: int = 0) -> PartitionView:
    metadata = skipmap.encode(committed or 0, [((committed or 0) + 1, (committed or 0) + 1 + done)])[0] if done else ""
    return PartitionView(PLACE, 0, end, committed, metadata)


def judged(*views: PartitionView, is_owned: bool | None = True, waits: bool = False) -> str:
    trail = Trail(4)
    for second, one in enumerate(views):
        trail.note(float(second), one)
    return trail.verdict(is_owned=is_owned, waits=waits)


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        ([view(10, 10)], "ok"),
        ([view(10, 20)], "early"),
        ([view(10, 20), view(20, 20)], "ok"),
        ([view(10, 100)] * 4, "stalled"),
        ([view(10, 100, done) for done in (5, 5, 5, 5)], "stalled"),
        ([view(10, 100, done) for done in (5, 8, 11, 20)], "held"),
        ([view(10, 100), view(20, 120), view(30, 140), view(40, 160)], "behind"),
        ([view(10, 100), view(40, 120), view(70, 140), view(100, 160)], "ok"),
        ([view(50, 100), view(40, 100)], "rewound"),
    ],
)
def test_the_verdicts_of_a_partition_with_a_member(views: list[PartitionView], verdict: str) -> None:
    assert judged(*views) == verdict


def test_lag_without_a_member_is_reported_from_a_single_sample() -> None:
    assert judged(view(10, 20), is_owned=False) == "no-member"
    assert judged(view(10, 10), is_owned=False) == "ok"
    assert judged(view(10, 20), is_owned=None) == "early"


def test_a_new_partition_that_waits_is_not_stalled() -> None:
    assert judged(*[view(None, 20)] * 4, waits=True) == "waits"


def test_a_partition_whose_oldest_task_must_not_begin_yet_is_not_stalled() -> None:
    trail = Trail(4)
    for second in range(4):
        trail.note(float(second), view(10, 100))
    assert trail.verdict(is_owned=True, waits=False, oldest="delayed") == "delayed"
    assert trail.verdict(is_owned=False, waits=False, oldest="delayed") == "no-member"
    delayed = row(view(10, 100), oldest=Oldest(90_000, due=160.5))
    assert (delayed.delayed_until, delayed.oldest_age_seconds) == (160_500, 10.0)
    assert row(view(10, 100), oldest=Oldest(90_000, due=99.0)).delayed_until is None


def test_a_partition_whose_oldest_record_is_an_arrival_is_not_stalled() -> None:
    trail = Trail(4)
    for second in range(4):
        trail.note(float(second), view(10, 100))
    arrival = Oldest(90_000, key=b"7/then", name="processor.join", join="7/then")
    assert trail.verdict(is_owned=True, waits=False, oldest=waits_itself(arrival, 100.0)) == "joining"
    assert row(view(10, 100), oldest=arrival).join == "7/then"
    assert (waits_itself(None, 100.0), waits_itself(Oldest(9), 100.0)) == (None, None)
    assert waits_itself(Oldest(9, due=160.5), 100.0) == "delayed"


PAUSE = Pause(50_000, "ann@host")


@pytest.mark.parametrize(
    ("target", "oldest", "is_covered"),
    [
        (ALL, Oldest(90_000), True),
        (Target("partition", "t:0"), None, True),
        (Target("partition", "t:1"), Oldest(90_000), False),
        (Target("session", "s"), Oldest(90_000, key=b"s"), True),
        (Target("session", "s"), Oldest(90_000, key=b"u"), False),
        (Target("name", "charge"), Oldest(90_000, name="charge"), True),
        (Target("name", "charge"), Oldest(90_000), False),
    ],
)
def test_a_pause_explains_what_it_covers(target: Target, oldest: Oldest | None, *, is_covered: bool) -> None:
    pauses = Pauses()
    pauses.begin(target, PAUSE)
    stalled = msgspec.structs.replace(row(view(10, 100), oldest=oldest), verdict="stalled")
    found = with_pause(stalled, oldest, pauses)
    assert found.verdict == ("paused" if is_covered else "stalled")
    assert (found.paused is not None and found.paused.since == 50_000) is is_covered


def test_a_pause_does_not_hide_that_a_partition_has_no_member() -> None:
    pauses = Pauses()
    pauses.begin(ALL, PAUSE)
    alone = msgspec.structs.replace(row(view(10, 100)), verdict="no-member")
    assert with_pause(alone, None, pauses).verdict == "no-member"
    assert with_pause(alone, None, pauses).paused is not None


def test_a_full_window_or_no_lag_needs_no_other_look() -> None:
    def is_conclusive(length: int, *views: PartitionView) -> bool:
        trail = Trail(length)
        for second, one in enumerate(views):
            trail.note(float(second), one)
        return trail.is_conclusive

    assert not is_conclusive(2, view(10, 20))
    assert is_conclusive(2, view(10, 20), view(10, 20))
    assert is_conclusive(4, view(10, 10))


def row(one: PartitionView, oldest: Oldest | None = UNKNOWN, now: float = 100.0) -> PartitionLag:
    return partition_lag(one, Owner("m-1", "processor-0", "10.0.0.7"), oldest, now, "ok", [])


def test_a_row_has_what_is_left_and_the_age_of_the_oldest() -> None:
    found = row(view(10, 100, 30), oldest=Oldest(90_500))
    assert (found.lag, found.done_ahead, found.left) == (90, 30, 60)
    assert (found.oldest_at, found.oldest_age_seconds) == (90_500, 9.5)
    assert (found.client_id, found.host) == ("processor-0", "10.0.0.7")


def test_where_no_record_is_left_nothing_is_left() -> None:
    """An aborted transaction at the end of a partition whose group is stopped."""
    found = row(view(10, 100), oldest=None)
    assert (found.lag, found.left, found.oldest_age_seconds) == (90, 0, None)


def test_an_age_that_is_not_known_leaves_the_count() -> None:
    found = row(view(10, 100), oldest=UNKNOWN)
    assert (found.left, found.oldest_at, found.oldest_age_seconds) == (90, None, None)


def test_a_record_from_the_future_is_not_negative_seconds_old() -> None:
    assert row(view(10, 100), oldest=Oldest(200_000)).oldest_age_seconds == 0.0


def test_the_totals_are_a_sentence() -> None:
    rows = [row(view(10, 12_000, 11_900), oldest=Oldest(1000)), row(view(5, 46)), row(view(7, 7))]
    totals = totals_of(rows)
    assert (totals.partitions, totals.lag, totals.done_ahead, totals.left) == (3, 12_031, 11_900, 131)
    assert sentence(totals) == "12,031 behind, 11,900 of them done, 131 left; the oldest is 1 m 39 s old"
    assert sentence(totals_of([row(view(5, 46))])) == "41 behind"
    assert sentence(totals_of([])) == "nothing behind"

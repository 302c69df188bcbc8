"""Retries, pace and flow: small decisions from numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.flow import PATIENCE_SECONDS, Flow, Usage, Verdict
from processor.engine.outcome import Cause, Deferred, Failed
from processor.engine.pace import BATCH_SECONDS, LONG_BATCH_SECONDS, MOST, Pace
from processor.engine.retry import RETRIED, Policy, backoff, spread

POLICY = Policy(max_attempts=3, backoff=0.5, backoff_max=30.0)


def failure(cause: Cause) -> Failed:
    return Failed(cause, "builtins.ValueError", "no")


@pytest.mark.parametrize("cause", list(Cause))
def test_only_what_may_mend_is_tried_again(cause: Cause) -> None:
    assert (POLICY.delay_after(failure(cause), 1, 0.5) is not None) == (cause in RETRIED)


def test_a_deferred_task_waits_at_least_as_long_as_asked_and_at_most_half_as_long_again() -> None:
    deferred = Deferred("processor.errors.NotReady", "not yet", retry_in=100.0)
    assert deferred.delay(0.0) == 100.0
    assert deferred.delay(1.0) == 150.0


def test_the_last_attempt_is_the_last() -> None:
    assert POLICY.delay_after(failure(Cause.FAILED), 2, 0.5) == 1.0
    assert POLICY.delay_after(failure(Cause.FAILED), 3, 0.5) is None


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_backoff_grows_to_its_maximum_and_no_further(failures: int, jitter: float) -> None:
    delay = backoff(failures, 0.5, 30.0)
    assert delay == min(0.5 * 2.0 ** min(failures - 1, 64), 30.0)
    assert delay * 0.75 <= spread(delay, jitter, 30.0) <= min(delay * 1.25, 30.0)


def test_a_pace_begins_slow_follows_the_fast_at_once_and_the_slow_slowly() -> None:
    pace = Pace()
    assert pace.batch_size() == 1
    for _ in range(20):
        pace.observe(100, 100 * 1e-6)
    assert pace.batch_size() == MOST
    pace.observe(1, 0.001)
    assert pace.batch_size() < MOST
    assert pace.seconds < 0.0001


def test_a_turn_is_half_of_what_waits_for_a_worker_within_its_bounds() -> None:
    pace = Pace()
    pace.seconds = 0.001
    assert pace.batch_seconds(0, 64) == pace.batch_seconds(128, 64) == BATCH_SECONDS
    assert pace.batch_seconds(640, 64) == 0.005
    assert pace.batch_seconds(10_000, 64) == LONG_BATCH_SECONDS
    assert (pace.batch_size(), pace.batch_size(LONG_BATCH_SECONDS)) == (1, 16)


def test_another_worker_is_woken_only_for_more_than_a_turn_to_each() -> None:
    pace = Pace()
    assert pace.wanted(0, 0, 0) == 0
    assert pace.wanted(1, 1, 0) == 1
    assert pace.wanted(5, 5, 1) == 4
    assert pace.wanted(2, 100, 1) == 2
    pace.seconds = BATCH_SECONDS / 100
    assert pace.wanted(50, 50, 0) == 1  # half a turn, and nobody is awake
    assert pace.wanted(50, 50, 1) == 0
    assert pace.wanted(50, 500, 1) == 4


class Reader:
    """Flow as a consumer asks it: some partitions are at their end, and workers are idle or not."""

    def __init__(self, tasks: int, bytes_: int = 10**9, at_end: tuple[int, ...] = (), *, idle: bool = True) -> None:
        self.flow: Flow[int] = Flow(tasks, bytes_)
        self.idle = idle
        self._at_end = at_end

    def decide(self, held: dict[int, int], now: float) -> Verdict[int]:
        stock = {partition: Usage(tasks, tasks) for partition, tasks in held.items()}
        return self.flow.decide(stock, now, idle=self.idle, behind=lambda partition: partition not in self._at_end)


def test_a_consumer_stops_at_its_limit_and_goes_on_well_below_it() -> None:
    reader = Reader(100)
    assert reader.decide({0: 99}, 0.0).take
    assert not reader.decide({0: 100}, 0.0).take
    assert not reader.decide({0: 80}, 0.0).take
    assert reader.decide({0: 70}, 0.0).take


def test_bytes_count_as_tasks_do() -> None:
    reader = Reader(10**6, 100)
    assert not reader.decide({0: 100}, 0.0).take
    assert reader.decide({0: 50}, 0.0).take
    assert reader.flow.room(10, 50, 10) == 5
    assert reader.flow.room(10, 99, 10) == 1


def test_a_partition_that_keeps_others_from_their_share_is_paused_and_resumed() -> None:
    reader = Reader(100, at_end=(2,))
    hog = {0: 60, 1: 0, 2: 0}
    assert reader.decide(hog, 1.0) == (False, [], [])
    assert reader.decide({**hog, 0: 10}, 1.1) == (True, [], [])  # it was only for a moment
    assert reader.decide(hog, 2.0).pause == []
    verdict = reader.decide(hog, 2.01 + PATIENCE_SECONDS)
    assert verdict == (True, [0], [])
    assert reader.flow.paused == {0}
    assert reader.decide({**hog, 0: 16}, 9.0) == (True, [], [])
    assert reader.decide({**hog, 0: 15}, 9.0) == (True, [], [0])
    assert reader.flow.paused == frozenset()


def test_while_workers_have_enough_to_do_nobody_is_paused_for_anybody() -> None:
    reader = Reader(100, idle=False)
    hog = {0: 60, 1: 0}
    assert reader.decide(hog, 1.0) == (True, [], [])
    assert reader.decide(hog, 2.0) == (True, [], [])
    assert not reader.decide({**hog, 0: 75}, 3.0).take  # but the other's share stays free
    reader.idle = True
    assert reader.decide(hog, 4.0).pause == []
    assert reader.decide(hog, 5.0).pause == [0]


def test_a_partition_may_have_what_nobody_else_asks_for_but_never_their_shares() -> None:
    reader = Reader(100, at_end=(1,))
    assert reader.decide({0: 60, 1: 0}, 0.0) == (True, [], [])
    assert not reader.decide({0: 75, 1: 0}, 0.0).take


def test_one_take_of_one_partition_leaves_the_others_their_shares() -> None:
    """Whatever is asked for may all be of one partition, which then holds it for ever: the others must go on."""
    reader = Reader(200)
    assert reader.decide({0: 0, 1: 0, 2: 0, 3: 0}, 0.0).take
    room = reader.flow.room(0, 0, 1)
    assert room == 125
    hog = {0: room, 1: 0, 2: 0, 3: 0}
    assert not reader.decide(hog, 1.0).take
    assert reader.decide(hog, 2.0) == (True, [0], [])


def test_what_a_paused_partition_holds_does_not_keep_the_others_waiting() -> None:
    reader = Reader(100)
    hog = {0: 90, 1: 0}
    assert not reader.decide(hog, 0.0).take
    assert reader.decide(hog, 1.0) == (True, [0], [])
    assert not reader.decide({0: 90, 1: 10}, 2.0).take
    assert reader.decide({0: 90, 1: 5}, 3.0).take


def test_a_partition_that_is_gone_is_not_paused() -> None:
    reader = Reader(100)
    reader.decide({0: 60, 1: 0}, 0.0)
    reader.decide({0: 60, 1: 0}, 1.0)
    reader.flow.forget(0)
    assert reader.flow.paused == frozenset()


@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(20, 200))
def test_no_partition_that_has_tasks_starves(rates: list[int], limit: int) -> None:
    """However slowly one drains, every partition gets records within a bound of steps."""
    reader = Reader(limit)
    stock = dict.fromkeys(range(len(rates)), 0)
    taken = dict.fromkeys(stock, 0)
    now = 0.0
    for _ in range(400):
        now += PATIENCE_SECONDS
        verdict = reader.decide(dict(stock), now)
        for partition in stock:
            stock[partition] -= min(stock[partition], rates[partition] - 1)  # a rate of 1 is stuck
            if verdict.take and partition not in reader.flow.paused and sum(stock.values()) < limit:
                stock[partition] += 1 if partition else 5  # the first one is always there first, and with more
                taken[partition] += 1
    assert min(taken.values()) > 0
    assert sum(stock.values()) <= limit + 5

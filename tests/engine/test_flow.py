"""Fairness between partitions: what is admitted, and what is fetched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.flow import (
    FILL_SECONDS,
    GO_ON,
    HOLD_SECONDS,
    LARGE_TAKE,
    LONG_TASK_SECONDS,
    LONGEST_FILL_SECONDS,
    MOST,
    PAUSE_SECONDS,
    RATE_SECONDS,
    RESERVED,
    RESUME,
    RESUME_SECONDS,
    TAKE,
    Admission,
    Fetching,
    Filling,
    Verdict,
    take_size,
    without_delayed,
)
from processor.engine.pace import Pace
from processor.engine.stock import Usage

LIMITS = Usage(1000, 10**9)

P = TypeVar("P", bound=Hashable)


def tasks(**counts: int) -> dict[str, Usage]:
    """Return the usage of this many tasks, of a byte each, by partition."""
    return {partition: Usage(count, count) for partition, count in counts.items()}


def quotas(in_flight: Mapping[P, Usage], stock: Mapping[P, Usage], limits: Usage = LIMITS) -> dict[P, int]:
    admission: Admission[P] = Admission(limits)
    return admission.quotas(in_flight, stock)


# --- what is admitted --------------------------------------------------------------------------------


def test_a_single_partition_may_use_the_whole_limit() -> None:
    assert quotas(tasks(a=0), tasks(a=5000)) == {"a": 1000}
    assert quotas(tasks(a=990), tasks(a=5000)) == {"a": 10}
    assert quotas(tasks(a=1000), tasks(a=5000)) == {}


def test_a_backlog_leaves_the_shares_of_the_others() -> None:
    given = quotas(tasks(a=0, b=0, c=0, d=100), tasks(a=5000))
    assert given == {"a": 1000 - 2 * 125 - 125}


def test_no_more_is_admitted_than_waits() -> None:
    assert quotas(tasks(a=0, b=0), tasks(a=3)) == {"a": 3}


def test_the_partition_with_the_fewest_tasks_is_filled_first() -> None:
    given = quotas(tasks(a=600, b=100, c=0), tasks(a=5000, b=5000, c=5000))
    assert given == {"b": 100, "c": 200}


def test_a_share_is_free_even_where_all_is_taken() -> None:
    """Partitions that a rebalance adds find their shares, however much the others have already."""
    given = quotas(tasks(a=1000, b=0), tasks(a=10, b=5000))
    assert given == {"b": 1000 * RESERVED / 2}


def test_bytes_count_as_tasks_do() -> None:
    limits = Usage(1000, 1000)
    held, stock = {"a": Usage(1, 100)}, {"a": Usage(40, 4000)}
    assert quotas(held, stock, limits) == {"a": 9}


def test_a_record_larger_than_the_limit_is_admitted_where_nothing_else_is() -> None:
    limits = Usage(1000, 1000)
    huge = {"a": Usage(2, 10_000)}
    assert quotas({"a": Usage(0, 0)}, huge, limits) == {"a": 1}
    assert quotas({"a": Usage(1, 5000)}, huge, limits) == {}


def test_a_partition_of_which_only_a_mark_waits_needs_no_quota() -> None:
    assert quotas(tasks(a=0), tasks(a=0)) == {}


@given(
    st.dictionaries(st.integers(0, 20), st.integers(0, 200), min_size=1),
    st.dictionaries(st.integers(0, 20), st.integers(1, 500), min_size=1),
)
def test_quotas_keep_the_limit_and_every_share(held: dict[int, int], waiting: dict[int, int]) -> None:
    held = {partition: held.get(partition, 0) for partition in {*held, *waiting}}
    in_flight = {partition: Usage(count, count) for partition, count in held.items()}
    given = quotas(in_flight, {p: Usage(count, count) for p, count in waiting.items()})
    share = LIMITS.tasks * RESERVED / len(held)
    after = {partition: count + given.get(partition, 0) for partition, count in held.items()}
    if sum(held.values()) <= LIMITS.tasks * RESERVED:
        assert sum(after.values()) <= LIMITS.tasks
    for partition, count in waiting.items():
        assert given.get(partition, 0) <= count
        assert after[partition] >= min(held[partition] + count, int(share))


@pytest.mark.parametrize(
    ("delayed", "counted"),
    [
        (Usage(0, 0), Usage(900, 900)),
        (Usage(400, 400), Usage(500, 500)),
        (Usage(900, 900), Usage(0, 0)),
    ],
)
def test_delayed_tasks_have_room_of_their_own(delayed: Usage, counted: Usage) -> None:
    in_flight = tasks(a=900, b=7)
    assert without_delayed(in_flight, {"a": delayed}, LIMITS) == {"a": counted, "b": Usage(7, 7)}


def test_delayed_tasks_that_fill_their_room_count_in_each_partition_by_its_part() -> None:
    in_flight, delayed = tasks(a=3000, b=1100), tasks(a=3000, b=1000)
    assert without_delayed(in_flight, delayed, LIMITS) == tasks(a=3000 - 750, b=1100 - 250)


def test_the_room_of_delayed_tasks_is_bounded_in_bytes_too() -> None:
    in_flight = {"a": Usage(10, 400), "b": Usage(1, 1)}
    counted = without_delayed(in_flight, {"a": Usage(10, 400)}, Usage(1000, 100))
    assert counted == {"a": Usage(8, 300), "b": Usage(1, 1)}


# --- when it is admitted -----------------------------------------------------------------------------


def filled(in_flight: Mapping[str, Usage], stock: Mapping[str, Usage], **admitted: int) -> Filling[str]:
    """Return a filling that was made at 10 s."""
    filling: Filling[str] = Filling()
    filling.note(in_flight, stock, admitted, 10.0)
    return filling


def test_the_first_filling_is_due() -> None:
    assert Filling[str]().is_due({"a": 1000}, ["a"], 0.0)


def test_a_filling_is_due_once_a_quarter_of_what_it_left_in_flight_is_settled() -> None:
    filling = filled(tasks(a=300, b=300), tasks(a=5000, b=5000), a=100, b=100)
    assert not filling.is_due({"a": 300, "b": 301}, ["a", "b"], 10.0)
    assert filling.is_due({"a": 300, "b": 300}, ["a", "b"], 10.0)


def test_a_filling_is_due_once_half_of_one_partition_is_settled_that_has_more_in_the_stock() -> None:
    filling = filled(tasks(a=10, b=990), tasks(a=90, b=5000, c=5), a=10, c=5)
    assert not filling.is_due({"a": 11, "b": 990, "c": 0}, ["a", "b"], 10.0)
    assert filling.is_due({"a": 10, "b": 990, "c": 5}, ["a", "b"], 10.0)


def test_a_fully_admitted_partition_requests_no_filling() -> None:
    filling = filled(tasks(a=990, b=0), tasks(a=5000, b=10), b=10)
    assert not filling.is_due({"a": 990, "b": 0}, ["a"], 10.0)


def test_what_is_fetched_of_a_partition_with_an_empty_stock_is_admitted_at_once() -> None:
    filling = filled(tasks(a=990, b=0), tasks(a=5000, b=10), b=10)
    assert filling.is_due({"a": 990, "b": 10}, ["a", "b"], 10.0)


def test_a_filling_is_due_after_a_while_although_nothing_is_settled() -> None:
    filling = filled(tasks(a=1000), tasks(a=5000))
    assert not filling.is_due({"a": 1000}, ["a"], 10.0 + FILL_SECONDS / 2)
    assert filling.is_due({"a": 1000}, ["a"], 10.0 + FILL_SECONDS)


def test_the_more_partitions_a_stock_has_the_rarer_is_a_filling_that_nothing_else_asks_for() -> None:
    names = [f"p{n}" for n in range(400)]
    filling = filled(dict.fromkeys(names, Usage(100, 100)), dict.fromkeys(names, Usage(500, 500)))
    held = dict.fromkeys(names, 100)
    assert not filling.is_due(held, names, 10.0 + 4 * FILL_SECONDS - 0.001)
    assert filling.is_due(held, names, 10.0 + 4 * FILL_SECONDS)


def test_a_filling_is_due_soon_however_many_partitions_a_stock_has() -> None:
    names = [f"p{n}" for n in range(4000)]
    filling = filled(dict.fromkeys(names, Usage(100, 100)), dict.fromkeys(names, Usage(500, 500)))
    assert filling.is_due(dict.fromkeys(names, 100), names, 10.0 + LONGEST_FILL_SECONDS)


# --- what is fetched ---------------------------------------------------------------------------------


class Reader:
    """A consumer with the partitions a, b and c, and a stock of 1,000 tasks."""

    def __init__(self) -> None:
        self.fetching: Fetching[str] = Fetching(LIMITS)
        self.taken = dict.fromkeys("abc", 0)

    def decide(self, now: float, stock: dict[str, Usage], *, drained: bool = True) -> Verdict[str]:
        return self.fetching.decide(stock, self.taken, now, assigned=3, drained=drained)


def test_a_backlog_beside_an_empty_partition_is_paused_at_half_and_resumed_at_a_quarter_of_that() -> None:
    reader = Reader()
    assert reader.decide(0.0, tasks(a=500)) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=501)) == Verdict(True, ["a"], [])
    assert reader.fetching.paused == {"a"}
    assert reader.decide(0.0, tasks(a=int(501 * RESUME) + 1)) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=int(501 * RESUME))) == Verdict(True, [], ["a"])
    assert reader.fetching.paused == frozenset()


def test_two_backlogs_get_a_third_each() -> None:
    reader = Reader()
    assert reader.decide(0.0, tasks(a=333, b=333)).pause == []
    assert reader.decide(0.0, tasks(a=334, b=334)).pause == ["a", "b"]


def test_no_partition_is_paused_if_all_have_a_stock() -> None:
    reader = Reader()
    assert reader.decide(0.0, tasks(a=800, b=50, c=50)) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=800, b=100, c=100)) == Verdict(False, [], [])
    assert reader.decide(0.0, tasks(a=int(1000 * GO_ON) - 201, b=100, c=100)) == Verdict(True, [], [])


def test_what_the_client_has_already_is_taken_before_a_pause_would_drop_it() -> None:
    reader = Reader()
    assert reader.decide(0.0, tasks(a=900), drained=False) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=900)) == Verdict(True, ["a"], [])


def test_a_stock_that_is_full_is_reason_enough_to_pause() -> None:
    reader = Reader()
    assert reader.decide(0.0, tasks(a=1000), drained=False) == Verdict(False, [], [])
    assert reader.decide(0.0, tasks(a=1000), drained=False) == Verdict(True, ["a"], [])


def test_a_partition_that_is_worked_off_in_less_than_a_pause_takes_is_not_paused() -> None:
    reader = Reader()
    reader.decide(0.0, tasks(a=10))
    reader.taken["a"] = int(900 * RATE_SECONDS / PAUSE_SECONDS)  # 900 of them take as long as a pause is worth
    assert reader.decide(RATE_SECONDS, tasks(a=899)).pause == []
    assert reader.decide(RATE_SECONDS, tasks(a=901)).pause == ["a"]


def test_a_partition_is_resumed_while_its_stock_still_lasts_for_the_next_fetch() -> None:
    reader = Reader()
    reader.decide(0.0, tasks(a=10))
    assert reader.decide(0.0, tasks(a=800)).pause == ["a"]
    reader.taken["a"] = int(600 * RATE_SECONDS / RESUME_SECONDS)
    assert reader.decide(RATE_SECONDS, tasks(a=601)).resume == []
    assert reader.decide(RATE_SECONDS, tasks(a=600)).resume == ["a"]


def test_what_paused_partitions_have_does_not_keep_the_others_from_being_fetched() -> None:
    reader = Reader()
    reader.decide(0.0, tasks(a=990))
    assert reader.fetching.paused == {"a"}
    assert reader.decide(0.0, tasks(a=990, b=50)) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=990, b=50, c=49)) == Verdict(True, [], [])
    assert reader.decide(0.0, tasks(a=990, b=50, c=50)) == Verdict(False, [], [])
    assert reader.decide(0.0, tasks(a=990, b=51)) == Verdict(True, ["b"], [])


def test_a_stock_that_stays_full_has_everything_paused_so_that_polling_brings_nothing() -> None:
    reader = Reader()
    full = tasks(a=400, b=300, c=300)
    assert reader.decide(0.0, full) == Verdict(False, [], [])
    assert reader.decide(HOLD_SECONDS, full) == Verdict(False, [], [])
    assert sorted(reader.decide(HOLD_SECONDS + 0.1, full).pause) == ["a", "b", "c"]
    assert reader.decide(HOLD_SECONDS + 0.2, full).pause == []
    assert reader.decide(HOLD_SECONDS + 0.3, tasks(a=100, b=300, c=300)).resume == ["a"]


def test_many_backlogs_fill_the_stock_together_and_the_others_are_fetched_beyond_it() -> None:
    fetching: Fetching[int] = Fetching(LIMITS)
    taken = dict.fromkeys(range(50), 0)

    def decide(partitions: int) -> Verdict[int]:
        stock = {number: Usage(30, 30) for number in range(partitions)}
        return fetching.decide(stock, taken, 0.0, assigned=50, drained=False)

    assert decide(33) == Verdict(True, [], [])
    assert decide(34) == Verdict(False, [], [])  # it is full, which the next decision sees
    assert decide(34) == Verdict(True, list(range(34)), [])
    assert decide(37).take


def test_beyond_twice_its_limit_nothing_is_taken() -> None:
    fetching: Fetching[int] = Fetching(LIMITS)
    taken = dict.fromkeys(range(500), 0)
    takes = {}
    for count in [*range(1, 101), *range(100, 80, -1)]:  # a partition more, or less, of twenty tasks each
        stock = {number: Usage(20, 20) for number in range(count)}
        takes[count] = fetching.decide(stock, taken, 0.0, assigned=500, drained=False).take
    assert int(MOST * LIMITS.tasks) == 2000
    assert not takes[100]
    assert not takes[91]
    assert takes[89]


def test_a_partition_that_is_given_up_is_forgotten() -> None:
    reader = Reader()
    reader.decide(0.0, tasks(a=900))
    assert not reader.fetching.is_calm
    reader.fetching.forget("a")
    assert reader.fetching.is_calm


# --- both together -----------------------------------------------------------------------------------


SLOW = 0.3
"""Seconds of a step in which a stock lasts for longer than a pause takes."""


class Model:
    """A consumer as numbers: a client with one queue, a stock, what is in flight, and workers that serve in turn."""

    def __init__(self, backlogs: list[int], blocked: set[int], order: list[int], stock: int = 120) -> None:
        self.left = dict(enumerate(backlogs))
        self.client: list[int] = []
        self.stock = dict.fromkeys(self.left, 0)
        self.in_flight = dict.fromkeys(self.left, 0)
        self.done = dict.fromkeys(self.left, 0)
        self.taken = dict.fromkeys(self.left, 0)
        self.blocked = blocked
        self.order = order
        self.admission: Admission[int] = Admission(Usage(40, 10**9))
        self.fetching: Fetching[int] = Fetching(Usage(stock, 10**9))

    def step(self, now: float, served: int) -> None:
        self._fetch()
        stock = {p: Usage(count, count) for p, count in self.stock.items() if count}
        verdict = self.fetching.decide(stock, self.taken, now, assigned=len(self.left), drained=not self.client)
        for partition in verdict.pause:  # the client drops what it has, and fetches it again later
            self.left[partition] += self.client.count(partition)
            self.client = [each for each in self.client if each != partition]
        if verdict.take:
            for partition in self.client[:30]:
                self.stock[partition] += 1
            del self.client[:30]
        self._admit()
        for _ in range(served):
            self._serve()

    def _fetch(self) -> None:
        """While its queue is short, the client fetches up to ten records of each partition, in any order."""
        if len(self.client) < 10:
            for partition in self.order:
                if partition not in self.fetching.paused:
                    count = min(10, self.left[partition])
                    self.left[partition] -= count
                    self.client += [partition] * count

    def _admit(self) -> None:
        held = {p: Usage(count, count) for p, count in self.in_flight.items()}
        stock = {p: Usage(count, count) for p, count in self.stock.items() if count}
        for partition, count in self.admission.quotas(held, stock).items():
            self.stock[partition] -= count
            self.in_flight[partition] += count
            self.taken[partition] += count

    def _serve(self) -> None:
        ready = [p for p in self.in_flight if self.in_flight[p] and p not in self.blocked]
        if ready:
            chosen = min(ready, key=lambda p: self.done[p])
            self.in_flight[chosen] -= 1
            self.done[chosen] += 1


@given(st.data())
def test_a_partition_with_work_that_is_not_blocked_gets_its_share_for_any_client_behaviour(
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(2, 6))
    backlogs = data.draw(st.lists(st.sampled_from([1, 30, 3000]), min_size=count, max_size=count))
    blocked = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    often = data.draw(st.lists(st.integers(0, count - 1), max_size=count))
    seconds = data.draw(st.sampled_from([0.01, SLOW]))  # a step's: with short ones no stock lasts for a pause
    model = Model(backlogs, blocked, [*often, *range(count)])
    steps, served = 600, 2
    for step in range(steps):
        model.step(step * seconds, served)
    free = [partition for partition in range(count) if partition not in blocked]
    # Where a stock lasts for a pause, a partition gets half of an equal part, however often the client fetches others.
    # Where it does not, none is paused, and it gets what the client fetches of it: one chunk in a bounded number.
    part = 1 if seconds == SLOW else 1 + len(often)
    fair = steps * served / len(free)
    for partition in free:
        assert model.done[partition] >= min(backlogs[partition], fair / 2 / part), (model.done, backlogs)
    assert sum(model.in_flight.values()) <= 40 * (1 + RESERVED)


def test_of_more_partitions_than_the_stock_has_room_for_the_last_begins_soon_after_the_first() -> None:
    model = Model([3000] * 60, set(), list(range(60)), stock=400)
    for step in range(30):
        model.step(step * 0.05, 4)
    assert min(model.done.values()) >= 1
    for step in range(30, 400):
        model.step(step * 0.05, 4)
    assert min(model.done.values()) >= 0.6 * 400 * 4 / 60
    assert sum(model.stock.values()) <= 400 * MOST + 30


@pytest.mark.parametrize("quiet", range(1, 6))
def test_a_record_of_a_quiet_partition_is_served_within_a_few_rounds_of_its_coming(quiet: int) -> None:
    model = Model([100_000, 0, 0, 0, 0, 0], set(), [0, 0, 0, 1, 2, 3, 4, 5])
    for step in range(300):
        model.step(step * 0.3, 2)
    for step in range(300, 400):
        model.left[quiet] += step % 10 == 0
        model.step(step * 0.3, 2)
        if step % 10 == 3:
            assert model.done[quiet] == (step - 300) // 10 + 1


def test_more_is_taken_at_once_while_tasks_are_long_and_many_may_be_in_flight() -> None:
    assert take_size(Pace().seconds, 10**6) == take_size(LONG_TASK_SECONDS, 10**6) == TAKE  # before any task has ended
    long = LONG_TASK_SECONDS * 1.01
    assert [take_size(long, most) for most in (1, 10_000, 20_000, 10**6)] == [TAKE, TAKE, 2 * TAKE, LARGE_TAKE]

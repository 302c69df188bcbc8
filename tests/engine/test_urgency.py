"""Priorities: the most urgent sessions of all partitions come first, none starves, and each session keeps its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from processor.engine.assignment import Assignment
from processor.engine.lanes import QUANTUM
from processor.engine.ledger import Loan
from processor.engine.record import Headers
from processor.engine.retry import Setback
from processor.engine.terms import Terms
from processor.engine.urgency import AGED_TURN
from tests.engine.record import FakeRecord

Place = tuple[int, bytes]
"""A partition, and the key of a session."""


def terms_of(headers: Headers) -> Terms | None:
    found = {name: int(value) for name, value in headers if value is not None}
    return Terms(found.get("priority", 0), not_before=found.get("due", -inf)) if found else None


def record(offset: int, key: bytes | None, priority: int = 0, due: int = 0) -> FakeRecord:
    headers: Headers = [("priority", b"%d" % priority)] if priority else []
    return FakeRecord(offset, key, b"v", [*headers, ("due", b"%d" % due)] if due else headers or None)


def assigned(*partitions: list[FakeRecord]) -> Assignment[int]:
    """Assign partition 0 with these records, partition 1 with those, and so on."""
    assignment: Assignment[int] = Assignment(terms_of)
    for partition, records in enumerate(partitions):
        assignment.assign(partition, 0)
        assignment.admit(partition, records, 0.0)
    return assignment


def lent(assignment: Assignment[int], limit: int = 1, epoch: float = 0.0) -> list[tuple[bytes | None, list[int]]]:
    return [(loan.lane.key, [r.offset() for r in loan.records]) for loan in assignment.lend(limit, epoch=epoch)]


def finish(assignment: Assignment[int], loan: Loan) -> None:
    loan.done = len(loan.records)
    assignment.release(loan)


def test_partitions_take_turns_with_their_sessions_of_the_same_urgency() -> None:
    assignment = assigned([record(0, b"a", 5), record(1, b"b", 5)], [record(0, b"c", 5)])
    assert [key for key, _ in lent(assignment, 10)] == [b"a", b"c", b"b"]


def test_the_most_urgent_session_of_all_partitions_comes_first() -> None:
    assignment = assigned(
        [record(0, b"a"), record(1, b"b", 3), record(2, b"c", 7)], [record(0, b"d"), record(1, b"e", 5)]
    )
    assert [key for key, _ in lent(assignment, 10)] == [b"c", b"e", b"b", b"a", b"d"]


def test_an_urgent_task_lifts_those_before_it_and_not_those_behind_it() -> None:
    assignment = assigned([record(0, b"x"), record(1, b"a"), record(2, b"a"), record(3, b"a", 9), record(4, b"a")])
    first, *others = assignment.lend(10)
    assert (first.lane.key, [r.offset() for r in first.records]) == (b"a", [1, 2, 3])
    assert [loan.lane.key for loan in others] == [b"x"]
    finish(assignment, first)
    assert lent(assignment) == [(b"a", [4])]


def test_an_urgent_task_lifts_a_session_that_waits_already() -> None:
    assignment = assigned([record(0, b"a"), record(1, b"b"), record(2, b"c", 1)])
    assert lent(assignment) == [(b"c", [2])]
    assignment.admit(0, [record(3, b"b", 9), record(4, b"b", 2), record(5, b"a", 2)], 0.0)
    assert lent(assignment, 2) == [(b"b", [1, 3])]
    assert lent(assignment, 2) == [(b"a", [0, 5])]


def test_a_less_urgent_task_moves_a_session_nowhere() -> None:
    assignment = assigned([record(0, b"a", 5), record(1, b"b", 5)])
    assignment.admit(0, [record(2, b"a", 3), record(3, b"b", 5)], 0.0)
    assert lent(assignment, 3) == [(b"a", [0]), (b"b", [1, 3])]


def test_a_session_that_is_lent_stands_where_its_tasks_belong_when_it_returns() -> None:
    assignment = assigned([record(0, b"a"), record(1, b"b", 1)])
    (b_loan, a_loan) = assignment.lend(2)
    assignment.admit(0, [record(2, b"a", 9), record(3, b"b", 3)], 0.0)
    finish(assignment, b_loan)
    assignment.release(a_loan)  # of which nothing was done
    assert lent(assignment, 2) == [(b"a", [0, 2])]
    assert lent(assignment) == [(b"b", [3])]


def test_tasks_without_a_key_are_as_urgent_as_each_is() -> None:
    assignment = assigned([record(0, None), record(1, None, 4), record(2, None, 8), record(3, None)])
    assert [offsets for _, offsets in lent(assignment, 10)] == [[2], [1], [0], [3]]


def test_the_partitions_of_one_urgency_take_turns() -> None:
    urgent = [record(n, b"s%d" % n, 5) for n in range(4)]
    assignment = assigned(urgent, urgent, urgent)
    order = [assignment.lend(1)[0].ledger for _ in range(6)]
    assert order == [assignment.ledgers[p] for p in (0, 1, 2, 0, 1, 2)]


def test_every_eighth_turn_is_that_of_the_session_that_has_waited_longest() -> None:
    tasks = [record(0, b"old"), record(1, b"old 2"), *[record(2 + n, b"u%d" % n, 9) for n in range(20)]]
    keys = [key for key, _ in lent(assigned(tasks), 22)]
    assert [keys.index(b"old"), keys.index(b"old 2")] == [AGED_TURN - 1, 2 * AGED_TURN - 1]


def test_what_waited_before_the_first_priority_is_as_old_in_one_partition_as_in_another() -> None:
    plain = [record(n, b"s%d" % n) for n in range(3)]
    assignment = assigned(plain, plain, [record(n, b"u%d" % n, 9) for n in range(40)])
    aged = [loan for loan in assignment.lend(40) if not loan.lane.urgent]
    assert [(loan.ledger is assignment.ledgers[1], loan.lane.key) for loan in aged[:4]] == [
        (False, b"s0"), (True, b"s0"), (False, b"s1"), (True, b"s1"),
    ]  # fmt: skip


def test_a_session_that_was_lent_and_not_begun_counts_as_the_one_that_has_waited_longest() -> None:
    assignment = assigned([record(0, b"a"), record(1, b"b", 2), record(2, b"c", 2), record(3, b"d", 2)])
    first, second = assignment.lend(2)
    assignment.take_back(second)
    assignment.take_back(first)
    assert [key for key, _ in lent(assignment, 3)] == [b"b", b"c", b"d"]
    assert lent(assignment) == [(b"a", [0])]


def test_a_session_that_is_not_urgent_is_the_next_of_those_after_it_was_not_begun() -> None:
    assignment = assigned([record(0, b"a"), record(1, b"b"), record(2, b"c", 2)])
    _, first = assignment.lend(2)
    assignment.take_back(first)
    assert [key for key, _ in lent(assignment, 2)] == [b"a", b"b"]


def test_a_session_of_many_urgent_tasks_gets_a_turn_and_no_more() -> None:
    assignment = assigned([*[record(n, b"big", 9) for n in range(3 * QUANTUM)], record(3 * QUANTUM, b"small", 9)])
    assert [(key, len(offsets)) for key, offsets in lent(assignment, 10 * QUANTUM)] == [
        (b"big", QUANTUM), (b"small", 1),
    ]  # fmt: skip


def test_an_urgent_task_whose_time_has_not_come_takes_no_turn_of_another() -> None:
    early = [record(n, b"early%d" % n, 9, due=100) for n in range(20)]
    assignment = assigned([record(20, b"a"), record(21, b"b", 1)], early)
    assert [key for key, _ in lent(assignment, 10)] == [b"b", b"a"]
    assignment.wake(0.0, 100.0)
    assert len(lent(assignment, 30, epoch=100.0)) == 20


def test_a_retry_of_an_urgent_task_is_urgent() -> None:
    assignment = assigned([record(0, b"a", 9), *[record(1 + n, b"s%d" % n, 1) for n in range(3)]])
    (loan,) = assignment.lend(1)
    assignment.park(loan, Setback("E", "no", 0.0, 5.0))
    assert lent(assignment) == [(b"s0", [1])]
    assignment.wake(5.0)
    assert lent(assignment) == [(b"a", [0])]


def test_a_partition_that_drains_has_no_turn_and_one_that_comes_has() -> None:
    assignment = assigned([record(0, b"a", 9), record(1, b"b", 4)], [record(0, b"c", 5)])
    (loan,) = assignment.lend(1)
    assignment.drain(0)
    assignment.admit(0, [record(2, b"d", 9)], 0.0)
    assignment.release(loan)  # it is back, and its partition is not lent any more
    assert [key for key, _ in lent(assignment, 10)] == [b"c"]
    assignment.close(0)
    assignment.assign(2, 0)
    assignment.admit(2, [record(0, b"e"), record(1, b"f", 2)], 0.0)
    assert [key for key, _ in lent(assignment, 10)] == [b"f", b"e"]


def test_a_partition_that_drains_when_the_first_priority_is_seen_has_no_turn() -> None:
    assignment = assigned([record(0, b"a")], [record(0, b"b")])
    assignment.drain(0)
    assignment.admit(1, [record(1, b"c", 9)], 0.0)
    assert [key for key, _ in lent(assignment, 10)] == [b"c", b"b"]


def test_without_a_priority_there_are_no_turns_by_urgency() -> None:
    assignment = assigned([record(0, b"a"), record(1, b"b", due=1)])
    assert assignment.snapshot(0.0, 5).urgent == 0
    assignment.admit(0, [record(2, b"c", 1), record(3, b"d", 2)], 0.0)
    assert assignment.snapshot(0.0, 5).urgent == 2


def test_each_ready_session_is_estimated_to_have_a_task_also_if_the_next_partition_has_none_ready() -> None:
    """A partition whose urgent sessions were lent keeps its turn among the others."""
    assignment = assigned([record(0, b"u", 5)], [record(0, b"a"), record(1, b"b")])
    assert lent(assignment) == [(b"u", [0])]
    assert assignment.estimate_ready_tasks() == assignment.ready_lanes == 2


@pytest.mark.parametrize("urgency", [0, 9])
def test_a_task_behind_a_constant_stream_of_urgent_ones_still_begins(urgency: int) -> None:
    """With two priorities, a session is overtaken at most seven times for each session that has waited longer."""
    assignment = assigned([record(0, b"old"), record(1, b"patient", urgency // 2)])
    begun = []
    for n in range(3 * AGED_TURN):
        assignment.admit(0, [record(2 + n, b"u%d" % n, 9)], 0.0)
        begun += [key for key, _ in lent(assignment)]
    assert b"old" in begun[:AGED_TURN]
    assert b"patient" in begun[: 2 * AGED_TURN]


class Urgency(RuleBasedStateMachine):
    """Against a model that has, for each session, only its waiting tasks and when it became ready."""

    def __init__(self) -> None:
        super().__init__()
        self.assignment: Assignment[int] = Assignment(terms_of)
        self.ends = {0: 0, 1: 0, 2: 0}
        self.waiting: dict[Place, list[tuple[int, int]]] = defaultdict(list)
        """Offset and priority of each task."""
        self.ready: dict[Place, int] = {}
        """The sessions that a worker may have, and since when."""
        self.loans: dict[Place, Loan] = {}
        self.parked: dict[Place, float] = {}
        self.clock = 0.0
        self.moment = 0
        self.is_in_use = False
        """Whether there was a priority: until then ages are not kept."""
        self.turns_since_aged = 0

    @initialize()
    def begin(self) -> None:
        for partition in self.ends:
            self.assignment.assign(partition, 0)

    @rule(
        partition=st.integers(0, 2),
        tasks=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([0, 0, 0, 1, 5, 9]))),
    )
    def admit(self, partition: int, tasks: list[tuple[bytes, int]]) -> None:
        if not tasks:
            return
        start = self.ends[partition]
        self.ends[partition] += len(tasks)
        self.assignment.admit(partition, [record(start + n, *task) for n, task in enumerate(tasks)], 0.0)
        for n, (key, priority) in enumerate(tasks):
            place = (partition, key)
            if not self.waiting[place] and place not in self.loans:
                self.becomes_ready(place)
            self.waiting[place].append((start + n, priority))
        self.is_in_use = self.is_in_use or any(priority for _, priority in tasks)

    @rule(limit=st.integers(1, 5))
    def lend(self, limit: int) -> None:
        for loan in self.assignment.lend(limit):
            self.check_turn(loan)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Some of its tasks are done."""
        place, loan = self.ended(data)
        loan.done = data.draw(st.integers(0, len(loan.records)))
        self.assignment.release(loan)
        if self.returned(place, loan):
            self.becomes_ready(place)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        place, loan = self.ended(data)
        due = self.clock + data.draw(st.integers(1, 3))
        self.assignment.park(loan, Setback("E", "no", self.clock, due))
        self.returned(place, loan)
        self.parked[place] = due

    @rule(seconds=st.integers(1, 3))
    def wake(self, seconds: int) -> None:
        self.clock += seconds
        due = [place for place, at in self.parked.items() if at <= self.clock]
        for place in sorted(due, key=lambda place: self.parked[place]):
            del self.parked[place]
        self.assignment.wake(self.clock)
        self.moment += 1
        for place in due:  # those that are woken together are equally old for the model
            self.ready[place] = self.moment

    def teardown(self) -> None:
        """Everything comes to its end."""
        while self.loans or self.parked or self.ready:
            self.clock += 10
            self.assignment.wake(self.clock)
            self.ready |= dict.fromkeys(self.parked, self.moment)
            self.parked.clear()
            for loan in self.assignment.lend(3):
                self.loans[self.place_of(loan)] = loan
                self.waiting[self.place_of(loan)] = self.waiting[self.place_of(loan)][len(loan.records) :]
                del self.ready[self.place_of(loan)]
            for place, loan in self.loans.items():
                finish(self.assignment, loan)
                if self.waiting[place]:
                    self.ready[place] = self.moment
            self.loans.clear()
        assert self.assignment.in_flight == self.assignment.ready_lanes == 0

    # -----------------------------------------------------------------------------------------------

    def check_turn(self, loan: Loan) -> None:
        place = self.place_of(loan)
        offsets = [r.offset() for r in loan.records]
        assert offsets == [offset for offset, _ in self.waiting[place][: len(offsets)]], "a session overtook itself"
        most = max(self.urgency(each) for each in self.ready)
        if most:
            is_aged = self.ready[place] == min(self.ready.values())
            assert is_aged or self.urgency(place) == most
            self.turns_since_aged = 0 if is_aged else self.turns_since_aged + 1
            assert self.turns_since_aged < AGED_TURN
            assert self.urgency(place) == 0 or self.lifts(place, offsets), "tasks behind the urgent one had its turn"
        del self.ready[place]
        self.waiting[place] = self.waiting[place][len(offsets) :]
        self.loans[place] = loan

    def lifts(self, place: Place, offsets: list[int]) -> bool:
        """Return whether the loan ends at the latest with the last task of the session's urgency."""
        last = max(offset for offset, priority in self.waiting[place] if priority == self.urgency(place))
        return offsets[-1] <= last

    def urgency(self, place: Place) -> int:
        return max(priority for _, priority in self.waiting[place])

    def place_of(self, loan: Loan) -> Place:
        partition = next(p for p, ledger in self.assignment.ledgers.items() if ledger is loan.ledger)
        return partition, loan.lane.key or b""

    def ended(self, data: st.DataObject) -> tuple[Place, Loan]:
        place = data.draw(st.sampled_from(sorted(self.loans)))
        return place, self.loans.pop(place)

    def returned(self, place: Place, loan: Loan) -> bool:
        """Put unsettled tasks back to the front. Return whether any task waits."""
        undone = loan.records[loan.done :]
        given = [(r.offset(), (terms_of(r.headers() or []) or Terms()).priority) for r in undone]
        self.waiting[place] = given + self.waiting[place]
        return bool(self.waiting[place])

    def becomes_ready(self, place: Place) -> None:
        """Before the first priority no ages are kept: each of those sessions may count as the oldest."""
        if self.is_in_use:
            self.moment += 1
        self.ready[place] = self.moment


Urgency.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestUrgency: Callable[..., object] = Urgency.TestCase

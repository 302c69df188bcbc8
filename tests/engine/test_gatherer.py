"""Batches: what is gathered, when a batch is called, and what follows for its tasks.

The machine at the end runs a whole consumer's engine with three handlers: a plain one, one that takes batches of many
sessions, and one that takes batches of one session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine.assignment import Assignment
from processor.engine.gatherer import SPARE_DUES, Gatherer, members
from processor.engine.ledger import LedgerState, Loan
from processor.engine.loan import Batch, BatchRule, Part
from processor.engine.outcome import Gathered
from processor.engine.retry import Setback
from processor.engine.terms import Terms
from tests.engine.record import FakeRecord

RULE = BatchRule(size=4, wait=10.0)
BY_SESSION = BatchRule(size=3, wait=10.0, by_session=True)


def lent(assignment: Assignment[int], *keys: bytes, start: int = 0) -> list[Loan]:
    """Admit these tasks, and return a loan for each session."""
    if 0 not in assignment.ledgers:
        assignment.assign(0, start)
    assignment.admit(0, [FakeRecord(start + n, key) for n, key in enumerate(keys)], 0.0)
    return assignment.lend(100)


def part(loan: Loan, *, ends: bool = False) -> Part:
    return Part(loan, list(loan.records), ends=ends)


def offsets(batch: Batch) -> list[list[int]]:
    return [[record.offset() for record in loan.records] for loan in batch.loans]


def place_of_head(assignment: Assignment[int]) -> str | None:
    head = assignment.ledgers[0].head()
    return head.place if head is not None else None


def test_a_batch_is_ready_when_it_is_full_and_not_before() -> None:
    gatherer = Gatherer()
    a, b, c = lent(Assignment(), b"a", b"a", b"b", b"c")
    assert not gatherer.has_open
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.add("h", RULE, part(b), 5.0)
    assert (gatherer.room("h", RULE), list(gatherer.ready), gatherer.has_open) == (1, [], True)
    gatherer.add("h", RULE, part(c), 6.0)
    assert not gatherer.has_open
    assert offsets(gatherer.take()) == [[0, 1], [2], [3]]
    assert gatherer.room("h", RULE) == 4


def test_a_batch_is_ready_when_its_first_task_has_waited_long_enough() -> None:
    gatherer = Gatherer()
    a, b = lent(Assignment(), b"a", b"b")
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.add("h", RULE, part(b), 9.0)
    gatherer.tend(9.9)
    assert not gatherer.ready
    gatherer.tend(10.0)
    assert offsets(gatherer.take()) == [[0], [1]]
    gatherer.tend(100.0)
    assert not gatherer.ready


def test_a_loan_is_narrowed_to_the_tasks_behind_those_that_are_done_and_they_have_no_attempt_yet() -> None:
    assignment = Assignment[int]()
    (a,) = lent(assignment, *[b"a"] * 4)
    assignment.park(a, Setback("E", "no", 0.0, 1.0))
    assignment.wake(1.0)
    (a,) = assignment.lend(4)
    assert (a.attempt, len(a.records)) == (2, 4)
    a.done = 1
    assert assignment.narrow(a, 2) == 1
    assert [record.offset() for record in a.records] == [1, 2]
    assert (a.attempt, a.done, assignment.waiting, assignment.in_flight) == (1, 0, 1, 3)


def test_each_handler_has_a_batch_of_its_own() -> None:
    gatherer = Gatherer()
    a, b = lent(Assignment(), b"a", b"b")
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.add("i", RULE, part(b), 0.0)
    gatherer.tend(10.0)
    assert [offsets(batch) for batch in gatherer.ready] == [[[0]], [[1]]]


def test_a_batch_of_one_session_takes_no_other() -> None:
    gatherer = Gatherer()
    a, b = lent(Assignment(), b"a", b"b")
    gatherer.add("h", BY_SESSION, part(a), 0.0)
    assert gatherer.room("h", BY_SESSION) == 3
    gatherer.add("h", BY_SESSION, part(b), 1.0)
    gatherer.tend(10.0)
    assert [offsets(batch) for batch in gatherer.ready] == [[[0]]]
    gatherer.tend(11.0)
    assert [offsets(batch) for batch in gatherer.ready] == [[[0]], [[1]]]


def test_a_batch_is_ready_when_what_came_to_its_lanes_would_fill_it() -> None:
    """A session's later tasks cannot be lent while its first one is, but they can join the same batch."""
    gatherer, assignment = Gatherer(), Assignment[int]()
    (a,) = lent(assignment, b"a")
    gatherer.add("h", RULE, part(a), 0.0)
    lent(assignment, b"a", b"a", start=1)
    gatherer.tend(1.0)
    assert not gatherer.ready
    lent(assignment, b"a", start=3)
    gatherer.tend(1.001)
    assert not gatherer.ready, "it looks every five milliseconds"
    gatherer.tend(1.005)
    batch = gatherer.take()
    assignment.widen(batch.leader, batch.room)
    batch.count()
    assert (offsets(batch), batch.room) == ([[0, 1, 2, 3]], 0)


def test_a_loan_that_ends_is_not_counted_on() -> None:
    gatherer, assignment = Gatherer(), Assignment[int]()
    (a,) = lent(assignment, b"a")
    gatherer.add("h", RULE, part(a, ends=True), 0.0)
    lent(assignment, *[b"a"] * 9, start=1)
    gatherer.tend(1.0)
    assert not gatherer.ready


def test_a_batch_that_turns_out_to_have_room_waits_on() -> None:
    gatherer, assignment = Gatherer(), Assignment[int]()
    (a,) = lent(assignment, b"a")
    lent(assignment, b"a", b"a", b"a", start=1)
    gatherer.add("h", RULE, part(a), 0.0)
    batch = gatherer.take()
    gatherer.reopen(batch)
    gatherer.tend(1.0)
    assert not gatherer.ready, "what stands behind its task is not for it"
    gatherer.tend(10.0)
    assert gatherer.take() is batch


def test_a_batch_that_waits_on_is_one_with_what_was_opened_meanwhile() -> None:
    gatherer = Gatherer()
    a, b, c, d = lent(Assignment(), b"a", b"b", b"c", b"c", b"c", b"d")
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.tend(10.0)
    batch = gatherer.take()
    gatherer.add("h", RULE, part(b), 5.0)
    gatherer.reopen(batch)
    assert offsets(batch) == [[0], [1]]
    gatherer.tend(10.0)
    assert gatherer.take() is batch
    gatherer.add("h", RULE, part(c), 11.0)
    gatherer.reopen(batch)
    assert gatherer.take() is batch, "both together are more than a batch"
    gatherer.add("h", RULE, part(d), 12.0)
    assert offsets(gatherer.take()) == [[2, 3, 4], [5]]


def test_two_batches_that_are_full_together_are_called_at_once() -> None:
    gatherer = Gatherer()
    a, b = lent(Assignment(), b"a", b"b", b"b", b"b")
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.tend(10.0)
    batch = gatherer.take()
    gatherer.add("h", RULE, part(b), 11.0)
    gatherer.reopen(batch)
    assert gatherer.take() is batch
    assert offsets(batch) == [[0], [1, 2, 3]]


def test_loans_are_taken_out_of_open_batches_and_of_ready_ones() -> None:
    gatherer = Gatherer()
    a, b, c = lent(Assignment(), b"a", b"b", b"c")
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.add("h", RULE, part(b), 0.0)
    gatherer.add_alone("h", RULE, part(c), 0.0)
    assert b.batch is not None
    assert (b.batch.remove(lambda loan: False), b.batch.loans) == ([], [a, b])
    assert gatherer.remove(lambda loan: loan in (a, c)) == [a, c]
    assert (a.batch, c.batch, list(gatherer.ready), gatherer.room("h", RULE)) == (None, None, [], 3)
    assert gatherer.remove(lambda loan: True) == [b]
    gatherer.tend(10.0)
    assert not gatherer.ready


def test_a_task_that_has_failed_waits_for_nothing() -> None:
    gatherer = Gatherer()
    (a,) = lent(Assignment(), b"a")
    gatherer.add_alone("h", RULE, part(a), 0.0)
    batch = gatherer.take()
    assert (batch.alone, batch.room, members(a)) == (True, 0, [a])


def test_a_batch_that_is_named_is_lent_before_those_that_were_ready_earlier() -> None:
    gatherer = Gatherer()
    for loan in lent(Assignment(), b"a", b"b"):
        gatherer.add_alone("h", RULE, part(loan), 0.0)
    _, second = gatherer.ready
    assert gatherer.take(second) is second
    assert second.is_lent
    assert second not in gatherer.ready


def test_what_is_not_begun_is_lent_next() -> None:
    gatherer = Gatherer()
    a, b = lent(Assignment(), b"a", b"b")
    gatherer.add_alone("h", RULE, part(a), 0.0)
    gatherer.add_alone("h", RULE, part(b), 0.0)
    first = gatherer.take()
    gatherer.restore(first)
    assert gatherer.take() is first


def test_a_gathered_task_waits_until_its_batch_is_lent() -> None:
    gatherer, assignment = Gatherer(), Assignment[int]()
    (a,) = lent(assignment, b"a")
    gatherer.add("h", RULE, part(a), 0.0)
    places = [place_of_head(assignment)]
    gatherer.tend(10.0)
    gatherer.take()
    assert [*places, place_of_head(assignment)] == ["waiting", "lent"]


def test_times_of_batches_that_were_full_are_forgotten() -> None:
    """With batches that wait up to an hour, a thousand a second, there would be millions."""
    gatherer, assignment = Gatherer(), Assignment[int]()
    for n in range(1000):
        (loan,) = lent(assignment, b"%d" % n, start=n)
        gatherer.add("h", BatchRule(1, 3600.0), part(loan), 0.0)
        gatherer.take()
    assert len(gatherer._dues) <= SPARE_DUES + 3


def test_a_task_with_terms_joins_no_batch_by_itself() -> None:
    """A worker checks whether it may begin, when it gets the task."""
    assignment = Assignment[int](lambda headers: Terms(not_before=9.0))
    (a,) = lent(assignment, b"a")
    later = [FakeRecord(1, b"a"), FakeRecord(2, b"a", b"", [("task-not-before", b"9")]), FakeRecord(3, b"a")]
    assignment.admit(0, later, 0.0)
    assignment.widen(a, 5)
    assert [record.offset() for record in a.records] == [0, 1]
    assert (assignment.waiting, assignment.in_flight) == (2, 4)


def test_each_task_that_failed_with_the_head_of_its_lane_is_on_its_second_attempt() -> None:
    gatherer, assignment = Gatherer(), Assignment[int]()
    (a,) = lent(assignment, *[b"a"] * 4)
    gatherer.add("h", RULE, part(a), 0.0)
    gatherer.take()
    assignment.settle_others(a, [0, 2, 3])
    assignment.park(a, Setback("E", "no", 0.0, 1.0))
    attempts = []
    for _ in range(3):
        assignment.wake(1.0)
        (a,) = assignment.lend(10)
        assignment.narrow(a, 1)
        attempts.append((a.records[0].offset(), a.attempt))
        a.done = 1
        assignment.release(a)
    assert attempts == [(0, 2), (2, 2), (3, 2)]
    assert assignment.in_flight == 0
    assert not assignment.ledgers[0].tried


def test_what_ends_of_a_batch_after_its_partition_was_lost_changes_nothing() -> None:
    gatherer, assignment = Gatherer(), Assignment[int]()
    a, b = lent(assignment, b"a", b"a", b"b", b"b")
    for loan in (a, b):
        gatherer.add("h", RULE, part(loan), 0.0)
    gatherer.take()
    assignment.close(0)
    assert assignment.narrow(a, 1) == 0
    assert assignment.settle_others(b, [1]) == 1
    assignment.release(a)
    assert not assignment.ledgers
    assignment.park(b, Setback("E", "no", 0.0, 1.0))
    assert (assignment.in_flight, assignment.waiting, assignment.lent_loans) == (0, 0, 0)


def test_a_task_that_is_gathered_was_not_attempted() -> None:
    assert not Gathered(task=None, handler=None).is_attempt


# --- a consumer's engine -------------------------------------------------------------------------------

PLAIN, MANY, ONE = b"plain", b"many", b"one"
RULES = {MANY: BatchRule(4, 3.0), ONE: BatchRule(3, 5.0, by_session=True)}
KEYS = (b"a", b"b", b"c", None)
PARTITIONS = (0, 1)
Task = tuple[int, int]


class Batching(RuleBasedStateMachine):
    """Admit, meet, gather, fill, call, fail in part or as a whole, drain, revoke, lose."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.assignment: Assignment[int] = Assignment()
        self.gatherer = Gatherer()
        self.logs: dict[int, list[FakeRecord]] = {partition: [] for partition in PARTITIONS}
        self.fetched = dict.fromkeys(PARTITIONS, 0)
        self.settled: set[Task] = set()
        self.failures: dict[Task, int] = {}
        self.running: list[Batch] = []

    @initialize()
    def begin(self) -> None:
        for partition in PARTITIONS:
            self.assignment.assign(partition, 0)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        records=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([PLAIN, MANY, MANY, ONE])), max_size=8),
    )
    def fetch(self, partition: int, records: list[tuple[bytes | None, bytes]]) -> None:
        log = self.logs[partition]
        log += [FakeRecord(len(log) + n, key, kind) for n, (key, kind) in enumerate(records)]
        new = log[self.fetched[partition] :]
        self.fetched[partition] = len(log)
        if new:
            self.assignment.admit(partition, new, self.clock)

    @rule(limit=st.integers(1, 12))
    def meet(self, limit: int) -> None:
        """A worker works off what is lent to it, up to the first task of each lane that goes into a batch."""
        for loan in self.assignment.lend(limit):
            while loan.done < len(loan.records) and loan.records[loan.done].value() == PLAIN:
                self.check_turn(loan, [loan.records[loan.done]])
                self.settled.add(self.task_of(loan, loan.records[loan.done]))
                loan.done += 1
            if loan.done == len(loan.records):
                self.assignment.release_all([loan])
            else:
                self.gather(loan)

    def gather(self, loan: Loan) -> None:
        kind = loan.records[loan.done].value()
        assert kind is not None
        if not loan.done and loan.attempt > 1:
            self.assignment.narrow(loan, 1)
            self.gatherer.add_alone(kind, RULES[kind], Part(loan, list(loan.records)), self.clock)
            return
        same = self.same_from(loan, loan.done, kind)
        count = min(same, self.gatherer.room(kind, RULES[kind]))
        ends = loan.done + same < len(loan.records)
        self.assignment.narrow(loan, count)
        tasks = list(loan.records)
        self.gatherer.add(kind, RULES[kind], Part(loan, tasks, ends=ends and count == same), self.clock)

    @rule(seconds=st.integers(0, 4))
    def tend(self, seconds: int) -> None:
        self.clock += seconds
        self.assignment.wake(self.clock)
        self.gatherer.tend(self.clock)

    @precondition(lambda self: self.gatherer.ready)
    @rule()
    def call(self) -> None:
        """A borrower takes a batch, fills it, and calls its handler; or returns it, as it has room still."""
        batch = self.gatherer.take()
        self.fill(batch)
        if batch.room > 0 and self.clock < batch.due:
            self.gatherer.reopen(batch)
            return
        failed_before = [
            self.failures.get(self.task_of(part.loan, task), 0) for part in batch.parts for task in part.tasks
        ]
        assert len(failed_before) <= batch.rule.size
        assert not batch.rule.by_session or len(batch.parts) == 1
        assert failed_before == [batch.leader.attempt - 1] if batch.alone else not any(failed_before)
        for part in batch.parts:
            assert part.tasks == part.loan.records
            self.check_turn(part.loan, part.tasks)
        self.running.append(batch)

    def fill(self, batch: Batch) -> None:
        for part in batch.parts:
            if batch.room > 0 and not part.ends:
                self.assignment.widen(part.loan, batch.room)
                same = self.same_from(part.loan, 0, batch.handler)
                part.ends = same < len(part.loan.records)
                self.assignment.narrow(part.loan, same)
                part.tasks = list(part.loan.records)
                batch.count()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def conclude(self, data: st.DataObject) -> None:
        """Each task of a batch succeeds or fails; sometimes one that failed is given up."""
        batch = data.draw(st.sampled_from(self.running))
        self.running.remove(batch)
        for part in batch.parts:
            loan, count = part.loan, len(part.loan.records)
            failed = sorted(data.draw(st.sets(st.integers(0, count - 1))) if data.draw(st.booleans()) else ())
            self.end(loan, failed, data.draw(st.integers(0, 3)))

    def end(self, loan: Loan, failed: list[int], delay: int) -> None:
        is_open = loan.ledger.state is not LedgerState.CLOSED
        for index, record in enumerate(loan.records):
            task = self.task_of(loan, record)
            if index in failed:
                self.failures[task] = self.failures.get(task, 0) + 1
            elif is_open:
                self.settled.add(task)
        if not failed:
            loan.done = len(loan.records)
            self.assignment.release(loan)
            return
        self.assignment.settle_others(loan, failed)
        self.assignment.park(loan, Setback("E", "no", self.clock, self.clock + delay))

    # --- the group's side --------------------------------------------------------------------------

    @rule(partition=st.sampled_from(PARTITIONS))
    def drain(self, partition: int) -> None:
        self.assignment.drain(partition)
        for loan in self.gatherer.remove(lambda loan: not loan.ledger.may_begin):
            self.assignment.take_back(loan)
        assert all(batch.parts for batch in self.gatherer.ready)

    @rule(partition=st.sampled_from(PARTITIONS))
    def lose(self, partition: int) -> None:
        """Lose a partition and get it back: unsettled tasks come again, whatever another consumer did with them."""
        ledger = self.assignment.ledgers[partition]
        for loan in self.gatherer.remove(lambda loan: loan.ledger is ledger):
            self.assignment.take_back(loan)
        self.assignment.close(partition)
        done = {offset for place, offset in self.settled if place == partition}
        self.assignment.assign(partition, 0, [(offset, offset + 1) for offset in sorted(done)])
        self.failures = {task: count for task, count in self.failures.items() if task[0] != partition}
        self.fetched[partition] = 0

    # --- what must hold ----------------------------------------------------------------------------

    @invariant()
    def the_counters_equal_a_recount(self) -> None:
        ledgers = self.assignment.ledgers.values()
        assert self.assignment.in_flight == sum(len(ledger.offsets) for ledger in ledgers)
        assert self.assignment.waiting == sum(ledger.lanes.waiting for ledger in ledgers)
        ready = sum(len(ledger.lanes.ready) for ledger in ledgers if ledger.state is LedgerState.OPEN)
        assert self.assignment.ready_lanes == ready
        for ledger in ledgers:
            head = ledger.head()
            assert (head and head.record.offset()) == ledger.offsets.oldest

    def teardown(self) -> None:
        """Everything comes to an end, whatever happened before."""
        for batch in self.running:
            for part in batch.parts:
                self.end(part.loan, [], 0)
        self.running = []
        for partition in PARTITIONS:
            self.lose(partition)
            self.fetch(partition, [])
        for _ in range(1000):
            self.meet(100)
            self.tend(4)
            while self.gatherer.ready:
                self.call()
            for batch in self.running:
                for part in batch.parts:
                    self.end(part.loan, [], 0)
            self.running = []
            if not self.assignment.in_flight:
                break
        assert self.assignment.in_flight == self.assignment.lent_loans == 0
        assert self.settled == {(p, record.offset()) for p in PARTITIONS for record in self.logs[p]}
        assert not any(ledger.tried or len(ledger.lanes) for ledger in self.assignment.ledgers.values())

    # -----------------------------------------------------------------------------------------------

    def check_turn(self, loan: Loan, tasks: list[Any]) -> None:
        """Check that these are the oldest unsettled tasks of their session, in order and without a gap."""
        if loan.ledger.state is LedgerState.CLOSED or loan.lane.key is None:
            return
        partition = self.partition_of(loan)
        session = [record for record in self.logs[partition] if record.key() == loan.lane.key]
        left = [record for record in session if (partition, record.offset()) not in self.settled]
        assert tasks == left[: len(tasks)]

    def same_from(self, loan: Loan, start: int, kind: object) -> int:
        """Return how many tasks from `start` on have the same handler."""
        kinds = [record.value() for record in loan.records[start:]]
        return next((index for index, other in enumerate(kinds) if other != kind), len(kinds))

    def partition_of(self, loan: Loan) -> int:
        return next(p for p, log in self.logs.items() if loan.records[0] in log)

    def task_of(self, loan: Loan, record: Any) -> Task:
        return self.partition_of(loan), record.offset()


Batching.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBatching: Callable[..., object] = Batching.TestCase

from __future__ import annotations

import pytest

from processor.engine.assignment import Assignment
from processor.engine.lanes import HOT_TASKS, LONE_QUANTUM, QUANTUM
from processor.engine.ledger import TRANSITIONS, Ledger, LedgerState
from processor.engine.retry import Setback
from tests.engine.record import FakeRecord


def records(*keys: bytes | None, start: int = 0) -> list[FakeRecord]:
    return [FakeRecord(start + n, key) for n, key in enumerate(keys)]


def setback(due: float) -> Setback:
    return Setback("builtins.ValueError", "no", 0.0, due)


def test_every_transition_that_is_not_in_the_table_is_rejected() -> None:
    for state in LedgerState:
        for event in ("drain", "close"):
            ledger = Ledger(None)
            ledger.state = state
            if (state, event) in TRANSITIONS:
                ledger.transition(event)
                assert ledger.state is TRANSITIONS[state, event]
                assert ledger.may_begin == (ledger.state is LedgerState.OPEN)
            else:
                with pytest.raises(KeyError):
                    ledger.transition(event)


def test_a_session_with_many_tasks_gets_one_quantum() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(*[b"big"] * (3 * QUANTUM), b"small", b"tiny"), 0.0)
    loans = assignment.lend(10 * QUANTUM)
    assert [(loan.lane.key, len(loan.records)) for loan in loans] == [(b"big", QUANTUM), (b"small", 1), (b"tiny", 1)]


def test_the_only_ready_session_gets_a_longer_quantum() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(*[b"big"] * (2 * LONE_QUANTUM)), 0.0)
    (loan,) = assignment.lend(10 * LONE_QUANTUM)
    assert [record.offset() for record in loan.records] == list(range(LONE_QUANTUM))
    assert [record.offset() for record in loan.lane.waiting] == list(range(LONE_QUANTUM, 2 * LONE_QUANTUM))


def test_a_partition_gets_a_longer_quantum_only_if_no_other_one_waits() -> None:
    assignment: Assignment[int] = Assignment()
    for partition in (0, 1):
        assignment.assign(partition, 0)
        assignment.admit(partition, records(*[b"big"] * (2 * LONE_QUANTUM)), 0.0)
    assert [len(loan.records) for loan in assignment.lend(10 * LONE_QUANTUM)] == [QUANTUM, LONE_QUANTUM]


def test_a_session_with_more_than_a_workers_share_gets_some_more() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(*[b"hot"] * 20, b"cold"), 0.0)
    (loan,) = assignment.lend(1, workers=10)
    assert len(loan.records) == HOT_TASKS


def test_tasks_of_sessions_that_wait_for_a_time_are_not_estimated_as_ready() -> None:
    assignment: Assignment[int] = Assignment()
    assert assignment.estimate_ready_tasks() == 0
    assignment.assign(0, 0)
    assignment.admit(0, records(*[b"parked %d" % n for n in range(50)]), 0.0)
    for loan in assignment.lend(50):
        assignment.park(loan, setback(9.0))
    assert (assignment.waiting, assignment.estimate_ready_tasks()) == (50, 0)
    assignment.admit(0, records(*[b"ready %d" % n for n in range(10)] * 2, start=50), 0.0)
    assert (assignment.waiting, assignment.estimate_ready_tasks()) == (70, 20)


def test_no_more_tasks_are_estimated_as_ready_than_wait() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(*[b"hot"] * 100, *[b"cold %d" % n for n in range(99)]), 0.0)
    assert assignment.estimate_ready_tasks() == assignment.waiting == 199


def test_nothing_is_set_aside_at_first() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assert (assignment.set_aside, assignment.runs_low) == (0, False)


def test_partitions_take_turns() -> None:
    assignment: Assignment[int] = Assignment()
    for partition in (0, 1):
        assignment.assign(partition, 0)
        assignment.admit(partition, records(b"a", b"b", b"c"), 0.0)
    order = [assignment.lend(1)[0].ledger for _ in range(4)]
    assert order == [assignment.ledgers[p] for p in (0, 1, 0, 1)]


def test_a_partition_continues_after_its_last_record_and_not_before() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, None)
    assert ledger.continues_at(7)
    assignment.admit(0, [FakeRecord(7, b"k")], 0.0)
    assert (ledger.continues_at(7), ledger.continues_at(9)) == (False, True)


def test_records_without_a_key_are_lanes_of_their_own() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, records(None, None), 0.0)
    loans = assignment.lend(10)
    assert [len(loan.records) for loan in loans] == [1, 1]
    assert len(ledger.lanes) == 2
    assert assignment.close(0) == 0
    for loan in loans:
        assignment.release(loan)
    assert assignment.lent_loans == 0


def test_a_session_waits_for_its_running_handler_of_an_earlier_assignment() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"b"), 0.0)
    (first, other) = assignment.lend(2)
    assert assignment.close(0) == 0
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"b", b"c"), 0.0)
    assert [loan.lane.key for loan in assignment.lend(10)] == [b"c"]
    assignment.park(first, setback(5.0))
    assert [loan.lane.key for loan in assignment.lend(10)] == [b"a"]
    assignment.release(other)
    assert [loan.lane.key for loan in assignment.lend(10)] == [b"b"]


def test_a_third_assignment_waits_for_the_second_ones_handler() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a"), 0.0)
    (first,) = assignment.lend(1)
    assignment.assign(0, 0)  # the first is closed by it
    assignment.release(first)
    assignment.admit(0, records(b"a"), 0.0)
    (second,) = assignment.lend(1)
    assignment.close(0)
    assignment.release(second)
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a"), 0.0)
    assert len(assignment.lend(1)) == 1


def test_the_sizes_of_key_value_and_headers_count() -> None:
    ledger = Ledger(0)
    ledger.admit([FakeRecord(0, b"key", b"value", [("h", b"1"), ("n", None)]), FakeRecord(1, None, None)], 0.0)
    assert ledger.offsets.bytes == len(b"key") + len(b"value") + 3


def test_the_age_is_that_of_the_oldest_unsettled_task() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assert ledger.oldest_age(5.0) == 0.0
    for now in (1.0, 2.0, 3.0):
        assignment.admit(0, records(b"a", start=int(now)), now)
    (loan,) = assignment.lend(2)
    assert ledger.oldest_age(5.0) == 4.0
    loan.done = 2
    assignment.release(loan)
    assert ledger.oldest_age(5.0) == 2.0


def test_the_times_of_admissions_are_bounded_and_never_make_a_task_younger() -> None:
    ledger = Ledger(0)
    for n in range(5000):
        ledger.admit([FakeRecord(n, b"a")], float(n))
    while ledger.done < 4000:
        (loan,) = ledger.lend(4000 - ledger.done)
        loan.done = len(loan.records)
        ledger.release_done([loan])
    assert 1000.0 <= ledger.oldest_age(5000.0) <= 1020.0


def test_tasks_settled_before_the_assignment_are_skipped_and_counted() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0, [(1, 3)])
    assert assignment.admit(0, records(b"a", b"a", b"a", b"a"), 0.0) == 2
    assert ledger.skipped == 2
    assert [record.offset() for record in assignment.lend(9)[0].records] == [0, 3]
    other = Ledger(0, [(0, 5)])
    assert other.admit(records(b"a"), 0.0) == 0
    assert other.progress() is not None
    other.transition("close")
    assert other.progress() is None


def test_waiting_sessions_are_reported_with_their_length() -> None:
    ledger = Ledger(0)
    ledger.admit(records(b"a", b"b", b"b", b"c", b"c", b"c"), 0.0)
    assert ledger.lanes.longest(2) == [(b"c", 3), (b"b", 2)]
    assert ledger.lanes.parked() == 0


def test_a_parked_lane_is_ready_again_when_its_retry_is_due() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"a"), 0.0)
    (loan,) = assignment.lend(2)
    loan.done = 1
    assert assignment.park(loan, setback(7.0)) == 1
    assert assignment.next_wake() == 7.0
    assignment.wake(6.9)
    assert assignment.lend(2) == []
    assert assignment.ledgers[0].lanes.parked() == 1
    assignment.wake(7.0)
    (again,) = assignment.lend(2)
    assert (again.attempt, [record.offset() for record in again.records]) == (2, [1])
    assert assignment.next_wake() is None


def test_a_postponed_task_keeps_its_attempt_number() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"a"), 0.0)
    assignment.park(assignment.lend(2)[0], setback(1.0))
    assignment.wake(1.0)
    (second,) = assignment.lend(2)
    assert assignment.park(second, setback(2.0), failed=False) == 0
    assignment.wake(2.0)
    (again,) = assignment.lend(2)
    assert (again.attempt, again.done, ledger.lanes.waiting) == (2, 0, 0)
    again.done = 1
    assignment.park(again, setback(3.0), failed=False)
    assignment.wake(3.0)
    assert assignment.lend(2)[0].attempt == 1


def test_a_retry_that_falls_due_after_its_partition_is_gone_is_dropped() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a"), 0.0)
    assignment.park(assignment.lend(1)[0], setback(7.0))
    assignment.close(0)
    assignment.wake(8.0)
    assert (assignment.ready_lanes, assignment.lend(1)) == (0, [])


def test_a_loan_that_was_not_started_returns_to_the_front() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"b", b"a"), 0.0)
    first, _ = assignment.lend(3)
    assert first.records[0].offset() == 0
    assignment.take_back(first)
    assert [record.offset() for record in assignment.lend(1)[0].records] == [0]
    assert ledger.lanes.waiting == 1


def test_a_returned_batch_settles_the_same_tasks_as_single_returns() -> None:
    """Done, stopped in the middle, of two partitions, and of one that is gone."""
    assignment: Assignment[int] = Assignment()
    for partition in (0, 1, 2):
        assignment.assign(partition, 0)
        assignment.admit(partition, records(b"a", b"b", None, b"a", b"b"), 0.0)
    loans = assignment.lend(15)
    assert [len(loan.records) for loan in loans] == [2, 2, 1] * 3
    assignment.admit(0, records(b"a", start=5), 0.0)
    for loan in loans:
        loan.done = len(loan.records)
    loans[0].done = 1
    assert assignment.settle(loans[0]) == 1  # while it ran on
    loans[0].done = 2
    loans[4].done = 1
    assignment.close(2)
    assert assignment.release_all(loans) == 13
    assert (assignment.in_flight, assignment.waiting, assignment.ready_lanes, assignment.lent_loans) == (2, 2, 2, 0)
    assert [ledger.done for ledger in assignment.ledgers.values()] == [5, 4]
    assert [len(ledger.lanes) for ledger in assignment.ledgers.values()] == [1, 1]
    assert [record.offset() for loan in assignment.lend(9) for record in loan.records] == [5, 4]


def test_a_session_that_succeeded_after_a_failure_starts_again_in_a_batch_too() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a"), 0.0)
    assignment.park(assignment.lend(1)[0], setback(1.0))
    assignment.wake(1.0)
    (second,) = assignment.lend(1)
    assert second.attempt == 2
    assignment.admit(0, records(b"a", start=1), 0.0)
    second.done = 1
    assert assignment.settle(second) == 1  # while it was on its way back
    assert assignment.release_all([second]) == 0
    (next_,) = assignment.lend(1)
    assert (next_.attempt, next_.lane.setback) == (1, None)


def test_a_partitions_turn_is_shared_by_its_sessions() -> None:
    assignment: Assignment[int] = Assignment()
    for partition in (0, 1):
        assignment.assign(partition, 0)
        assignment.admit(partition, records(*(b"%d" % n for n in range(2 * QUANTUM))), 0.0)
    loans = assignment.lend(3 * QUANTUM)
    first, second = assignment.ledgers.values()
    assert [loan.ledger for loan in loans] == [first] * QUANTUM + [second] * QUANTUM + [first] * QUANTUM


def test_a_lane_that_is_held_waits_until_it_is_freed_and_keeps_its_attempts_and_its_order() -> None:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"a", b"b"), 0.0)
    loan, other = assignment.lend(10)
    loan.attempt = 3
    assert assignment.hold(loan, setback(0.0)) == (0, True)
    assignment.wake(1e9)
    assert assignment.lend(10) == []
    assert (assignment.waiting, ledger.lanes.parked(), loan.lane.attempts) == (2, 1, 2)
    assert (head := ledger.head()) is not None
    assert (head.place, head.attempt) == ("held", 3)
    assignment.free(ledger, loan.lane)
    (again,) = assignment.lend(10)
    assert (again.attempt, [record.offset() for record in again.records]) == (3, [0, 1])
    assignment.drain(0)
    assert assignment.hold(again, setback(0.0)) == (0, False)
    assignment.close(0)
    assignment.free(ledger, again.lane)
    assert assignment.hold(other, setback(0.0)) == (0, False)
    assert assignment.ready_lanes == 0


def test_outages_are_counted_of_the_next_task_of_a_loan() -> None:
    assignment: Assignment[int] = Assignment()
    assignment.assign(0, 0)
    assignment.admit(0, records(b"a", b"a"), 0.0)
    (loan,) = assignment.lend(10)
    assert loan.outages == 0
    loan.lane.setback = setback(5.0)._replace(outages=4)
    assert loan.outages == 4
    loan.done = 1
    assert loan.outages == 0


def test_a_closed_partition_leaves_no_entry_of_a_task_whose_next_attempt_is_far() -> None:
    assignment: Assignment[str] = Assignment()
    for partition in ("stays", "leaves"):
        assignment.assign(partition, 0)
        assignment.admit(partition, records(b"a", b"b"), 0.0)
    for loan in assignment.lend(4):
        assignment.park(loan, setback(due=86_400.0))
    assignment.drain("leaves")
    assignment.close("leaves")
    assert [ledger is assignment.ledgers["stays"] for _, _, ledger, *_ in assignment._parked] == [True, True]
    assert assignment.next_wake() == 86_400.0

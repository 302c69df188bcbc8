"""What holds a partition's commit point."""

from __future__ import annotations

from processor.engine.assignment import Assignment
from processor.engine.ledger import Head, Ledger
from processor.engine.retry import Setback
from tests.engine.record import FakeRecord

SETBACK = Setback("builtins.ValueError", "no", 1.0, 7.0)


def assigned(*keys: bytes | None) -> tuple[Assignment[int], Ledger]:
    assignment: Assignment[int] = Assignment()
    ledger = assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(n, key) for n, key in enumerate(keys)], 0.0)
    return assignment, ledger


def head_of(ledger: Ledger) -> Head:
    head = ledger.head()
    assert head is not None
    return head


def test_a_partition_without_tasks_has_no_head() -> None:
    assert assigned(b"a")[1].head() is not None
    assert Ledger(0).head() is None


def test_a_head_that_waits_has_no_loan() -> None:
    _, ledger = assigned(b"a", b"b")
    head = head_of(ledger)
    assert (head.record.offset(), head.lane.key, head.loan, head.setback) == (0, b"a", None, None)


def test_a_head_that_is_lent_is_the_first_of_its_loan_that_is_not_settled() -> None:
    assignment, ledger = assigned(b"b", b"a", b"a", b"a")
    other, loan = assignment.lend(10)
    other.done = 1
    assignment.release(other)
    loan.done = 1
    assignment.settle(loan)
    head = head_of(ledger)
    assert (head.record.offset(), head.loan) == (2, loan)


def test_a_parked_head_has_its_error() -> None:
    assignment, ledger = assigned(b"a", b"b")
    (loan,) = assignment.lend(1)
    assignment.park(loan, SETBACK)
    head = head_of(ledger)
    assert (head.record.offset(), head.loan, head.setback) == (0, None, SETBACK)


def test_a_parked_head_without_a_key_is_found_too_and_counts_as_parked() -> None:
    assignment, ledger = assigned(None, b"b")
    assignment.park(assignment.lend(1)[0], SETBACK)
    assert head_of(ledger).setback == SETBACK
    assert ledger.lanes.parked() == 1
    assignment.wake(7.0)
    assert head_of(ledger).lane.key is None
    assert ledger.lanes.parked() == 0


def test_a_setback_is_forgotten_with_the_task_that_had_it() -> None:
    assignment, ledger = assigned(b"a", b"a")
    assignment.park(assignment.lend(10)[0], SETBACK)
    assignment.wake(7.0)
    (loan,) = assignment.lend(10)
    assert head_of(ledger).setback == SETBACK
    loan.done = 1
    assignment.settle(loan)
    assert head_of(ledger).setback is None
    assignment.release(loan)
    assert head_of(ledger).setback is None


def test_a_task_that_no_lane_has_is_not_a_head() -> None:
    """This cannot happen. If it did, the report would be empty and not fail."""
    _, ledger = assigned(b"a")
    ledger.lanes._by_key.clear()
    assert ledger.head() is None


def test_a_loan_that_is_done_does_not_hide_the_one_that_is_not() -> None:
    assignment, ledger = assigned(b"a", b"b")
    first, second = assignment.lend(10)
    first.done = 1
    assignment.settle(first)
    head = head_of(ledger)
    assert head.loan is second


def test_the_head_may_wait_while_others_are_lent() -> None:
    assignment, ledger = assigned(b"a", b"b")
    assignment.park(assignment.lend(1)[0], SETBACK)
    assignment.lend(1)
    assert head_of(ledger).loan is None


def test_a_head_has_its_place_and_its_start_time() -> None:
    assignment, ledger = assigned(b"a", b"a", b"a", b"b")
    assert (head_of(ledger).place, head_of(ledger).since, head_of(ledger).session_waiting) == ("waiting", None, 2)
    (loan,) = assignment.lend(3)
    assert (head_of(ledger).place, head_of(ledger).since, head_of(ledger).attempt) == ("lent", None, 1)
    loan.handed_over_at = 3.0
    assert (head_of(ledger).place, head_of(ledger).since) == ("delivering", 3.0)
    loan.handed_over_at = None
    assignment.park(loan, SETBACK)
    head = head_of(ledger)
    assert (head.place, head.since, head.attempt, head.session_waiting) == ("parked", SETBACK.at, 2, 2)
    assignment.wake(7.0)
    assert (head_of(ledger).place, head_of(ledger).since) == ("waiting", SETBACK.due)


def test_the_second_task_of_a_loan_is_on_its_first_attempt() -> None:
    assignment, ledger = assigned(b"a", b"a", b"a")
    assignment.park(assignment.lend(10)[0], SETBACK)
    assignment.wake(7.0)
    (loan,) = assignment.lend(10)
    assert (head_of(ledger).attempt, head_of(ledger).session_waiting) == (2, 2)
    loan.done = 1
    assignment.settle(loan)
    assert (head_of(ledger).attempt, head_of(ledger).session_waiting) == (1, 1)


def test_a_head_whose_session_an_earlier_handler_still_has_is_blocked() -> None:
    assignment, _ = assigned(b"a")
    (loan,) = assignment.lend(1)
    ledger = assignment.assign(0, 0)
    assignment.admit(0, [FakeRecord(0, b"a")], 0.0)
    assert (head_of(ledger).place, head_of(ledger).since) == ("blocked", None)
    assignment.release(loan)
    assert head_of(ledger).place == "waiting"


def test_a_snapshot_has_the_figures_of_each_partition_and_the_busiest_sessions() -> None:
    assignment, _ = assigned(*[b"hot"] * 5, b"warm", b"warm", b"cold")
    assignment.assign(1, 0)
    assignment.admit(1, [FakeRecord(n, b"other") for n in range(3)], 1.0)
    assignment.lend(1)
    snapshot = assignment.snapshot(4.0, 2)
    assert (snapshot.in_flight, snapshot.waiting, snapshot.running) == (11, 10, 1)
    assert snapshot.busiest == [(4, 0, b"hot"), (3, 1, b"other")]
    first, second = snapshot.partitions[0], snapshot.partitions[1]
    assert (first.in_flight, first.waiting, first.running, first.sessions, first.parked) == (8, 7, 1, 3, 0)
    assert (first.commit_point, first.highest_settled, first.oldest_age) == (0, None, 4.0)
    assert first.head is not None
    assert (first.head.place, first.head.attempt, first.head.session_waiting) == ("lent", 1, 4)
    assert (second.in_flight, second.oldest_age) == (3, 3.0)
    assert (first.oldest_ready_age, second.oldest_ready_age) == (4.0, 3.0)
    assignment.assign(2, 0)
    assert assignment.snapshot(4.0, 2).partitions[2].head is None


def test_the_oldest_ready_task_is_neither_lent_nor_parked() -> None:
    assignment, ledger = assigned(b"a")
    assert ledger.snapshot(2.0).oldest_ready_age == 2.0
    (loan,) = assignment.lend(1)
    assert ledger.snapshot(2.0).oldest_ready_age == 0.0
    assignment.admit(0, [FakeRecord(1, b"b")], 1.5)
    assert ledger.snapshot(2.0).oldest_ready_age == 0.5
    assignment.park(loan, SETBACK)
    assert ledger.snapshot(2.0).oldest_ready_age == 0.5
    assignment.wake(SETBACK.due)
    assert ledger.snapshot(8.0).oldest_ready_age == 8.0


def test_a_stamp_changes_with_what_may_be_committed() -> None:
    assignment, ledger = assigned(b"a")
    before = ledger.stamp
    (loan,) = assignment.lend(1)
    assert ledger.stamp == before
    loan.done = 1
    assignment.settle(loan)
    assert ledger.stamp != before

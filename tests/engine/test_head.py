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


def test_a_parked_head_tells_why() -> None:
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


def test_a_task_that_no_lane_has_is_no_head() -> None:
    """It cannot be; were it so, a report would tell of nothing rather than fail."""
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

"""Tasks that may not begin before a time: only their session waits, and it takes no worker."""

from __future__ import annotations

from processor.engine.assignment import Assignment
from processor.engine.ledger import Loan
from processor.engine.record import Headers
from processor.engine.retry import Setback
from processor.engine.stock import Usage
from processor.engine.terms import Terms
from tests.engine.record import FakeRecord


def terms_of(headers: Headers) -> Terms | None:
    """Headers `due` and `expires`, in seconds since the epoch."""
    times = {name: float(value) for name, value in headers if value is not None}
    return Terms(not_before=times.get("due", 0.0), expires=times.get("expires", 1e9)) if times else None


def record(offset: int, key: bytes | None, **times: int) -> FakeRecord:
    return FakeRecord(offset, key, b"v", [(name, b"%d" % time) for name, time in times.items()] or None)


def assigned(*records: FakeRecord) -> Assignment[int]:
    assignment: Assignment[int] = Assignment(terms_of)
    assignment.assign(0, 0)
    assignment.admit(0, records, 0.0)
    return assignment


def offsets(loans: list[Loan]) -> list[list[int]]:
    return [[record.offset() for record in loan.records] for loan in loans]


def test_a_session_waits_for_the_time_of_its_head_and_no_other_session_does() -> None:
    assignment = assigned(record(0, b"a", due=100), record(1, b"a"), record(2, b"b"))
    assert offsets(assignment.lend(10, epoch=50.0)) == [[2]]
    assert (assignment.ready_lanes, assignment.waiting, assignment.next_delay()) == (0, 2, 100.0)
    assert assignment.ledgers[0].snapshot(0.0).delayed == 1
    assignment.wake(0.0, 99.9)
    assert assignment.lend(10, epoch=99.9) == []
    assignment.wake(0.0, 100.0)
    assert offsets(assignment.lend(10, epoch=100.0)) == [[0, 1]]
    assert assignment.next_delay() is None
    assert assignment.ledgers[0].snapshot(0.0).delayed == 0


def test_tasks_before_a_delayed_one_are_lent_without_it() -> None:
    assignment = assigned(record(0, b"a"), record(1, b"a"), record(2, b"a", due=100), record(3, b"a"))
    (loan,) = assignment.lend(10, epoch=0.0)
    assert offsets([loan]) == [[0, 1]]
    loan.done = 2
    assignment.release(loan)
    assert assignment.lend(10, epoch=0.0) == []
    assignment.wake(0.0, 100.0)
    assert offsets(assignment.lend(10, epoch=100.0)) == [[2, 3]]


def test_a_session_with_more_than_a_workers_share_may_get_more_in_a_partition_with_terms_too() -> None:
    assignment = assigned(*[record(n, b"a") for n in range(20)], record(20, b"b", due=100))
    assert offsets(assignment.lend(1, 10, 0.0)) == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_each_delayed_task_without_a_key_waits_by_itself() -> None:
    assignment = assigned(record(0, None, due=200), record(1, None, due=100), record(2, None))
    assert offsets(assignment.lend(10, epoch=0.0)) == [[2]]
    head = assignment.ledgers[0].head()
    assert head is not None
    assert (head.place, head.record.offset()) == ("delayed", 0)
    assignment.wake(0.0, 150.0)
    assert offsets(assignment.lend(10, epoch=150.0)) == [[1]]
    assert assignment.next_delay() == 200.0


def test_a_task_that_expires_before_it_may_begin_is_taken_up_when_it_expires() -> None:
    assignment = assigned(record(0, b"a", due=100, expires=60))
    assert assignment.lend(1, epoch=59.0) == []
    assert assignment.next_delay() == 60.0
    assignment.wake(0.0, 60.0)
    assert offsets(assignment.lend(1, epoch=60.0)) == [[0]]


def test_a_retry_waits_for_its_backoff_only_once_its_time_has_come() -> None:
    assignment = assigned(record(0, b"a", due=100))
    (loan,) = assignment.lend(1, epoch=100.0)
    assignment.park(loan, Setback("E", "no", 0.0, 5.0))
    assignment.wake(5.0, 101.0)
    (again,) = assignment.lend(1, epoch=101.0)
    assert (again.attempt, again.lane) == (2, loan.lane)


def test_a_clock_that_is_set_back_makes_a_retry_wait_for_its_time_again() -> None:
    assignment = assigned(record(0, b"a", due=100))
    (loan,) = assignment.lend(1, epoch=100.0)
    assignment.park(loan, Setback("E", "no", 0.0, 5.0))
    assignment.wake(5.0, 40.0)
    assert assignment.lend(1, epoch=40.0) == []
    assert assignment.next_delay() == 100.0


def test_the_terms_of_a_settled_task_are_forgotten() -> None:
    assignment = assigned(record(0, b"a", expires=100), record(1, b"b", expires=200), record(2, b"c"))
    ledger = assignment.ledgers[0]
    first, second, third = assignment.lend(3, epoch=0.0)
    assert list(ledger.terms) == [0, 1]
    for loan in (third, first):
        loan.done = 1
        assignment.release(loan)
    assert list(ledger.terms) == [1]
    second.done = 1
    assignment.release_all([second])
    assert not ledger.terms


def test_an_assignment_has_no_terms_before_its_first_task_with_terms() -> None:
    assignment = assigned(record(0, b"a"))
    assert not assignment.has_terms
    assignment.admit(0, [record(1, b"a", due=1)], 0.0)
    assert assignment.has_terms


def test_a_partition_that_is_given_up_takes_its_delays_with_it() -> None:
    assignment = assigned(record(0, b"a", due=100))
    assignment.assign(1, 0)
    assignment.admit(1, [record(0, b"b", due=200)], 0.0)
    assert assignment.lend(10, epoch=0.0) == []
    assert assignment.close(0) == 1
    assert assignment.next_delay() == 200.0


def test_no_delayed_task_of_a_draining_partition_starts_when_it_is_due() -> None:
    assignment = assigned(record(0, b"a", due=100))
    assert assignment.lend(1, epoch=0.0) == []
    assignment.drain(0)
    assignment.wake(0.0, 100.0)
    assert (assignment.ready_lanes, assignment.lend(1, epoch=100.0), assignment.next_delay()) == (0, [], None)
    assert assignment.ledgers[0].offsets.commit_point == 0


def test_what_waits_in_delayed_sessions_is_counted_apart() -> None:
    assignment = assigned(record(0, b"a", due=100), record(1, b"a"), record(2, b"b"), record(3, None, due=100))
    ledger = assignment.ledgers[0]
    assignment.lend(10, epoch=0.0)
    assert ledger.delayed_usage == Usage(3, ledger.offsets.size_of([0, 1, 3]))
    assignment.admit(0, [record(4, b"a"), record(5, b"b"), record(6, None)], 0.0)
    assert ledger.delayed_usage == Usage(4, ledger.offsets.size_of([0, 1, 3, 4]))
    assignment.wake(0.0, 100.0)
    assert ledger.delayed_usage == Usage(0, 0)


def test_the_head_has_the_time_at_which_its_wait_ends() -> None:
    assignment = assigned(record(0, b"a", due=100))
    assignment.lend(1, epoch=0.0)
    head = assignment.snapshot(0.0, 5).partitions[0].head
    assert head is not None
    assert (head.place, head.delayed_until, head.since, head.attempt) == ("delayed", 100.0, None, 1)
    assert assignment.snapshot(0.0, 5).next_delay == 100.0

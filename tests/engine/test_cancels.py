"""Cancellations: what they cover, when they end, and how the head of a waiting lane is claimed."""

from __future__ import annotations

import pytest

from processor.engine.assignment import Assignment
from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.gate import Gate, Limits
from processor.engine.lane import Lane
from processor.engine.ledger import Ledger, Loan
from processor.engine.record import Headers
from processor.engine.retry import Setback
from processor.engine.terms import Terms
from tests.engine.record import FakeRecord

CANCEL = Cancel(1000, "ann@host", 5000)
SETBACK = Setback("builtins.OSError", "away", 0.0, 60.0)

TASK = CancelTarget("task", "t-1")
SESSION = CancelTarget("session", "s")
CHARGES = CancelTarget("session", "s", "charge")


def test_a_task_is_cancelled_by_its_id() -> None:
    cancels = Cancels()
    assert not cancels.may_cover(b"any")
    assert cancels.begin(TASK, CANCEL)
    assert cancels.may_cover(b"any")
    assert cancels.may_cover(None)
    assert cancels.of_id("t-1") == CANCEL
    assert cancels.of_id("t-2") is None
    assert cancels.of_session(b"t-1", "", 1) is None


def test_a_replay_after_the_command_is_not_cancelled_by_its_id_and_one_before_it_is() -> None:
    cancels = Cancels()
    cancels.begin(TASK, CANCEL)
    assert [cancels.of_id("t-1", at) for at in (-1, 999, 1000, 1001)] == [CANCEL, CANCEL, CANCEL, None]
    cancels.begin(TASK, CANCEL._replace(since=2000))
    assert cancels.of_id("t-1", 1001) is not None


@pytest.mark.parametrize(
    ("target", "key", "name", "timestamp", "is_covered"),
    [
        (SESSION, b"s", "charge", 1000, True),
        (SESSION, b"s", "", 0, True),
        (SESSION, b"s", "charge", 1001, False),
        (SESSION, b"s", "charge", -1, False),
        (SESSION, b"u", "charge", 1000, False),
        (SESSION, None, "charge", 1000, False),
        (CHARGES, b"s", "charge", 1000, True),
        (CHARGES, b"s", "ship", 1000, False),
        (CancelTarget("session", r"\xff"), b"\xff", "", 1000, True),
        (CancelTarget("session", ""), None, "", 1000, False),
        (CancelTarget("session", ""), b"", "", 1000, True),
    ],
)
def test_a_session_is_cancelled_up_to_a_moment(
    target: CancelTarget, key: bytes | None, name: str, timestamp: int, *, is_covered: bool
) -> None:
    cancels = Cancels()
    cancels.begin(target, CANCEL)
    assert (cancels.of_session(key, name, timestamp) == CANCEL) is is_covered
    assert not is_covered or cancels.may_cover(key)
    assert not cancels.may_cover(b"another")


def test_a_later_cancellation_of_a_session_reaches_further_and_the_same_one_changes_nothing() -> None:
    cancels, later = Cancels(), Cancel(2000, "bob@host", 9000, dead_letter=True)
    assert cancels.begin(SESSION, CANCEL)
    assert not cancels.begin(SESSION, CANCEL)
    assert cancels.of_session(b"s", "", 1500) is None
    assert cancels.begin(SESSION, later)
    assert cancels.of_session(b"s", "", 1500) == later


def test_cancellations_end_one_by_one() -> None:
    cancels = Cancels()
    for target in (TASK, SESSION, CHARGES):
        cancels.begin(target, CANCEL)
    assert cancels.ended(4.999) == []
    assert cancels.ended(5.0) == [TASK, SESSION, CHARGES]
    assert cancels.end(SESSION)
    assert not cancels.end(SESSION)
    assert cancels.of_session(b"s", "charge", 1) == CANCEL
    assert cancels.of_session(b"s", "ship", 1) is None
    assert cancels.end(CHARGES)
    assert cancels.of_session(b"s", "charge", 1) is None
    assert cancels.end(TASK)
    assert not cancels.may_cover(b"s")
    assert not cancels.in_force


def delayed_until(headers: Headers) -> Terms | None:
    """The header says when its task may begin."""
    return Terms(not_before=float(headers[0][1] or b""))


def assigned(*sessions: bytes, not_before: float = 0.0) -> Assignment[int]:
    """Two tasks of each session."""
    assignment: Assignment[int] = Assignment(delayed_until)
    assignment.newly_delayed = []
    assignment.assign(0, 0)
    headers: Headers = [("not-before", str(not_before).encode())]
    records = [FakeRecord(n, key, headers=headers if not_before else None) for n, key in enumerate(sessions * 2)]
    assignment.admit(0, records, 0.0)
    return assignment


def parked(assignment: Assignment[int]) -> list[tuple[Ledger, Lane]]:
    loans = assignment.lend(99)
    for loan in loans:
        assignment.park(loan, SETBACK)
    return [(loan.ledger, loan.lane) for loan in loans]


def offset_of(loan: Loan) -> int:
    (record,) = loan.records
    return record.offset()


def test_the_head_of_a_parked_lane_is_claimed_and_the_next_one_waits_for_nothing() -> None:
    assignment = assigned(b"s", b"u")
    (ledger, lane), (_, other) = parked(assignment)
    assert set(ledger.lanes.waiting_lanes()) == {lane, other}
    assert all(map(ledger.lanes.waits, (lane, other)))
    loan = assignment.claim(ledger, lane)
    assert (offset_of(loan), loan.attempt) == (0, 2)
    assert not ledger.lanes.waits(lane)
    assert (assignment.waiting, assignment.lent_loans, assignment.in_flight) == (3, 1, 4)
    loan.done = 1
    assert assignment.release(loan) == 1
    (following,) = assignment.lend(99)
    assert (offset_of(following), following.attempt) == (2, 1)
    assignment.park(following, SETBACK._replace(due=90.0))
    assignment.wake(60.0)  # what the claimed head waited for is over, what the next one waits for is not
    assert [each.lane for each in assignment.lend(99)] == [other]
    assignment.wake(90.0)
    assert [offset_of(each) for each in assignment.lend(99)] == [2]


def test_the_head_of_a_delayed_lane_is_claimed_and_the_next_one_waits_for_its_own_time() -> None:
    assignment = assigned(b"s", not_before=50.0)
    assert assignment.lend(99, epoch=10.0) == []
    assert assignment.newly_delayed
    ((ledger, lane),) = assignment.newly_delayed
    assert ledger.delayed_usage.tasks == 2
    loan = assignment.claim(ledger, lane)
    assert offset_of(loan) == 0
    assert ledger.delayed_usage.tasks == 0
    loan.done = 1
    assignment.release(loan)
    assert assignment.lend(99, epoch=10.0) == []
    assert (assignment.next_delay(), ledger.delayed_usage.tasks) == (50.0, 1)
    assignment.wake(0.0, 50.0)
    assert [offset_of(each) for each in assignment.lend(99, epoch=50.0)] == [1]
    assert ledger.delayed_usage.tasks == 0


def test_the_head_of_a_held_lane_is_claimed_out_of_its_handlers_gate() -> None:
    assignment, gate = assigned(b"s"), Gate[Ledger, Lane]("charge", Limits(concurrency=1))
    (loan,) = assignment.lend(99)
    assert gate.begin(loan.ledger, loan.lane, 0.0)
    assert not gate.begin(loan.ledger, Lane(b"u", loan.lane.state, FakeRecord(9)), 0.0)
    assignment.hold(loan, SETBACK)
    gate.wait(loan.ledger, loan.lane)
    gate.withdraw(loan.lane)
    assert not gate.waiting
    claimed = assignment.claim(loan.ledger, loan.lane)
    assert offset_of(claimed) == 0


def test_what_cancellations_name_is_known_without_a_look_at_a_task() -> None:
    cancels = Cancels()
    cancels.begin(CancelTarget("task", "8/then"), Cancel(0, "ann", 9))
    cancels.begin(CancelTarget("session", "s"), Cancel(0, "ann", 9))
    assert [cancels.names(text) for text in ("8/then", "s", "8")] == [True, True, False]

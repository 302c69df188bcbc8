"""What holds a partition's commit point: the oldest unsettled task, where it is, since when, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from processor.engine.lanes import LaneState
from processor.engine.ledger import Head, Ledger, Loan
from processor.events import HeadOfLine, HeadState
from processor.runtime.watchdog import Watched

ERROR_CHARACTERS = 200
"""Of an error's text: it is told again with each report."""


def begun(watched: Iterable[Watched]) -> dict[Loan, float]:
    """When each running attempt began, in seconds of the monotonic clock, by its loan."""
    attempts = [attempted for one in watched for attempted in one.attempted()]
    return {a.loan: a.fence.started for a in attempts if a.loan is not None and a.fence.started}


def head_of_line(ledger: Ledger, running: Mapping[Loan, float], now: float) -> HeadOfLine | None:
    """The ledger's; None where everything is settled. The lock must be held, and what is done be collected."""
    head = ledger.head()
    if head is None:
        return None
    age = ledger.oldest_age(now)
    state, since = _state(head, running)
    setback = head.setback
    kind, timestamp = head.record.timestamp()
    return HeadOfLine(
        session_id=(head.record.key() or b"").decode("utf-8", "backslashreplace"),
        offset=head.record.offset(),
        attempt=_attempt(head),
        state=state,
        state_seconds=round(max(0.0, now - since), 3) if since is not None else round(age, 3),
        age_seconds=round(age, 3),
        produced_at=timestamp if kind else -1,
        retry_in_seconds=round(max(0.0, setback.due - now), 3) if state == "parked" and setback else None,
        session_waiting=_behind(head),
        error_type=setback.error_type if setback else None,
        error=setback.error[:ERROR_CHARACTERS] if setback else None,
    )


def _state(head: Head, running: Mapping[Loan, float]) -> tuple[HeadState, float | None]:
    """And since when, in seconds of the monotonic clock; None is since it came."""
    loan, setback = head.loan, head.lane.setback
    if loan is not None and loan.handed_over_at is not None:
        return "delivering", loan.handed_over_at
    if loan is not None and loan in running:
        return "running", running[loan]
    if head.lane.state is LaneState.PARKED and setback is not None:
        return "parked", setback.at
    if head.lane.state is LaneState.HELD:
        return "held", None
    return "waiting", setback.due if setback is not None and loan is None else None


def _attempt(head: Head) -> int:
    if head.loan is None:
        return head.lane.attempts + 1
    return 1 if head.loan.done else head.loan.attempt


def _behind(head: Head) -> int:
    if head.loan is None:
        return len(head.lane.waiting) - 1
    return len(head.lane.waiting) + len(head.loan.records) - head.loan.settled - 1

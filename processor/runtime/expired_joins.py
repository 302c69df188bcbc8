"""Refuses joins that are not complete when they expire: their arrivals become dead letters that name the missing
branches.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from processor.engine.assignment import Assignment
from processor.engine.joins import missing_ids
from processor.handlers.exceptions import Expired
from processor.handlers.terms import shown_time

P = TypeVar("P", bound=Hashable)

MOST_AT_ONCE = 1000
"""The most joins of one partition that are refused at once, under the lock: some milliseconds."""


def refuse_expired(assignment: Assignment[P], epoch: float) -> None:
    """Refuses the joins that have expired at `epoch`, in seconds since the epoch. Under the lock."""
    for ledger, joins in list(assignment.joining()):
        for identity in joins.expired(epoch, MOST_AT_ONCE):
            join = joins.open[identity]
            missing = missing_ids(identity[0], join.missing)
            text = f"its join {identity[0]} had to be complete by {shown_time(join.expires)}, and waited for {missing}"
            assignment.refuse(ledger, identity, (Expired, text))


def next_expiry(assignment: Assignment[P]) -> float | None:
    """Return when the next join may expire, in seconds since the epoch. Under the lock."""
    return min((at for _, joins in assignment.joining() if (at := joins.next_expiry()) is not None), default=None)

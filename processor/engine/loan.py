"""`Loan`: a lane that is lent. The only module of the engine that is never compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from processor.engine.record import Record

if TYPE_CHECKING:
    from processor.engine.gatherer import Batch
    from processor.engine.joins import Identity
    from processor.engine.lanes import Lane
    from processor.engine.ledger import Ledger


class Loan(msgspec.Struct, eq=False):
    """A lane that is lent, with the oldest of its tasks.

    The borrower writes `done`, how many of them succeeded, after each; the owner of the lock may
    read it at any time and settle so many, so that what is done is committed even while the next
    task of the lane runs on and on.

    A struct, since that is made in half the time. mypyc cannot compile one.
    """

    ledger: Ledger
    lane: Lane
    records: list[Record]
    attempt: int
    """Of the first record; the others are on their first."""
    done: int = 0
    settled: int = 0
    abandoned: bool = False
    """Its handler cannot be stopped and its task is settled: the lane stays lent, and no drain waits for it."""
    handed_over_at: float | None = None
    """When the dead letter or the result of its next task was first sent; None where none is under way."""
    batch: Batch | None = None
    """What it is gathered in, to be attempted with others."""
    joined: Identity | None = None
    """The join whose last arrival its next task is: the other arrivals settle with it."""

    @property
    def outages(self) -> int:
        """Attempts of its next task in a row that ended because what the handler needs was away."""
        setback = None if self.done else self.lane.setback
        return 0 if setback is None else setback.outages

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

    After each task that succeeds, the borrower writes to `done` how many have. The owner of the lock
    may read it at any time and settle that many tasks, so that they are committed even while the next
    task of the lane still runs.

    A struct, since creating one takes half the time. mypyc cannot compile one.
    """

    ledger: Ledger
    lane: Lane
    records: list[Record]
    attempt: int
    """The attempt that the first record is on; the others are on their first."""
    done: int = 0
    settled: int = 0
    abandoned: bool = False
    """Its handler cannot be stopped and its task is settled: the lane stays lent, and no drain waits for it."""
    handed_over_at: float | None = None
    """When the dead letter or the result of its next task was first sent; None where none is under way."""
    batch: Batch | None = None
    """The batch in which it is gathered, to be attempted with others."""
    joined: Identity | None = None
    """The join whose last arrival its next task is: the other arrivals settle with it."""

    @property
    def outages(self) -> int:
        """Attempts of its next task in a row that ended because a dependency of the handler was unavailable."""
        setback = None if self.done else self.lane.setback
        return 0 if setback is None else setback.outages

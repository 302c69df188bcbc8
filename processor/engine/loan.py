"""`Loan`: a lane that is lent; `Batch`: loans of several lanes that one call of a handler attempts together.

This module is never compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from processor.engine.joins import Identity
from processor.engine.lane import Lane
from processor.engine.record import Record

if TYPE_CHECKING:
    from processor.engine.ledger import Ledger  # it creates loans


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
    """When the dead letter or the result of its next task was first sent; None if none is being delivered."""
    batch: Batch | None = None
    """The batch in which it is gathered, to be attempted with others."""
    joined: Identity | None = None
    """The join whose last arrival its next task is: the other arrivals settle with it."""

    @property
    def outages(self) -> int:
        """Attempts of its next task in a row that ended because a dependency of the handler was unavailable."""
        setback = None if self.done else self.lane.setback
        return 0 if setback is None else setback.outages


class BatchRule(NamedTuple):
    """When a batch is full, and how long it waits until it is."""

    size: int
    """Tasks of a full batch."""
    wait: float
    """The longest time, in seconds, that the first of its tasks waits for others."""
    by_session: bool = False
    """Whether all tasks of a batch are of one session."""


class Part:
    """One loan of a batch: consecutive tasks of one session."""

    __slots__ = ("ends", "loan", "tasks")

    def __init__(self, loan: Loan, tasks: list[Any], *, ends: bool = False) -> None:
        self.loan = loan
        self.tasks = tasks
        """The loan's tasks as their handler gets them. When the loan is widened, the new tasks are added later."""
        self.ends = ends
        """Whether the task behind its last one cannot join, so that the loan is not widened any more."""

    @property
    def waiting(self) -> int:
        """How many tasks wait behind it that may join the same batch."""
        return 0 if self.ends else len(self.loan.lane.waiting)


class Batch:
    """Tasks that are attempted together. Each of its loans refers to it as `loan.batch`; the first represents all."""

    __slots__ = ("_tasks", "alone", "due", "handler", "is_lent", "number", "parts", "rule")

    def __init__(self, number: int, handler: Hashable, rule: BatchRule, due: float, *, alone: bool = False) -> None:
        self.number = number
        """Unique in its gatherer."""
        self.handler = handler
        self.rule = rule
        self.due = due
        """When its handler is called at the latest, in seconds of the caller's clock."""
        self.alone = alone
        """Whether it is one task that has failed in a batch, and is attempted by itself."""
        self.parts: list[Part] = []
        self.is_lent = False
        """Whether a borrower has it."""
        self._tasks = 0

    @property
    def leader(self) -> Loan:
        """The loan that represents the batch to its borrower."""
        return self.parts[0].loan

    @property
    def loans(self) -> list[Loan]:
        """All loans of the batch, the leader first."""
        return [part.loan for part in self.parts]

    @property
    def room(self) -> int:
        """How many more tasks fit."""
        return 0 if self.alone else self.rule.size - self._tasks

    @property
    def may_fill(self) -> bool:
        """Whether it is full, or as many tasks wait behind its own as it has room for."""
        room = self.room
        return room <= 0 or sum(part.waiting for part in self.parts) >= room

    def join(self, part: Part) -> None:
        """Adds a loan, which has at most `room` tasks."""
        self.parts.append(part)
        self._tasks += len(part.loan.records)
        part.loan.batch = self

    def count(self) -> None:
        """Counts the tasks again, after loans were widened or narrowed."""
        self._tasks = sum(len(part.loan.records) for part in self.parts)

    def remove(self, wanted: Callable[[Loan], bool]) -> list[Loan]:
        """Takes out the `wanted` loans, and returns them."""
        removed = [part.loan for part in self.parts if wanted(part.loan)]
        if removed:
            gone = set(removed)
            self.parts = [part for part in self.parts if part.loan not in gone]
            for loan in removed:
                loan.batch = None
            self.count()
        return removed

"""`Gatherer`: loans of several lanes, gathered into batches that one call of a handler attempts together."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from processor.engine.ledger import Loan

LOOK_SECONDS = 0.005
"""The shortest time between two counts of the tasks that wait behind the gathered ones in their own lanes."""

LOOK_SECONDS_A_BATCH = 20e-6
"""The time between two counts is at least this long for each open batch. So counting costs little even with thousands
of batches, one for each session."""


SPARE_DUES = 64
"""Due times of closed batches are dropped once all due times exceed twice the open batches by this many."""


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
        """How many tasks wait behind it that may be for the same batch."""
        return 0 if self.ends else len(self.loan.lane.waiting)


class Batch:
    """Tasks that are attempted together. Each of its loans has it as `loan.batch`; the first one stands for all."""

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
        """How many more tasks it takes."""
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
        """Takes those loans out that are `wanted`, and returns them."""
        removed = [part.loan for part in self.parts if wanted(part.loan)]
        if removed:
            self.parts = [part for part in self.parts if part.loan not in removed]
            for loan in removed:
                loan.batch = None
            self.count()
        return removed


class Gatherer:
    """The batches of one consumer that no borrower has. Not thread-safe.

    A batch is open until it is full or due. Then it is ready, and a borrower takes it as it takes a lane.
    """

    def __init__(self) -> None:
        self.ready: deque[Batch] = deque()
        self._open: dict[Hashable, Batch] = {}
        """By handler; by its own number where a batch is of one session, as no other loan can join it."""
        self._dues: list[tuple[float, int, Hashable]] = []
        """When each is due, its number, and its key: a batch that was full before is not kept until then."""
        self._made = 0
        self._next_look = 0.0

    def room(self, handler: Hashable, rule: BatchRule) -> int:
        """Return how many tasks of one more loan fit into this handler's open batch; without one, into a new batch."""
        batch = None if rule.by_session else self._open.get(handler)
        return rule.size if batch is None else batch.room

    def add(self, handler: Hashable, rule: BatchRule, part: Part, now: float) -> None:
        """Adds a loan of at most `room` tasks to the handler's open batch, or to a new one."""
        batch = None if rule.by_session else self._open.get(handler)
        if batch is None:
            batch = self._made_now(handler, rule, now + rule.wait)
            self._keep_open(batch)
        batch.join(part)
        if batch.room <= part.waiting:  # `tend` examines what waits behind the others
            self._close(batch)

    def add_alone(self, handler: Hashable, rule: BatchRule, part: Part, now: float) -> None:
        """Adds a task that has failed before. It is attempted by itself, in a batch that is ready at once."""
        batch = self._made_now(handler, rule, now, alone=True)
        batch.join(part)
        self.ready.append(batch)

    def take(self, batch: Batch | None = None) -> Batch:
        """Lends `batch`, which must be ready, or else the one that has been ready for longest."""
        if batch is None:
            batch = self.ready.popleft()
        else:
            self.ready.remove(batch)
        batch.is_lent = True
        return batch

    def restore(self, batch: Batch) -> None:
        """Takes back a batch that its borrower has not begun. It is lent next."""
        batch.is_lent = False
        self.ready.appendleft(batch)

    def reopen(self, batch: Batch) -> None:
        """Takes back a batch that is not due and still has room, so that it waits for more tasks.

        The tasks that stand behind its own now do not belong to it. If another batch of its handler was opened
        meanwhile, the two are merged. If that one has no room for it, this one is ready as it is.
        """
        batch.is_lent = False
        for part in batch.parts:
            part.ends = part.ends or bool(part.loan.lane.waiting)
        other = self._open.get(_key(batch))
        if other is not None and other.room < batch.rule.size - batch.room:
            self.ready.appendleft(batch)
            return
        for part in other.parts if other is not None else ():
            batch.join(part)
        self._keep_open(batch)
        if batch.may_fill:
            self._close(batch)

    def tend(self, now: float) -> None:
        """Makes batches ready that are due, or that can be filled by what has come to the lanes of their loans."""
        while self._dues and self._dues[0][0] <= now:
            _, number, key = heapq.heappop(self._dues)
            batch = self._open.get(key)
            if batch is not None and batch.number == number:
                self._close(batch)
        if self._open and now >= self._next_look:
            self._next_look = now + max(LOOK_SECONDS, LOOK_SECONDS_A_BATCH * len(self._open))
            for batch in [batch for batch in self._open.values() if batch.may_fill]:
                self._close(batch)

    def remove(self, wanted: Callable[[Loan], bool]) -> list[Loan]:
        """Takes those loans out that are `wanted`, and returns them."""
        removed: list[Loan] = []
        for batch in [*self._open.values(), *self.ready]:
            removed += batch.remove(wanted)
        self._open = {key: batch for key, batch in self._open.items() if batch.parts}
        self.ready = deque(batch for batch in self.ready if batch.parts)
        return removed

    def _made_now(self, handler: Hashable, rule: BatchRule, due: float, *, alone: bool = False) -> Batch:
        self._made += 1
        return Batch(self._made, handler, rule, due, alone=alone)

    def _keep_open(self, batch: Batch) -> None:
        key = _key(batch)
        self._open[key] = batch
        if len(self._dues) > SPARE_DUES + 2 * len(self._open):
            self._dues = [(other.due, other.number, key) for key, other in self._open.items()]
            heapq.heapify(self._dues)
        else:
            heapq.heappush(self._dues, (batch.due, batch.number, key))

    def _close(self, batch: Batch) -> None:
        self.ready.append(self._open.pop(_key(batch)))


def _key(batch: Batch) -> Hashable:
    return batch.number if batch.rule.by_session else batch.handler


def members(loan: Loan) -> list[Loan]:
    """Return all loans of the batch that `loan` represents; only the loan itself if it has none."""
    return [loan] if loan.batch is None else loan.batch.loans

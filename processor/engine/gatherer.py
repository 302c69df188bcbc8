"""`Gatherer`: loans of several lanes, gathered into batches that one call of a handler attempts together."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable

from processor.engine.loan import Batch, BatchRule, Loan, Part

LOOK_SECONDS = 0.005
"""The shortest time between two counts of the tasks that wait behind the gathered ones in their own lanes."""

LOOK_SECONDS_A_BATCH = 20e-6
"""The time between two counts is at least this long for each open batch. So counting costs little even with thousands
of batches, one for each session."""


SPARE_DUES = 64
"""Due times of closed batches are dropped once all due times exceed twice the open batches by this many."""


class Gatherer:
    """The batches of one consumer that no borrower has. Not thread-safe.

    A batch is open until it is full or due. Then it is ready, and a borrower takes it as it takes a lane.
    """

    def __init__(self) -> None:
        self.ready: deque[Batch] = deque()
        self._open: dict[Hashable, Batch] = {}
        """The open batches by handler. A batch of one session has its own number as key: no other loan can join it."""
        self._dues: list[tuple[float, int, Hashable]] = []
        """When each is due, its number, and its key: a batch that was full before is not kept until then."""
        self._made = 0
        self._next_look = 0.0

    @property
    def has_open(self) -> bool:
        """Whether a batch waits for more tasks, or until it is due."""
        return bool(self._open)

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

        The tasks that are now behind its own do not belong to it. If another batch of its handler was opened
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
        """Takes out the `wanted` loans, and returns them."""
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

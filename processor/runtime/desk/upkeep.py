"""`Upkeep`: handles what becomes due while no thread visits the desk. The watchdog calls it."""

from __future__ import annotations

from math import inf
from time import time

from processor.engine.pace import BATCH_SECONDS
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.expired_joins import next_expiry, refuse_expired

STALE_BATCHES = 5
"""A batch that takes this many times its intended duration was sized for faster tasks. It is *stale*: the desk takes
back what its worker has not begun."""

SPARE_SECONDS = 0.064
"""A long batch is stale this long after its intended end: four times `LONG_BATCH_SECONDS`."""

STALE_SECONDS = STALE_BATCHES * BATCH_SECONDS
"""The shortest time after lending at which a batch can be stale."""


class Upkeep:
    """Retries, delays, gates, joins and batches that are due; and what waits behind slow tasks."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    def tend(self, now: float) -> float | None:
        """Wakes due retries and takes back what waits behind slow tasks. Return when the next retry is due.

        No borrower comes to the desk for two kinds of lanes: those that were lent behind a task that turned out slow,
        and ready lanes while every worker that is awake has such a task.
        """
        with self._lock:
            epoch = time()
            self._assignment.wake(now, epoch)
            if self._shared.has_joins:
                refuse_expired(self._assignment, epoch)
            for gate in self._waiting.gates:
                self._waiting.invite(gate, now)
            self._returns.stage()
            self._take_back_stale(now)
            self._shared.gatherer.tend(now)
            self._wakeups.wake_borrowers()
            return self._next_due(now, epoch)

    def _take_back_stale(self, now: float) -> None:
        borrowers = self._returns.borrowers
        stale = [b for b in borrowers if b.borrowed_at and now - b.borrowed_at > _stale_after(b.batch_seconds)]
        for borrower in stale:
            self._returns.collect(borrower)
            self._returns.take_back(borrower, lambda _: True)
        self._wakeups.away = len(stale)

    def _next_due(self, now: float, epoch: float) -> float | None:
        """Return when a retry, the time of a task or of a join, or a gate is due, in seconds of the monotonic clock."""
        retry, self._waiting.watched_delay = self._assignment.next_wake(), self._assignment.next_delay()
        expiry = next_expiry(self._assignment) if self._shared.has_joins else None
        epochs = [at for at in (self._waiting.watched_delay, expiry) if at is not None]
        dues = [inf if retry is None else retry, self._waiting.watched(), *(now + at - epoch for at in epochs)]
        due = min(dues)
        return None if due == inf else due


def _stale_after(batch_seconds: float) -> float:
    """Return after how many seconds a batch of this intended duration is stale."""
    return min(STALE_BATCHES * batch_seconds, batch_seconds + SPARE_SECONDS)

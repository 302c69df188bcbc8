"""`Upkeep`: handles what becomes due while no thread visits the desk. The watchdog calls it."""

from __future__ import annotations

from math import inf
from time import time

from processor.engine.pace import LONG_BATCH_SECONDS, STALE_SECONDS, stale_after
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups
from processor.runtime.expired_joins import next_expiry, refuse_expired

LOOK_SECONDS = 0.02
"""The longest time between two looks at what is lent. A long batch is stale after 80 ms at the earliest."""


class Upkeep:
    """Retries, delays, gates, joins and batches that are due; and what waits behind slow tasks."""

    def __init__(
        self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes, *, stages: bool
    ) -> None:
        """`stages` is whether outputs wait in outboxes, to be committed together with offsets."""
        self._stages = stages
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    def tend(self, now: float) -> float | None:
        """Wakes due retries and takes back what waits behind slow tasks. Return when to call this again.

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
            self._wakeups.watched = self._next_look(now)
            due = min(self._wakeups.watched, self._next_due(now, epoch))
            return None if due == inf else due

    def _take_back_stale(self, now: float) -> None:
        borrowers = self._returns.borrowers
        stale = [b for b in borrowers if b.borrowed_at and now - b.borrowed_at > stale_after(b.batch_seconds)]
        for borrower in stale:
            self._returns.collect(borrower)
            self._returns.take_back(borrower, lambda _: True)
        self._wakeups.away = len(stale)
        self._wakeups.long.difference_update(stale)

    def _next_look(self, now: float) -> float:
        """Return when to look at what is lent again; infinite if nothing is.

        A short batch needs a look when it may be stale. A long one may be noticed a little later, and of a stale one
        nothing is left to be taken back. A look every 5 ms took an eighth of the time in which any thread had the
        interpreter's lock, with 64 workers on tasks of 1 ms and a busy machine.
        """
        if not self._assignment.lent_loans:
            return inf
        soon = now + STALE_SECONDS
        if self._has_more_to_look_at:
            return soon
        short = [b for b in self._returns.borrowers if b.borrowed_at and b.batch_seconds < LONG_BATCH_SECONDS]
        dues = [due for b in short if (due := b.borrowed_at + stale_after(b.batch_seconds)) > now]
        return min(now + LOOK_SECONDS, max(soon, min(dues, default=inf)))

    @property
    def _has_more_to_look_at(self) -> bool:
        """Whether more than batches may need a look: outputs, terms, joins, limits, gathered tasks or suspects."""
        shared = self._shared
        if self._stages or shared.assignment.has_terms or shared.has_joins or self._waiting.gates:
            return True
        return shared.gatherer.has_open or shared.isolation.is_active

    def _next_due(self, now: float, epoch: float) -> float:
        """Return when a retry, the time of a task or of a join, or a gate is due; infinite if none is.

        The time is in seconds of the monotonic clock.
        """
        retry, self._waiting.watched_delay = self._assignment.next_wake(), self._assignment.next_delay()
        expiry = next_expiry(self._assignment) if self._shared.has_joins else None
        epochs = [at for at in (self._waiting.watched_delay, expiry) if at is not None]
        return min(inf if retry is None else retry, self._waiting.watched(), *(now + at - epoch for at in epochs))

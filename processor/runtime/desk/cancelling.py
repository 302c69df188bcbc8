"""`Cancelling`: the cancellations that operators have ordered, and the waiting lanes that they may cover."""

from __future__ import annotations

from typing import NamedTuple

from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.lane import Lane
from processor.engine.ledger import Ledger, Loan
from processor.engine.record import Record
from processor.runtime.cancelled import recall_joins
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Waiting(NamedTuple):
    """The head of a lane that waits for something other than a worker."""

    ledger: Ledger
    lane: Lane
    record: Record


class Cancelling:
    """`begin` and `end` are for the control topic's thread, the others for the watchdog."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self.cancels: Cancels = waiting.cancels
        """Changed under the lock."""
        self._lock = shared.lock
        self._shared = shared
        self._wakeups = wakeups
        self._timers = shared.timers
        self._assignment = shared.assignment
        self._returns = returns
        self._waiting = waiting

    def begin(self, target: CancelTarget, cancel: Cancel) -> bool:
        """Cancels the target: none of its tasks begins without a check of `cancels`. Return whether that is new."""
        with self._lock:
            if not self.cancels.begin(target, cancel):
                return False
            self._assignment.newly_delayed = []
            self._returns.recall(lambda loan: self.cancels.may_cover(loan.lane.key))
            for ledger in self._assignment.ledgers.values():
                self._waiting.unexamined.update(dict.fromkeys(ledger.lanes.waiting_lanes(), ledger))
            if self._shared.has_joins:
                recall_joins(self._assignment, self.cancels)
                self._wakeups.wake_borrowers()
            self._timers.wake()
            return True

    def end(self, target: CancelTarget) -> bool:
        """Ends the cancellation of the target. Return whether it was in force."""
        with self._lock:
            return self._end(target)

    def end_expired(self, target: CancelTarget, epoch: float) -> bool:
        """Does the same if it is over at `epoch`, in seconds since the epoch: a later one may have replaced it."""
        with self._lock:
            cancel = self.cancels.in_force.get(target)
            return cancel is not None and cancel.until <= epoch * 1000 and self._end(target)

    def _end(self, target: CancelTarget) -> bool:
        was_in_force = self.cancels.end(target)
        if not self.cancels.in_force:
            self._assignment.newly_delayed = None
            self._waiting.unexamined.clear()
        return was_in_force

    def unexamined(self, most: int) -> list[Waiting]:
        """Takes at most `most` waiting lanes that may be cancelled and were not checked yet. Return their heads."""
        heads = list[Waiting]()
        with self._lock:
            unexamined = self._waiting.unexamined
            if self._assignment.newly_delayed:
                unexamined.update((lane, ledger) for ledger, lane in self._assignment.newly_delayed)
                self._assignment.newly_delayed.clear()
            while unexamined and len(heads) < most:
                lane = next(iter(unexamined))
                ledger = unexamined.pop(lane)
                if ledger.may_begin and ledger.lanes.waits(lane) and self.cancels.may_cover(lane.key):
                    heads.append(Waiting(ledger, lane, lane.waiting[0]))
            if unexamined:
                self._timers.wake()
        return heads

    def claim(self, waiting: Waiting) -> Loan | None:
        """Lends the head of a waiting lane, whatever it waits for; None if it no longer waits, or has another head.

        The caller does not attempt the head.
        """
        ledger, lane, record = waiting
        with self._lock:
            if not ledger.may_begin or not ledger.lanes.waits(lane) or lane.waiting[0] is not record:
                return None
            self._waiting.withdraw(lane)
            return self._assignment.claim(ledger, lane)

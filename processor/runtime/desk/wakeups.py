"""`Wakeups`: the threads that wait at the desk, and what wakes them.

Borrowers wait for lanes that are ready. The poller waits for room, or for the end of a drain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from processor.engine.ledger import LedgerState, Loan
from processor.engine.pace import Pace
from processor.runtime.desk.borrower import Borrower, Invited
from processor.runtime.desk.shared import Shared


class Wakeups:
    """Call it under the lock. The attributes may be read without it."""

    def __init__(self, shared: Shared) -> None:
        self.pace = Pace()
        self.invited: Invited | None = None
        """The borrower that does not wait here, if there is one."""
        self.awake = 0
        """Worker threads that do not wait for lanes."""
        self.away = 0
        """How many of them have a task that turned out slow."""
        self.long: set[Borrower] = set()
        """Those among them that have a long batch and so do not return soon. None of these counts in `away`."""
        self.watched = inf
        """When the watchdog looks next at what is lent, at the latest, in seconds of the monotonic clock."""
        self.draining = 0
        """Threads that wait for the end of a drain."""
        self.drained = threading.Condition(shared.lock)
        self._ready = threading.Condition(shared.lock)
        self._asleep = 0
        """Worker threads that wait for lanes, and those that were woken and do not run yet."""
        self._space = threading.Condition(shared.lock)
        self._space_level = -1
        """The poller waits until at most this many tasks are in flight; -1 while it does not wait."""
        self._timers = shared.timers
        self._assignment = shared.assignment
        self._gatherer = shared.gatherer
        self._isolation = shared.isolation

    def wait_for_lanes(self) -> None:
        """Waits until a borrower is woken. It counts as awake before and after."""
        self.awake -= 1
        if self.awake == 0:
            self.away = 0
        self._asleep += 1
        self._ready.wait()
        self._asleep -= 1
        self.awake += 1

    def wake_borrowers(self) -> None:
        """Wakes as many borrowers as the ready lanes and batches are worth."""
        if not self._asleep and self.invited is None:
            return
        assignment = self._assignment
        batches = len(self._gatherer.ready) + (self._isolation.loan is not None)
        if not assignment.ready_lanes and not batches:
            return
        if self.invited:
            self.invited.invite()
        else:
            wanted = self._wanted() + batches
            if wanted:
                self._ready.notify(wanted)

    def _wanted(self) -> int:
        """Return how many more borrowers the ready lanes are worth. They may have few of the tasks that wait.

        A borrower with a slow task or a long batch does not return soon, so it takes none of these lanes.
        """
        lanes, awake = self._assignment.ready_lanes, max(0, self.awake - self.away - len(self.long))
        wanted = self.pace.wanted(lanes, self._assignment.waiting, awake)
        if not wanted:
            return 0
        return self.pace.wanted(lanes, self._assignment.estimate_ready_tasks(), awake)

    def wake_all_borrowers(self) -> None:
        """Wakes every borrower that waits here, for example to leave."""
        self._ready.notify_all()

    def watch(self, at: float) -> None:
        """Wakes the watchdog if it would look at what is lent later than at this time."""
        if at < self.watched:
            self.watched = at
            self._timers.wake()

    def wait_for_space(self, seconds: float) -> None:
        """Waits for at most `seconds`, until a quarter of what is in flight now is settled."""
        self._space_level = self._assignment.in_flight * 3 // 4
        self._space.wait(seconds)
        self._space_level = -1

    def notify_space(self) -> None:
        """Wakes the poller if enough tasks have settled."""
        if self._space_level >= self._assignment.in_flight:
            self._space.notify()

    def wait_drained(self, is_drained: Callable[[], bool], seconds: float) -> bool:
        """Waits at most `seconds` until `is_drained` returns True. Return its last result."""
        self.draining += 1
        try:
            return self.drained.wait_for(is_drained, seconds)
        finally:
            self.draining -= 1

    def notify_drained(self, loan: Loan) -> None:
        """Wakes the threads that wait for a drain, since the loan is over or its lane waits."""
        if self.draining and loan.ledger.state is not LedgerState.OPEN:
            self.drained.notify_all()

    def after_release(self, loan: Loan) -> None:
        """Wakes the threads for which there is room or work now, since the loan is over or its lane waits."""
        self.notify_drained(loan)
        self.after_releases()

    def after_releases(self) -> None:
        """Does the same for several loans, after `notify_drained` was called for each."""
        self.notify_space()
        if self._assignment.ready_lanes:
            self.wake_borrowers()

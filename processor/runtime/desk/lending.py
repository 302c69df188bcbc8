"""`Lending`: borrowers bring back what they have finished, and get their next batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from time import monotonic, time

from processor.engine.gatherer import members
from processor.engine.ledger import Loan
from processor.engine.pace import BATCH_SECONDS, STALE_SECONDS, stale_after
from processor.runtime.desk.borrower import Borrower, Invited
from processor.runtime.desk.pausing import Pausing
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.suspects import Suspects
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Lending:
    """For borrowers, and for the code that starts and ends them."""

    def __init__(
        self,
        shared: Shared,
        wakeups: Wakeups,
        returns: Returns,
        waiting: WaitingLanes,
        pausing: Pausing,
        suspects: Suspects,
    ) -> None:
        self._lock = shared.lock
        self._lease = shared.lease
        self._timers = shared.timers
        self._counts = shared.counts
        self._assignment = shared.assignment
        self._gatherer = shared.gatherer
        self._isolation = shared.isolation
        self._runs_low = shared.runs_low
        self._count = shared.count
        self._pace = wakeups.pace
        self._wakeups = wakeups
        self._returns = returns
        self._borrowers = returns.borrowers
        self._waiting = waiting
        self._pauses = pausing.pauses
        self._pausing = pausing
        self._suspects = suspects
        self._most_borrowers: float = inf
        self._closed = False
        self._has_turned_away = False

    def enter(self, borrower: Borrower) -> None:
        """Registers a borrower. It counts as awake until it waits."""
        with self._lock:
            self._borrowers.append(borrower)
            self._wakeups.awake += 1

    def enter_invited(self, borrower: Invited) -> None:
        """Registers a borrower that comes when it is invited."""
        with self._lock:
            self._borrowers.append(borrower)
            self._wakeups.invited = borrower

    def leave(self, borrower: Borrower) -> None:
        """Removes a borrower that has entered and could not begin."""
        with self._lock:
            self._leave(borrower)

    def limit_borrowers(self, most: int) -> Sequence[Borrower]:
        """Has returning borrowers leave while there are more than `most`. Return those that have not left yet."""
        with self._lock:
            self._most_borrowers = most
            self._wakeups.wake_all_borrowers()
            return list(self._borrowers)

    def close(self) -> None:
        """Has all borrowers leave."""
        with self._lock:
            self._closed = True
            self._wakeups.wake_all_borrowers()
        if self._wakeups.invited:
            self._wakeups.invited.invite()

    def go_on(self) -> None:
        """Wakes the borrowers that were turned away: the lease holds again."""
        if self._has_turned_away:
            with self._lock:
                self._has_turned_away = False
                self._wakeups.wake_borrowers()

    def borrow(self, borrower: Borrower) -> bool:
        """Brings back what the borrower finished, and waits for its next batch. Return False if there will be none."""
        with self._lock:
            self._bring_back(borrower)
            while not self._closed:
                workers = len(self._borrowers)
                if workers > self._most_borrowers:
                    self._leave(borrower)
                    return False
                borrower.batch_seconds = self._batch_seconds(workers)
                if self._lend(borrower, self._pace.batch_size(borrower.batch_seconds), workers):
                    return True
                self._wakeups.wait_for_lanes()
            return False

    def exchange(self, borrower: Borrower, slots: int) -> bool:
        """Does the same without waiting, for at most `slots` tasks. Return False when the desk is closed."""
        with self._lock:
            self._bring_back(borrower)
            if slots > 0 and not self._closed:
                self._lend(borrower, slots)
            return not self._closed

    def recover(self, borrower: Borrower) -> None:
        """Takes back all loans of a borrower that met an internal error, done or not.

        Raises:
            Exception: an internal error at one of the loans. The others are taken back.
        """
        with self._lock:
            loans = [loan for lent in [*borrower.current(), *borrower.batch] for loan in members(lent)]
            borrower.batch.clear()  # first: it must not begin what is given back
            self._take_back_all(borrower, loans)

    def give_back(self, borrower: Borrower, loans: Sequence[Loan]) -> None:
        """Takes back these loans, at which the borrower met an internal error. It continues with its others.

        Raises:
            Exception: an internal error at one of the loans. The others are taken back.
        """
        with self._lock:
            self._take_back_all(borrower, loans)

    def _take_back_all(self, borrower: Borrower, loans: Sequence[Loan]) -> None:
        fault: Exception | None = None
        for step in (partial(self._returns.collect, borrower), *(partial(self._take_back, loan) for loan in loans)):
            try:
                step()
            except Exception as error:
                fault = error
        self._wakeups.wake_borrowers()
        if fault is not None:
            raise fault

    def _take_back(self, loan: Loan) -> None:
        if loan in loan.ledger.lent:
            self._count(self._assignment.release(loan))
        for gate in self._waiting.gates:
            gate.drop(loan.lane)

    def _batch_seconds(self, workers: int) -> float:
        """Return the target duration of a batch. A long one would take lanes from other workers if few are ready."""
        seconds = self._pace.batch_seconds(self._assignment.waiting, workers)
        if seconds <= BATCH_SECONDS:
            return seconds
        return self._pace.batch_seconds(self._assignment.estimate_ready_tasks(), workers)

    def _lend(self, borrower: Borrower, limit: int, workers: int | None = None) -> bool:
        now = monotonic()
        if not self._lease.holds(now):
            self._has_turned_away = True
            return False
        if self._isolation.is_active and (lent := self._suspects.lend(borrower, now)) is not None:
            return lent
        if self._gatherer.ready:
            borrower.batch.append(self._gatherer.take().leader)
            self._begin_batch(borrower, now)
            self._wakeups.wake_borrowers()
            return True
        assignment = self._assignment
        lend = self._pausing.lend if self._pauses.in_force else assignment.lend
        loans = lend(limit, workers, time() if assignment.has_terms else 0.0)
        if self._isolation.is_active and loans:
            loans = self._isolation.filter(assignment, loans)
            if not loans:
                return bool(self._suspects.lend(borrower, now))
        if not loans:
            if assignment.next_delay() != self._waiting.watched_delay:
                self._timers.wake()
            return False
        if assignment.lent_loans == len(loans):
            self._timers.wake()  # the first loans after none: the watchdog must watch their deadlines now
        borrower.batch.extend(loans)
        self._begin_batch(borrower, now)
        if assignment.ready_lanes:
            self._wakeups.wake_borrowers()
        if assignment.has_set_aside and assignment.runs_low:
            self._runs_low.set()
        return True

    def _begin_batch(self, borrower: Borrower, now: float) -> None:
        borrower.borrowed_at = now
        if borrower.batch_seconds > STALE_SECONDS:
            self._wakeups.long.add(borrower)
        self._wakeups.watch(now + stale_after(borrower.batch_seconds))

    def _leave(self, borrower: Borrower) -> None:
        self._borrowers.remove(borrower)
        self._wakeups.awake -= 1
        self._wakeups.wake_borrowers()  # it may have been woken for a task

    def _bring_back(self, borrower: Borrower) -> None:
        if borrower.ended:
            self._time(borrower)
        borrower.borrowed_at = 0.0
        self._wakeups.long.discard(borrower)
        self._returns.collect(borrower)
        self._wakeups.notify_space()

    def _time(self, borrower: Borrower) -> None:
        counts, ended = self._counts, borrower.ended
        self._pace.observe(ended, borrower.seconds)
        counts.handler_seconds += borrower.seconds
        borrower.ended, borrower.seconds = 0, 0.0
        # A coroutine notes a slow attempt before the attempts of its loan count as ended, and another one may come here
        # in between: what is not yet counted stays, since a counter must not go down.
        slow = borrower.slow[:ended]
        counts.durations.add(ended - len(slow), slow)
        if slow:
            counts.longest_seconds = max(counts.longest_seconds, *slow)
            del borrower.slow[:ended]

"""Where lanes are lent and brought back: everything that threads share, under one lock.

Under the lock nothing is called that blocks, logs or does I/O; it is taken once a batch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Protocol

from processor.engine.assignment import Assignment
from processor.engine.durations import Durations
from processor.engine.lease import Lease
from processor.engine.ledger import LedgerState, Loan
from processor.engine.pace import TURN_SECONDS, Pace
from processor.engine.retry import Cause, Failure, Setback
from processor.runtime.ports import Partition, Record

STALE_TURNS = 5
"""A batch that takes so many of its turns was sized for faster tasks: what it has not begun is taken back."""

STALE_SECONDS = STALE_TURNS * TURN_SECONDS
"""How soon that can be."""


class Borrower(Protocol):
    """Who has loans: a worker thread, or the event loop.

    `batch` and `finished` are emptied and filled by the borrower without the lock: each step on a
    deque is atomic, and who pops a loan has it.
    """

    batch: deque[Loan]
    """Lent and not begun; the borrower takes from the left, who takes back from the right."""
    finished: deque[Loan]
    """Ended, all done or stopped in the middle, and not yet brought back."""
    slow: list[float]
    """Seconds of each attempt since the last visit that was not quick."""
    ended: int
    """Attempts since the last visit, quick ones too."""
    borrowed_at: float
    """When the batch was lent, in seconds of the monotonic clock."""
    turn: float
    """How long it was meant to take, in seconds."""

    def current(self) -> Iterable[Loan]:
        """The loans that it has begun and not ended."""


class Counts:
    """What happened since the start."""

    __slots__ = (
        "dead_lettered",
        "done",
        "durations",
        "failed_attempts",
        "handler_seconds",
        "longest_seconds",
        "results",
        "retried",
        "skipped",
        "stuck",
        "timed_out",
    )

    def __init__(self) -> None:
        self.done = self.failed_attempts = self.retried = self.timed_out = self.stuck = 0
        self.dead_lettered = self.skipped = self.results = 0
        self.handler_seconds = 0.0
        self.durations = Durations()
        self.longest_seconds = 0.0
        """Of one attempt, since somebody has set it to 0."""


class Desk:
    """The lending desk of one consumer."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        """Nothing is lent, and of what is lent nothing begun, once it is over."""
        self.lock = threading.Lock()
        self.assignment: Assignment[Partition] = Assignment()
        self.pace = Pace()
        self.counts = Counts()
        self.borrowers: list[Borrower] = []
        self.settled = 0
        """Tasks settled since the start."""
        self.watch: Callable[[], None] = lambda: None
        """Called when the first lane is lent after all were idle: somebody must watch the deadlines now."""
        self.invite: Callable[[], None] | None = None
        """Tells the event loop, where there is one, that lanes are ready."""
        self._ready = threading.Condition(self.lock)
        self._space = threading.Condition(self.lock)
        self._drained = threading.Condition(self.lock)
        self._space_level = -1
        self._draining = 0
        self._awake = 0
        self._away = 0
        self._closed = False
        self._has_turned_away = False

    # --- the poller's side -------------------------------------------------------------------------

    def admit(self, runs: Iterable[tuple[Partition, Sequence[Record]]]) -> None:
        """Takes records in, each run being of one assigned partition, and wakes who is worth waking."""
        now = monotonic()
        with self.lock:
            for partition, records in runs:
                self.assignment.admit(partition, records, now)
            self._wake_borrowers()

    @property
    def idle(self) -> bool:
        """Whether nothing is ready for a worker. Read without the lock, so only of about now."""
        return not self.assignment.ready_lanes

    def go_on(self) -> None:
        """The lease holds; who was turned away while it did not may come again."""
        if self._has_turned_away:
            with self.lock:
                self._has_turned_away = False
                self._wake_borrowers()

    def rest(self, seconds: float) -> None:
        """Waits that long, or until a quarter of what is in flight now is settled."""
        with self.lock:
            self._space_level = self.assignment.in_flight * 3 // 4
            self._space.wait(seconds)
            self._space_level = -1

    def drain(self, partitions: Iterable[Partition]) -> None:
        """Begins no task of these partitions any more."""
        with self.lock:
            for partition in partitions:
                self.assignment.drain(partition)
            for borrower in self.borrowers:
                self._take_back(borrower, lambda loan: not loan.ledger.may_begin)

    def wait_drained(self, partitions: Sequence[Partition], seconds: float) -> bool:
        """Waits for what runs of these partitions to end and settle; whether it did."""
        with self.lock:
            self._draining += 1
            try:
                return self._drained.wait_for(lambda: not self._lent_of(partitions), seconds)
            finally:
                self._draining -= 1

    def lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        """The loans of these partitions that are not over."""
        with self.lock:
            return self._lent_of(partitions)

    def collect(self) -> None:
        """Settles everything that is done, of running batches and unfinished loans too. The lock must be held."""
        for borrower in self.borrowers:
            self._collect(borrower)
            for loan in borrower.current():
                self._count(self.assignment.settle(loan))

    def close(self) -> None:
        """Sends the borrowers home."""
        with self.lock:
            self._closed = True
            self._ready.notify_all()
        if self.invite:
            self.invite()

    # --- the borrowers' side -----------------------------------------------------------------------

    def borrow(self, borrower: Borrower, tasks: int, seconds: float) -> bool:
        """Brings back what the borrower finished, `tasks` in `seconds`, and waits for its next batch.

        False when there will be none.
        """
        with self.lock:
            self._bring_back(borrower, tasks, seconds)
            while not self._closed:
                workers = len(self.borrowers)
                borrower.turn = self.pace.turn(self.assignment.waiting, workers)
                if self._lend(borrower, self.pace.batch(borrower.turn), workers):
                    return True
                self._awake -= 1
                if self._awake == 0:
                    self._away = 0
                self._ready.wait()
                self._awake += 1
            return False

    def exchange(self, borrower: Borrower, slots: int, tasks: int, seconds: float) -> bool:
        """The same without waiting, for at most `slots` tasks; false when the desk is closed."""
        with self.lock:
            self._bring_back(borrower, tasks, seconds)
            if slots > 0 and not self._closed:
                self._lend(borrower, slots)
            return not self._closed

    def enter(self, borrower: Borrower) -> None:
        """A borrower begins; until it waits it counts as awake."""
        with self.lock:
            self.borrowers.append(borrower)
            self._awake += 1

    def park(self, loan: Loan, failure: Failure, due: float) -> bool:
        """The loan's next task failed; its session waits until `due`. Whether that is before all that wait."""
        with self.lock:
            self._count_failure(loan, failure)
            self.counts.retried += 1
            return self._park(loan, failure, due, failed=True)

    def postpone(self, loan: Loan, failure: Failure, due: float) -> bool:
        """The same of a task that cannot be read yet, and was not attempted."""
        with self.lock:
            return self._park(loan, failure, due, failed=False)

    def fail(self, loan: Loan, failure: Failure) -> None:
        """The loan's next task failed for the last time; its dead letter is on its way."""
        with self.lock:
            self._count_failure(loan, failure)
            self._count(self.assignment.settle(loan))
            now = loan.handed_over_at = monotonic()
            loan.lane.setback = Setback(failure.error_type, failure.message, now, now)

    def hand_over(self, loan: Loan) -> None:
        """The loan's next task succeeded; its result is on its way."""
        loan.handed_over_at = monotonic()
        if loan.done > loan.settled:
            with self.lock:
                self._count(self.assignment.settle(loan))

    def delay(self, loan: Loan, setback: Setback) -> None:
        """The dead letter or the result of the loan's next task was not taken; it is sent again."""
        with self.lock:
            loan.lane.setback = setback

    def settle_next(self, loan: Loan, *, dead_letter: bool, release: bool = True) -> None:
        """The loan's next task is settled: its dead letter or its result is acknowledged."""
        with self.lock:
            loan.done += 1
            loan.held = not release
            settled = self.assignment.release(loan) if release else self.assignment.settle(loan)
            self.settled += settled
            if dead_letter:
                self.counts.done += settled - 1
                self.counts.dead_lettered += 1
                loan.ledger.dead_lettered += 1
            else:
                self.counts.done += settled
                self.counts.results += 1
            self._after_release(loan)

    def give_up(self, loan: Loan) -> None:
        """The loan is over; what it has not done waits in its lane, or is another consumer's."""
        with self.lock:
            self._count(self.assignment.release(loan))
            self._after_release(loan)

    def recover(self, borrower: Borrower) -> None:
        """The borrower lost its way: all that it has is taken back, done or not."""
        with self.lock:
            self._collect(borrower)
            for loan in [*borrower.current(), *borrower.batch]:
                if loan in loan.ledger.lent:
                    self._count(self.assignment.release(loan))
            borrower.batch.clear()
            self._wake_borrowers()

    # --- the watchdog's side -----------------------------------------------------------------------

    def tend(self, now: float) -> float | None:
        """Wakes due retries and takes back what waits behind slow tasks; when the next retry is due.

        This is what nobody else notices: lanes that were lent behind a task that turned out slow,
        and ready lanes while everybody who is awake is on a task that turned out slow.
        """
        with self.lock:
            self.assignment.wake(now)
            stale = [b for b in self.borrowers if b.borrowed_at and now - b.borrowed_at > STALE_TURNS * b.turn]
            for borrower in stale:
                self._collect(borrower)
                self._take_back(borrower, lambda _: True)
            self._away = len(stale)
            self._wake_borrowers()
            return self.assignment.next_wake()

    @property
    def busy(self) -> bool:
        """Whether any lane is lent."""
        return self.assignment.lent_loans > 0

    # --- under the lock ----------------------------------------------------------------------------

    def _park(self, loan: Loan, failure: Failure, due: float, *, failed: bool) -> bool:
        setback = Setback(failure.error_type, failure.message, monotonic(), due)
        self._count(self.assignment.park(loan, setback, failed=failed))
        self._notify_drained(loan)
        return self.assignment.next_wake() == due

    def _lend(self, borrower: Borrower, limit: int, workers: int | None = None) -> bool:
        now = monotonic()
        if not self.lease.holds(now):
            self._has_turned_away = True
            return False
        loans = self.assignment.lend(limit, workers)
        if not loans:
            return False
        if self.assignment.lent_loans == len(loans):
            self.watch()
        borrower.batch.extend(loans)
        borrower.borrowed_at = now
        if self.assignment.ready_lanes:
            self._wake_borrowers()
        return True

    def _bring_back(self, borrower: Borrower, tasks: int, seconds: float) -> None:
        if tasks:
            self.pace.observe(tasks, seconds)
            self.counts.handler_seconds += seconds
            self._time(borrower)
        borrower.borrowed_at = 0.0
        self._collect(borrower)
        self._notify_space()

    def _collect(self, borrower: Borrower) -> None:
        finished = borrower.finished
        if finished:  # the borrower may append meanwhile; nobody else takes from it
            loans = [finished.popleft() for _ in range(len(finished))]
            self._count(self.assignment.release_all(loans))
            if self._draining:
                self._drained.notify_all()

    def _time(self, borrower: Borrower) -> None:
        counts, slow = self.counts, borrower.slow
        counts.durations.add(borrower.ended - len(slow), slow)
        borrower.ended = 0
        if slow:
            counts.longest_seconds = max(counts.longest_seconds, *slow)
            slow.clear()

    def _count_failure(self, loan: Loan, failure: Failure) -> None:
        loan.ledger.failed_attempts += 1
        self.counts.failed_attempts += 1
        self.counts.timed_out += failure.cause in (Cause.TIMED_OUT, Cause.STUCK)
        self.counts.stuck += failure.cause is Cause.STUCK

    def _count(self, settled: int) -> None:
        self.settled += settled
        self.counts.done += settled

    def _after_release(self, loan: Loan) -> None:
        self._notify_drained(loan)
        self._notify_space()
        if self.assignment.ready_lanes:
            self._wake_borrowers()

    def _notify_space(self) -> None:
        if self._space_level >= self.assignment.in_flight:
            self._space.notify()

    def _notify_drained(self, loan: Loan) -> None:
        if self._draining and loan.ledger.state is not LedgerState.OPEN:
            self._drained.notify_all()

    def _take_back(self, borrower: Borrower, wanted: Callable[[Loan], bool]) -> None:
        kept = deque[Loan]()
        while borrower.batch:
            try:
                loan = borrower.batch.pop()
            except IndexError:  # the borrower began the last one between the look and the grasp
                break
            if wanted(loan):
                self.assignment.take_back(loan)
            else:
                kept.appendleft(loan)
        borrower.batch.extend(kept)

    def _wake_borrowers(self) -> None:
        assignment = self.assignment
        if not assignment.ready_lanes:
            return
        if self.invite:
            self.invite()
        else:
            wanted = self.pace.wanted(assignment.ready_lanes, assignment.waiting, max(0, self._awake - self._away))
            if wanted:
                self._ready.notify(wanted)

    def _lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        ledgers = self.assignment.ledgers
        return [loan for p in partitions if p in ledgers for loan in ledgers[p].lent if not loan.held]

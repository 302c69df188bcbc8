"""`Outcomes`: records the outcome of a loan's next task: settled, staged, parked, or given up."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from processor.engine.ledger import Loan
from processor.engine.outcome import Deferred, Failed, Verdict
from processor.engine.retry import Setback
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Acknowledged(NamedTuple):
    """A loan whose next task settles: its dead letter or result, and what follows from it, are acknowledged."""

    loan: Loan
    dead_letter: bool = False
    """Whether the task is dead-lettered."""
    result: bool = False
    """Whether the task has a result."""
    release: bool = True
    """Whether the lane continues; otherwise it stays lent permanently."""


class Outcomes:
    """Changes the state of a loan's next task. Any thread may call it."""

    def __init__(self, shared: Shared, wakeups: Wakeups, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._counts = shared.counts
        self._wakeups = wakeups
        self._waiting = waiting

    def settle_next(self, loan: Loan) -> None:
        """Settles the loan's next task, which has no output."""
        self.settle_all([Acknowledged(loan)])

    def settle_all(self, outputs: Sequence[Acknowledged]) -> None:
        """Settles the next tasks of many loans, and wakes other threads once.

        A loan that was attempted in a batch stays lent until all of its tasks are settled, or will be attempted again.

        Raises:
            Exception: an internal error at one of the loans. The others are settled.
        """
        fault: Exception | None = None
        with self._lock:
            for loan, dead_letter, result, release in outputs:
                try:
                    settled = self._settle_next(loan, release=release)
                    self._shared.count_output(loan, settled, dead_letter=dead_letter, result=result)
                except Exception as error:
                    fault = error
                self._wakeups.notify_drained(loan)
            self._wakeups.after_releases()
        if fault is not None:
            raise fault

    def stage(
        self, loan: Loan, output: object, size: int, *, dead_letter: bool, result: bool, release: bool = True
    ) -> None:
        """Settles the loan's next task, and stages `output` to be committed with it, in one step. See `settle_all`.

        The step is taken when a thread next comes to the desk: if each task took the lock here, the workers would queue
        for it. The borrower comes after its batch, and the watchdog comes earlier if that takes long.

        Args:
            loan: the loan whose next task is settled.
            output: what a transaction commits together with the task's offset.
            size: of the output in memory, in bytes.
            dead_letter: whether it is a dead letter.
            result: whether it has a result.
            release: whether the lane continues; otherwise it stays lent permanently.
        """
        if loan.batch is None and release:
            self._shared.staging.append((loan, output, size, dead_letter, result))
            return
        with self._lock:
            is_last = loan.batch is None or loan.done + 1 == len(loan.records)
            loan.abandoned = is_last and not release
            settled = self._assignment.stage(loan, output, size, release=is_last and release)
            self._shared.count_output(loan, settled, dead_letter=dead_letter, result=result)
            self._wakeups.after_release(loan)

    def cancel(self, loan: Loan, failed: Failed) -> None:
        """Settles the loan's next task, which was cancelled, without a dead letter. The cause of `failed` says whether
        an attempt was interrupted.
        """
        with self._lock:
            self._shared.count_failure(loan, failed)
            loan.ledger.cancelled += 1
            settled = self._settle_next(loan, release=True)
            self._counts.settled += settled
            self._counts.succeeded += settled - 1
            self._wakeups.after_release(loan)

    def settle_others(self, loan: Loan, left: Sequence[int]) -> None:
        """Settles the tasks of a loan that was attempted in a batch, except those at the indices `left`."""
        with self._lock:
            self._shared.count(self._assignment.settle_others(loan, left))
            self._wakeups.notify_space()

    def give_up(self, loan: Loan) -> None:
        """Ends the loan. Its tasks that are not done wait in their lane, or belong to another consumer."""
        with self._lock:
            self._shared.count(self._assignment.release(loan))
            self._wakeups.after_release(loan)

    def take_back(self, loan: Loan) -> None:
        """Ends a loan at which an internal error happened, unless it is over. Tasks that are not done come again."""
        with self._lock:
            if loan in loan.ledger.lent:
                # `settle_others` may have changed their order
                loan.records[loan.done :] = sorted(loan.records[loan.done :], key=lambda record: record.offset())
                self._shared.count(self._assignment.release(loan))
                self._wakeups.after_release(loan)

    def hand_over(self, loan: Loan) -> None:
        """Notes that the loan's next task has succeeded and that its output is being sent."""
        loan.handed_over_at = monotonic()
        if loan.done > loan.settled:
            with self._lock:
                self._shared.count(self._assignment.settle(loan))

    def fail(self, loan: Loan, failed: Failed) -> None:
        """Records the last failure of the loan's next task, whose dead letter is being sent."""
        with self._lock:
            self._shared.count_failure(loan, failed)
            self._shared.count(self._assignment.settle(loan))
            if loan.joined is not None and loan.ledger.joins is not None:
                loan.ledger.joins.fail(loan.joined)
            now = loan.handed_over_at = monotonic()
            loan.lane.setback = Setback(failed.error_type, failed.message, now, now)

    def delay(self, loan: Loan, setback: Setback) -> None:
        """Notes that the task's dead letter or result was not accepted, and is sent again."""
        with self._lock:
            loan.lane.setback = setback

    def park(self, loan: Loan, failed: Failed, due: float) -> None:
        """Records a failure of the loan's next task. Its session waits until `due`."""
        self.park_all(loan, [failed], due)

    def park_all(self, loan: Loan, failures: Sequence[Failed], due: float) -> None:
        """Records that all remaining tasks of a loan failed in a batch. Their session waits until `due`."""
        with self._lock:
            for failed in failures:
                if failed.counts or failed.verdict is Verdict.OUTAGE:
                    self._shared.count_failure(loan, failed)
            self._counts.retried += len(failures)
            self._park(loan, failures[0], due, attempted=failures[0].counts)

    def postpone(self, loan: Loan, deferred: Deferred, due: float) -> None:
        """Makes the loan's session wait until `due`. Its next task was not attempted."""
        with self._lock:
            self._park(loan, deferred, due, attempted=False)

    def _park(self, loan: Loan, why: Failed | Deferred, due: float, *, attempted: bool) -> None:
        is_outage = isinstance(why, Failed) and why.verdict is Verdict.OUTAGE
        setback = Setback(why.error_type, why.message, monotonic(), due, loan.outages + 1 if is_outage else 0)
        self._shared.count(self._assignment.park(loan, setback, failed=attempted))
        self._waiting.note(loan.ledger, loan.lane)
        self._wakeups.notify_drained(loan)
        if self._assignment.next_wake() == due:
            self._shared.timers.wake()

    def _settle_next(self, loan: Loan, *, release: bool) -> int:
        loan.done += 1
        is_last = loan.batch is None or loan.done == len(loan.records)
        loan.abandoned = is_last and not release
        return self._assignment.release(loan) if is_last and release else self._assignment.settle(loan)

"""`Returns`: takes back what the desk has lent: finished loans, loans that were not begun, and gathered ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from processor.engine.ledger import Loan
from processor.runtime.desk.borrower import Borrower
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.wakeups import Wakeups


class Returns:
    """Knows the borrowers. Call it under the lock."""

    def __init__(self, shared: Shared, wakeups: Wakeups) -> None:
        self.borrowers: list[Borrower] = []
        """Borrowers that have entered and not left."""
        self._shared = shared
        self._assignment = shared.assignment
        self._gatherer = shared.gatherer
        self._wakeups = wakeups

    def collect(self, borrower: Borrower) -> None:
        """Settles what the borrower has finished, and what was staged meanwhile.

        Raises:
            Exception: an internal error at one of the loans. Those behind it are released.
        """
        if self._shared.staging:
            self.stage()
        finished = borrower.finished
        if finished:  # the borrower may append meanwhile, and only the desk takes from it
            loans = [finished.popleft() for _ in range(len(finished))]
            try:
                self._shared.count(self._assignment.release_all(loans))
            except Exception:
                self._release_each(loans)
                raise
            if self._wakeups.draining:
                self._wakeups.drained.notify_all()

    def _release_each(self, loans: Sequence[Loan]) -> None:
        """Releases the loans that are still lent, except those at which that fails. Their borrower has dropped them, so
        that their sessions would wait until the partition is assigned again.
        """
        for loan in loans:
            if loan in loan.ledger.lent:
                with suppress(Exception):  # the caller raises the first error
                    self._shared.count(self._assignment.release(loan))

    def stage(self) -> None:
        """Settles the tasks whose outputs are to be staged, and stages them."""
        staging = self._shared.staging
        for _ in range(len(staging)):  # only the desk takes from it
            loan, output, size, dead_letter, result = staging.popleft()
            settled = self._assignment.stage(loan, output, size)
            self._shared.count_output(loan, settled, dead_letter=dead_letter, result=result)
            self._wakeups.notify_drained(loan)

    def collect_all(self) -> None:
        """Settles what all borrowers have done, also of loans that have not ended."""
        self.stage()
        for borrower in self.borrowers:
            self.collect(borrower)
            for loan in borrower.current():
                self._shared.count(self._assignment.settle(loan))

    def take_back(self, borrower: Borrower, wanted: Callable[[Loan], bool]) -> None:
        """Takes back the `wanted` loans that the borrower has not begun."""
        kept = deque[Loan]()
        while borrower.batch:
            try:
                loan = borrower.batch.pop()
            except IndexError:  # the borrower began the last one between the check and the pop
                break
            if loan.batch is not None:
                self._gatherer.restore(loan.batch)
            elif wanted(loan):
                self._assignment.take_back(loan)
            else:
                kept.appendleft(loan)
        borrower.batch.extend(kept)

    def take_back_all(self, wanted: Callable[[Loan], bool]) -> None:
        """Takes back the `wanted` loans that no borrower has begun, gathered ones included."""
        for borrower in self.borrowers:
            self.take_back(borrower, wanted)
        self.ungather(wanted)

    def recall(self, wanted: Callable[[Loan], bool]) -> None:
        """Takes back the `wanted` loans that have not begun and, of those that have, the tasks that have not."""
        self.take_back_all(wanted)
        for ledger in self._assignment.ledgers.values():
            for loan in ledger.lent:
                if loan.batch is None and wanted(loan):
                    self._assignment.cut_short(loan)
        self._wakeups.wake_borrowers()

    def ungather(self, wanted: Callable[[Loan], bool]) -> None:
        """Gives the `wanted` loans that were gathered for a batch back to their lanes."""
        self.give_back(self._gatherer.remove(wanted))

    def give_back(self, loans: Iterable[Loan]) -> None:
        """Gives loans that never began back to their lanes."""
        for loan in loans:
            self._assignment.take_back(loan)
            self._wakeups.notify_drained(loan)

    def not_begun(self) -> list[Loan]:
        """Return the loans that borrowers have in their batches and have not begun."""
        return [loan for borrower in self.borrowers for loan in borrower.batch.copy()]  # it may change meanwhile

    def is_quiet(self) -> bool:
        """Return whether no borrower has a loan. The calling borrower has returned its own."""
        return not any(each.borrowed_at or each.batch or any(each.current()) for each in self.borrowers)

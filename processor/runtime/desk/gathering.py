"""`Gathering`: loans wait at the desk for a batch of their handler, and a borrower of a batch fills it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from time import monotonic

from processor.engine.loan import Batch, BatchRule, Part
from processor.engine.pace import STALE_SECONDS
from processor.handlers.task import Task
from processor.runtime.cancelled import cancel_of
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Gathering:
    """For borrowers."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._gatherer = shared.gatherer
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    def gather(self, handler: Hashable, rule: BatchRule, part: Part, *, alone: bool) -> None:
        """Makes the loan's next tasks wait for a batch of their handler; with `alone`, only the first, by itself.

        Tasks for which the batch has no room go back to the lane.
        """
        loan, tasks = part.loan, part.tasks
        with self._lock:
            if self._is_held(part):
                self._shared.count(self._assignment.release(loan))
                self._wakeups.after_release(loan)
                return
            now = monotonic()
            alone = alone or loan is self._shared.isolation.loan
            # An order may have cut the loan short after the borrower read its records, and while it decoded them: the
            # tasks behind the first are in the lane again then.
            left = len(loan.records) - loan.done
            count = 1 if alone else min(len(tasks), left, self._gatherer.room(handler, rule))
            part.ends = part.ends and count == len(tasks)
            del tasks[count:]
            self._shared.count(self._assignment.narrow(loan, count))
            if alone:
                self._gatherer.add_alone(handler, rule, part, now)
            else:
                self._gatherer.add(handler, rule, part, now)
                self._wakeups.watch(now + STALE_SECONDS)
            self._wakeups.wake_borrowers()

    def widen(self, batch: Batch) -> list[Part]:
        """Fills the room of a batch with what waits behind its own tasks. Return the parts that have grown."""
        widened, room, isolation = [], batch.room, self._shared.isolation
        with self._lock:
            for part in batch.parts:
                loan = part.loan
                if not part.waiting or room <= 0 or not loan.ledger.may_begin:
                    continue
                most = room
                if isolation.is_active:  # a suspect runs alone
                    behind = loan.lane.waiting[:room]
                    most = isolation.may_join(self._assignment, loan.ledger, behind)
                    part.ends = most < len(behind)
                before = len(loan.records)
                self._assignment.widen(loan, most)
                room -= len(loan.records) - before
                widened.append(part)
            batch.count()
        return widened

    def narrow(self, batch: Batch, part: Part) -> None:
        """Returns to the lane what the loan has beyond the tasks of its part: it does not belong to the batch."""
        with self._lock:
            self._shared.count(self._assignment.narrow(part.loan, len(part.tasks)))
            batch.count()

    def leave_out_held(self, batch: Batch) -> None:
        """Gives back the loans that may no longer begin, because of what was ordered while the borrower filled it."""
        if self._waiting.pauses.in_force or self._waiting.cancels.in_force:
            with self._lock:
                self._give_back_held(batch)
                self._wakeups.wake_borrowers()

    def reopen(self, batch: Batch) -> None:
        """Makes a batch that has room and is not due wait for more tasks."""
        with self._lock:
            self._give_back_held(batch)
            if batch.parts:
                self._gatherer.reopen(batch)
                self._wakeups.watch(monotonic() + STALE_SECONDS)
                self._wakeups.wake_borrowers()

    def restore(self, batch: Batch) -> None:
        """Puts back a batch that may not begin now."""
        with self._lock:
            self._give_back_held(batch)
            if batch.parts:
                self._gatherer.restore(batch)

    def _give_back_held(self, batch: Batch) -> None:
        """Gives back the loans that may no longer begin, because of what was ordered while a borrower had the batch."""
        held = {part.loan for part in batch.parts if self._is_held(part)}
        self._returns.give_back(batch.remove(held.__contains__))

    def _is_held(self, part: Part) -> bool:
        """Return whether none of the part's tasks may begin: it is leaving, paused, or some are cancelled."""
        loan, tasks = part.loan, part.tasks
        if not loan.ledger.may_begin or self._waiting.is_paused(loan) or self._is_any_cancelled(tasks):
            return True
        pauses = self._waiting.pauses
        return bool(pauses.in_force) and any(pauses.of_name(task.name) is not None for task in tasks)

    def _is_any_cancelled(self, tasks: Iterable[Task]) -> bool:
        cancels = self._waiting.cancels
        return bool(cancels.in_force) and any(cancel_of(cancels, task) is not None for task in tasks)

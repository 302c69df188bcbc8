"""`Pausing`: the pauses that operators have ordered, and lending while there are any."""

from __future__ import annotations

from processor.engine.ledger import Loan
from processor.engine.pauses import Pause, Pauses, Target
from processor.runtime.desk.returns import Returns
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Pausing:
    """For the control topic's thread, except `hold` and `lend`."""

    def __init__(self, shared: Shared, wakeups: Wakeups, returns: Returns, waiting: WaitingLanes) -> None:
        self.pauses: Pauses = waiting.pauses
        """Changed under the lock."""
        self._lock = shared.lock
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups
        self._returns = returns
        self._waiting = waiting

    def begin(self, target: Target, pause: Pause) -> bool:
        """Pauses the target: none of its tasks begins. Return whether it was not paused before."""
        with self._lock:
            if not self.pauses.begin(target, pause):
                return False
            self._returns.recall(self._waiting.is_paused if target.kind != "name" else _any_loan)
            return True

    def end(self, target: Target) -> bool:
        """Resumes the tasks of the target that no other pause covers. Return whether the target was paused."""
        with self._lock:
            if not self.pauses.end(target):
                return False
            for ledger, lane in self._waiting.paused.take_resumed(target):
                self._assignment.free(ledger, lane)
            self._wakeups.wake_borrowers()
            return True

    def hold(self, loan: Loan, name: str) -> None:
        """Makes the loan's session wait until tasks with this name, that of its next task, are resumed."""
        with self._lock:
            pause = self.pauses.of_name(name)
            if pause is None:
                self._shared.count(self._assignment.release(loan))
            else:
                self._waiting.hold_paused(loan, pause, name)
            self._wakeups.after_release(loan)

    def lend(self, limit: int, workers: int | None, epoch: float) -> list[Loan]:
        """Lends as `Assignment.lend` does, but has paused lanes wait. Call it under the lock."""
        while loans := self._assignment.lend(limit, workers, epoch):
            free = list[Loan]()
            for loan in loans:
                pause = self._waiting.paused.pause_of(loan.ledger, loan.lane)
                if pause is None:
                    free.append(loan)
                else:
                    self._waiting.hold_paused(loan, pause, None)
            if free:
                return free
        return []


def _any_loan(_: Loan) -> bool:
    return True

"""`WaitingLanes`: lanes that wait for something other than a worker: a gate, the end of a pause, or a check whether
their head is cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic

from processor.engine.cancels import Cancels
from processor.engine.gate import Gate
from processor.engine.isolation import Stage
from processor.engine.lane import Lane
from processor.engine.ledger import Ledger, Loan
from processor.engine.paused_lanes import PausedLanes
from processor.engine.pauses import Pause, Pauses
from processor.engine.retry import PAUSED, Setback
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.wakeups import Wakeups


class WaitingLanes:
    """Call it under the lock."""

    def __init__(self, shared: Shared, wakeups: Wakeups) -> None:
        self.gates: Sequence[Gate[Ledger, Lane]] = ()
        self.pauses = Pauses()
        self.paused = PausedLanes(self.pauses, shared.place_of)
        self.cancels = Cancels()
        self.unexamined: dict[Lane, Ledger] = {}
        """Lanes to check for cancelled heads: they began to wait during a cancellation, or waited when it began."""
        self.watched_delay: float | None = None
        """The time of a task for which the watchdog will wake, in seconds since the epoch."""
        self._gates_due = inf
        """When the watchdog next checks the gates."""
        self._shared = shared
        self._assignment = shared.assignment
        self._wakeups = wakeups

    def invite(self, gate: Gate[Ledger, Lane], now: float) -> None:
        """Puts the lanes that the gate lets begin back in the queue for a worker."""
        for ledger, lane in (guests := gate.invite(now)):
            self._assignment.free(ledger, lane)
        if guests:
            self._wakeups.wake_borrowers()

    def watch(self, gate: Gate[Ledger, Lane]) -> None:
        """Wakes the watchdog if the gate is due earlier than its next check of the gates."""
        due = gate.due()
        if due is not None and due < self._gates_due:
            self._gates_due = due
            self._shared.timers.wake()

    def watched(self) -> float:
        """Return when the watchdog must check the gates again; infinite if no gate is due at a known time."""
        dues = [due for gate in self.gates if (due := gate.due()) is not None]
        self._gates_due = min(dues, default=inf)
        return self._gates_due

    def drop(self, lane: Lane, now: float) -> None:
        """Frees the lane's places at the gates for other lanes."""
        for gate in self.gates:
            gate.drop(lane)
            self.invite(gate, now)
            self.watch(gate)

    def note(self, ledger: Ledger, lane: Lane) -> None:
        """Notes that the lane begins to wait. The watchdog, not a worker, then checks whether its head is cancelled."""
        if self.cancels.in_force:
            self.unexamined[lane] = ledger
            self._shared.timers.wake()

    def is_paused(self, loan: Loan) -> bool:
        """Return whether a pause covers the loan's lane, whatever the names of its tasks."""
        return bool(self.pauses.in_force) and self.paused.pause_of(loan.ledger, loan.lane) is not None

    def hold_paused(self, loan: Loan, pause: Pause, name: str | None) -> None:
        """Makes the loan's lane wait for the end of the pause. `name` is that of its next task, if a name is paused."""
        now = monotonic()
        self.drop(loan.lane, now)
        settled, may_begin = self._assignment.hold(loan, Setback(PAUSED, f"paused by {pause.by}", now, now))
        self._shared.count(settled)
        if may_begin:
            self.paused.hold(loan.ledger, loan.lane, name)
            self.note(loan.ledger, loan.lane)

    def withdraw(self, lane: Lane) -> None:
        """Ends the lane's wait for a pause or a gate."""
        self.paused.drop(lane)
        for gate in self.gates:
            gate.withdraw(lane)

    def forget(self, ledger: Ledger) -> None:
        """Ends the waits of all lanes of the ledger, of which no task begins any more."""
        isolation = self._shared.isolation
        if isolation.stage is Stage.AWAITING and isolation.loan is not None and isolation.loan.ledger is ledger:
            isolation.give_back(self._assignment)
        for gate in self.gates:
            gate.forget(ledger)
        self.paused.forget(ledger)

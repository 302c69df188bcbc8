"""`Gates`: whether an attempt of a handler with limits may begin, under the desk's lock."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from processor.engine.gate import Change, Ending, Gate
from processor.engine.lane import Lane
from processor.engine.ledger import Ledger, Loan
from processor.engine.outcome import Failed
from processor.engine.retry import Setback
from processor.runtime.desk.shared import Shared
from processor.runtime.desk.waiting import WaitingLanes
from processor.runtime.desk.wakeups import Wakeups


class Gates:
    """Asks the gates about a loan's next task. Any thread may call it."""

    def __init__(self, shared: Shared, wakeups: Wakeups, waiting: WaitingLanes) -> None:
        self._lock = shared.lock
        self._shared = shared
        self._wakeups = wakeups
        self._waiting = waiting

    def guard(self, gates: Iterable[Gate[Ledger, Lane]]) -> None:
        """Watches these gates from now on. Called once, at the start."""
        self._waiting.gates = list(gates)

    @property
    def suspended(self) -> list[str]:
        """The handlers that are suspended. Read without the lock, so approximate."""
        return [gate.name for gate in self._waiting.gates if gate.is_suspended]

    def begin(self, gate: Gate[Ledger, Lane], loan: Loan) -> bool:
        """Return whether an attempt at the loan's next task may begin. If not, the caller calls `hold`."""
        with self._lock:
            may_begin = gate.begin(loan.ledger, loan.lane, monotonic())
            self._waiting.watch(gate)
            return may_begin

    def end(self, gate: Gate[Ledger, Lane], loan: Loan, ending: Ending, jitter: float) -> Change | None:
        """Notes how the attempt at the loan's next task ended. Return what that changes for its handler."""
        with self._lock:
            now = monotonic()
            change = gate.end(loan.lane, ending, now, jitter)
            self._shared.counts.suspensions += change is Change.SUSPENDED
            self._waiting.invite(gate, now)
            self._waiting.watch(gate)
            return change

    def drop(self, loan: Loan) -> None:
        """Frees the places that the loan's session has at gates: its next task ends without an attempt."""
        with self._lock:
            self._waiting.drop(loan.lane, monotonic())

    def hold(self, gate: Gate[Ledger, Lane], loan: Loan, setback: Setback, failed: Failed | None) -> None:
        """Makes the loan's session wait until the gate lets its next task begin.

        `failed` is the outage in which an attempt at that task ended; None if there was no attempt.
        """
        with self._lock:
            if failed is not None:
                self._shared.count_failure(loan, failed)
                self._shared.counts.retried += 1
            settled, may_begin = self._shared.assignment.hold(loan, setback)
            self._shared.count(settled)
            if may_begin:
                gate.wait(loan.ledger, loan.lane)
                self._waiting.note(loan.ledger, loan.lane)
            self._waiting.invite(gate, monotonic())  # since the refusal, without the lock, room may have become free
            self._waiting.watch(gate)
            self._wakeups.after_release(loan)

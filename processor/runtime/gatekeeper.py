"""`Gatekeeper`: checks before an attempt of a handler with limits whether it may begin, and reports its outcome."""

from __future__ import annotations

from random import random
from time import monotonic, time

from processor.engine.gate import Change, Ending, Gate, Limits
from processor.engine.lane import Lane
from processor.engine.ledger import Ledger, Loan
from processor.engine.outcome import Failed, Held, Succeeded, Verdict
from processor.engine.rate import Rate
from processor.engine.retry import Policy, Setback
from processor.engine.suspension import Suspension
from processor.handlers.table import Handler, Handlers
from processor.runtime.attempt import Attempt
from processor.runtime.desk import Desk
from processor.settings import Settings
from processor.telemetry.events import Emit, HandlerResumed, HandlerSuspended


class NotNow(Exception):
    """An attempt may not begin. Raised instead of calling the handler."""


HandlerGate = Gate[Ledger, Lane]


class Gatekeeper:
    """The gates of the handlers that set a limit. Any thread may call it."""

    def __init__(self, settings: Settings, handlers: Handlers, desk: Desk, emit: Emit) -> None:
        default = Policy(settings.max_attempts, settings.backoff, settings.backoff_max)
        guarded = [handler for handler in handlers.handlers if handler.is_guarded]
        self._gates = {each: HandlerGate(each.name, _limits(each, default)) for each in guarded}
        self._desk = desk
        self._emit = emit
        desk.gates.guard(self._gates.values())

    def gate_of(self, handler: Handler) -> HandlerGate:
        """Return the gate of a handler that is guarded."""
        return self._gates[handler]

    def begin(self, gate: HandlerGate, loan: Loan) -> None:
        """Begins an attempt of the loan's next task.

        Raises:
            NotNow: it may not begin. The caller then calls `hold`.
        """
        if not gate.is_open and not self._desk.gates.begin(gate, loan):
            raise NotNow

    def succeed(self, gate: HandlerGate, loan: Loan) -> None:
        """Report that the handler has returned."""
        if not gate.is_calm:
            self._end(gate, loan, Ending.SUCCEEDED)

    def end(self, handler: Handler, attempt: Attempt) -> None:
        """Report an attempt that did not simply succeed. One that was held has not begun, and is ignored."""
        gate = self._gates[handler]
        match attempt.outcome:
            case Held():
                return
            case Failed(is_attempt=False):
                self.drop(attempt.loan)
                return
            case Succeeded():
                ending = Ending.SUCCEEDED
            case Failed(verdict=Verdict.OUTAGE) as failed:
                ending = Ending.OUTAGE
                if gate.suspension is not None:
                    gate.suspension.error_type, gate.suspension.error = failed.error_type, failed.message
            case _:
                ending = Ending.OTHER
        self._end(gate, attempt.loan, ending)

    def drop(self, loan: Loan) -> None:
        """Free the loan's place at a gate: its task had expired or could not be decoded, so no handler was found."""
        if self._gates:
            self._desk.gates.drop(loan)

    def hold(self, handler: Handler, attempt: Attempt, failed: Failed | None = None) -> None:
        """Hold a task until its handler's gate lets it begin.

        Args:
            handler: the task's.
            attempt: one that did not begin, or that ended as `failed`.
            failed: an outage, while the handler is suspended.
        """
        gate, now = self._gates[handler], monotonic()
        if failed is not None:
            setback = Setback(failed.error_type, failed.message, now, now)
        else:
            setback = Setback(*_why_held(gate), now, now)
        self._desk.gates.hold(gate, attempt.loan, setback, failed)

    def is_suspended(self, handler: Handler) -> bool:
        """Return whether a guarded handler is suspended."""
        return self._gates[handler].is_suspended

    def _end(self, gate: HandlerGate, loan: Loan, ending: Ending) -> None:
        change = self._desk.gates.end(gate, loan, ending, random())
        suspension = gate.suspension
        if change is None or suspension is None:
            return
        now, waiting = monotonic(), len(gate.waiting)
        if change is Change.SUSPENDED:
            self._emit(
                HandlerSuspended(
                    handler=gate.name,
                    error_type=suspension.error_type,
                    error=suspension.error,
                    failing_since=round((time() - (now - suspension.since)) * 1000),
                    waiting=waiting,
                )
            )
        else:
            self._emit(
                HandlerResumed(
                    handler=gate.name,
                    error_type=suspension.error_type,
                    error=suspension.error,
                    suspended_seconds=round(now - suspension.suspended_at, 3),
                    attempts=suspension.probes,
                    waiting=waiting,
                )
            )


def _limits(handler: Handler, default: Policy) -> Limits:
    policy = default.with_own(None, handler.backoff, handler.backoff_max)
    suspension = Suspension(policy.backoff, policy.backoff_max) if handler.rules.outage_on else None
    return Limits(handler.concurrency, Rate(*handler.rate) if handler.rate is not None else None, suspension)


def _why_held(gate: HandlerGate) -> tuple[str, str]:
    """Return why a task of the handler may not begin, as the type of an error and its text."""
    suspension = gate.suspension
    if suspension is not None and suspension.allowance is not None:
        error = f"{suspension.error_type}: {suspension.error}"
        return "processor.HandlerSuspended", f"the handler {gate.name} is suspended: {error}"
    return "processor.HandlerBusy", f"the handler {gate.name} runs as many attempts as its concurrency and rate allow"

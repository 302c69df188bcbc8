"""`LeaseKeeper`: the poller's clock. It records when the poller last completed a loop, and logs a lease that lapses."""

from __future__ import annotations

from time import monotonic

from processor.runtime.desk import Desk
from processor.telemetry.events import ConsumerLeaseLapsed, ConsumerLeaseRenewed, Emit


class LeaseKeeper:
    """Belongs to the poller's thread."""

    def __init__(self, desk: Desk, emit: Emit) -> None:
        self.last_loop_at = monotonic()
        """When the poller last completed a loop; other threads read it."""
        self._desk = desk
        self._emit = emit
        self._lapsed_at: float | None = None

    def tick(self) -> float:
        """Records another loop of the poller, and ends a wait for the lease if it holds. Return the time.

        While the lease does not hold, no task begins.
        """
        now = self.last_loop_at = monotonic()
        lease = self._desk.lease
        slept = lease.tick(now)
        if lease.holds(now):
            self._desk.lending.go_on()
            if self._lapsed_at is not None:
                self._emit(ConsumerLeaseRenewed(seconds=round(now - self._lapsed_at, 3)))
                self._lapsed_at = None
        elif self._lapsed_at is None and self._desk.waiting and not self._desk.partitions.is_draining:
            self._lapsed_at = now
            seconds = slept or lease.unproven_seconds(now)
            self._emit(
                ConsumerLeaseLapsed(
                    reason="asleep" if slept else "unanswered",
                    seconds=round(seconds, 3),
                    waiting=self._desk.waiting,
                )
            )
        return now

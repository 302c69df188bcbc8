"""The watchdog's thread: due retries, deadlines, and what waits behind slow tasks.

A handler that is over its time is interrupted. If it still runs after a grace it is stuck, most
often in a call that blocks in C: it is logged with its stack, dead-lettered, and the consumer is
asked to be replaced, since a thread cannot be ended from outside.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Protocol

from processor.engine.ledger import Loan
from processor.engine.retry import Cause, Failure
from processor.runtime.attempt import about, type_name
from processor.runtime.desk import STALE_SECONDS, Desk
from processor.runtime.interrupt import Fence
from processor.runtime.ports import Record
from processor.runtime.settlement import Endings
from processor.telemetry.events import ConsumerWorkerError, Emit, TaskStuck

IDLE_SECONDS = 0.5
"""How long it sleeps while no lane is lent and nothing is due; lending the first one wakes it."""


CHECK_SECONDS = 0.02
"""How often deadlines are looked at."""


class Attempted(Protocol):
    """A worker thread or a coroutine, and the attempt that it is on."""

    fence: Fence
    loan: Loan | None
    record: Record | None

    def interrupt(self, started: float) -> None:
        """Tells the attempt that began at `started` to end, and notes it in the fence once it was told."""

    def stack(self) -> str:
        """Where it is, as text."""


class Watched(Protocol):
    """Who makes attempts."""

    def attempted(self) -> Iterable[Attempted]:
        """Those that it may be on."""


def grace(limit: float) -> float:
    """Seconds that a handler gets to end after it was interrupted: a tenth of its time, from one to ten."""
    return min(max(limit / 10, 1.0), 10.0)


class Watchdog:
    """One thread that looks after the others."""

    def __init__(self, desk: Desk, emit: Emit, recycle: Callable[[str], None]) -> None:
        self._borrowers: Sequence[Watched] = ()
        self._desk = desk
        self._emit = emit
        self._recycle = recycle
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._closed = False
        desk.watch = self._woken.set
        self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self, borrowers: Sequence[Watched], endings: Endings) -> None:
        """Begins to watch."""
        self._borrowers, self._endings = borrowers, endings
        self.thread.start()

    def schedule(self, due: float, action: Callable[[], None]) -> None:
        """Runs `action` at `due`, in seconds of the monotonic clock, in the watchdog's thread."""
        with self._lock:
            self._timer_count += 1
            heapq.heappush(self._timers, (due, self._timer_count, action))
        self._woken.set()

    def nudge(self) -> None:
        """Something new is due: its sleep may be too long now."""
        self._woken.set()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._woken.set()

    def _run(self) -> None:
        next_check = 0.0
        while not self._closed:
            try:
                now = monotonic()
                due = self._desk.tend(now)
                self._run_timers(now)
                if now >= next_check:
                    next_check = now + CHECK_SECONDS
                    self._check_all(now)
                self._woken.wait(self._sleep(due))
                self._woken.clear()
            except Exception as error:  # without a watchdog no deadline holds: say it, and go on
                self._emit(ConsumerWorkerError(worker="watchdog", error=f"{type_name(error)}: {error}"))

    def _check_all(self, now: float) -> None:
        for borrower in self._borrowers:
            for attempted in borrower.attempted():
                self._check(attempted, now)

    def _sleep(self, next_wake: float | None) -> float:
        longest = STALE_SECONDS if self._desk.busy else IDLE_SECONDS
        with self._lock:
            dues = [timer[0] for timer in self._timers[:1]]
        if next_wake is not None:
            dues.append(next_wake)
        return max(0.0, min([longest, *(due - monotonic() for due in dues)]))

    def _run_timers(self, now: float) -> None:
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > now:
                    return
                action = heapq.heappop(self._timers)[2]
            action()

    def _check(self, attempted: Attempted, now: float) -> None:
        fence, loan, record = attempted.fence, attempted.loan, attempted.record
        started, limit = fence.started, fence.limit
        if not started or loan is None or record is None or now - started < limit:
            return
        if fence.fired != started:
            attempted.interrupt(started)
        elif now - fence.fired_at >= grace(limit) and not fence.given_up and fence.give_up(started):
            attempt = 1 if loan.done else loan.attempt
            self._give_up(attempted.stack(), loan, record, attempt, now - started)

    def _give_up(self, stack: str, loan: Loan, record: Record, attempt: int, seconds: float) -> None:
        self._emit(TaskStuck(**about(record, attempt, None), running_seconds=seconds, stack=stack))
        message = f"the handler still ran {seconds:.1f} seconds after it began, though told to end"
        failure = Failure(Cause.STUCK, "processor.HandlerStuck", message, stack)
        self._endings.give_up_stuck(loan, record, attempt, failure)
        self._recycle(f"the handler of task {about(record, attempt, None)['task_id']} is stuck")

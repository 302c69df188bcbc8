"""Worker threads: borrow lanes, call handlers, bring the lanes back."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any

from processor.engine.durations import QUICK_SECONDS
from processor.engine.ledger import Loan
from processor.engine.pace import TURN_SECONDS
from processor.engine.retry import Failure
from processor.handlers.table import Handler
from processor.handlers.task import Task, TaskTimeout
from processor.runtime.attempt import UNRUN, Attempts, failure_of, failure_of_unrun, type_name
from processor.runtime.desk import Desk
from processor.runtime.event_loop import EventLoop
from processor.runtime.interrupt import Fence
from processor.runtime.ports import Record
from processor.runtime.settlement import Endings
from processor.telemetry.events import ConsumerWorkerError, Emit


class Worker:
    """One thread. It owns nothing: what it works on is lent."""

    def __init__(
        self, number: int, desk: Desk, attempts: Attempts, endings: Endings, emit: Emit, event_loop: EventLoop | None
    ) -> None:
        self.name = f"worker-{number}"
        self.batch: deque[Loan] = deque()
        self.finished: deque[Loan] = deque()
        self.slow: list[float] = []
        self.ended = 0
        self.borrowed_at = 0.0
        self.turn = TURN_SECONDS
        self.loan: Loan | None = None
        self.record: Record | None = None
        self.fence = Fence()
        self._awaits = False
        """Its handler runs in the event loop, whose timer ends it; one on this thread is interrupted."""
        self._desk = desk
        self._attempts = attempts
        self._endings = endings
        self._emit = emit
        self._event_loop = event_loop
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def current(self) -> Iterable[Loan]:
        """The loan that it is on."""
        loan = self.loan
        return (loan,) if loan is not None else ()

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def attempted(self) -> Iterable[Worker]:
        """Itself: it is on one attempt at a time. Not while that cannot end, as another keeps the loop to itself."""
        loop = self._event_loop
        is_kept_out = loop is not None and self._awaits and loop.caller() not in (None, self.fence.ident)
        return () if is_kept_out else (self,)

    def interrupt(self, started: float) -> None:
        """Tells the handler to end."""
        if self._event_loop is None or not self._awaits:
            self.fence.fire(started)
        else:
            is_inside = self._event_loop.caller() == self.fence.ident
            self._event_loop.note_interrupt(self.fence, started, is_inside=is_inside)

    def stack(self) -> str:
        """Where its thread is."""
        frame = sys._current_frames().get(self.fence.ident)
        return "".join(traceback.format_stack(frame)) if frame else ""

    def _run(self) -> None:
        self.fence.ident = threading.get_ident()
        self._desk.enter(self)
        while True:
            try:
                self._serve()
                return
            except BaseException as error:  # a fault of ours, never a handler's: say it, and go on with the next batch
                self._emit(ConsumerWorkerError(worker=self.name, error=f"{type_name(error)}: {error}"))
                self.fence.lower()
                self._desk.recover(self)
                self.loan = None

    def _serve(self) -> None:
        tasks, seconds = 0, 0.0
        while self._desk.borrow(self, tasks, seconds):
            tasks, begun = 0, monotonic()
            now = begun
            batch = self.batch
            while batch:
                try:
                    loan = batch.popleft()
                except IndexError:  # it was taken back between the look and the grasp
                    break
                self.loan = loan
                now = self._work_off(loan, now)
                tasks += len(loan.records)
                if self.fence.given_up:
                    return  # its session is held until the process ends, and so is this thread
            seconds = now - begun

    def _work_off(self, loan: Loan, now: float) -> float:
        """Runs the loan's tasks until one does not simply succeed; the time after the last one."""
        ledger, lease, fence = loan.ledger, self._desk.lease, self.fence
        prepare, endings = self._attempts.prepare, self._endings
        keeps_results, tells_done = endings.keeps_results, endings.tells_done
        attempt, done = loan.attempt, 0
        for record in loan.records:
            if not ledger.may_begin or now >= lease.until:
                break
            failure = handler = task = value = None
            self.record = record
            started = now
            try:
                try:
                    task, handler, fence.limit = prepare(record, attempt, now)
                    fence.started = now
                    value = self._call_async(handler, task) if handler.is_async else handler.function(task)
                    fence.started = 0.0
                    if fence.firing or fence.verdict:
                        fence.lower()
                except BaseException as error:
                    begun = fence.started != 0.0
                    fence.lower()
                    failure = failure_of(error, begun=begun)
            except TaskTimeout as error:  # it came after the handler had ended, before the fence was down
                fence.lower()
                failure = failure_of(error, begun=True)
            if value is not None and type(value) in UNRUN:
                failure = failure_of_unrun(value)
            now = monotonic()
            seconds = now - started
            if seconds > QUICK_SECONDS and (failure is None or failure.attempted):
                self.slow.append(seconds)
            if failure is not None or (value is not None and keeps_results) or fence.verdict:
                return self._end(loan, record, attempt, failure, handler, task, value, seconds)
            if tells_done and task is not None:
                endings.tell_done(task, seconds)
            loan.done = done = done + 1
            attempt = 1
        self.ended += done
        self.finished.append(loan)
        self.loan = None
        return now

    def _call_async(self, handler: Handler, task: Task) -> Any:
        """Has the loop run it, and waits: an interrupt would begin the next attempt while that one still ran."""
        assert self._event_loop is not None
        self._awaits = True
        try:
            return self._event_loop.call(handler, task, self.fence.limit)
        finally:
            self._awaits = False

    def _end(
        self,
        loan: Loan,
        record: Record,
        attempt: int,
        failure: Failure | None,
        handler: Handler | None,
        task: Task | None,
        value: Any,
        seconds: float,
    ) -> float:
        self.loan = None
        self.ended += loan.done + (failure is None or failure.attempted)
        if not self.fence.given_up:
            if failure is None and task is not None:
                self._endings.succeed(loan, record, task, value, seconds)
            elif failure is not None:
                policy = self._attempts.policy(handler)
                self._endings.fail(loan, record, attempt, failure, policy, task, self.fence.limit)
        return monotonic()

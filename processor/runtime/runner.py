"""`Runner`: attempts at the tasks of a loan, one after the other, in a worker thread or in a coroutine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic, time
from typing import Any

import msgspec

from processor.engine.cancels import Cancels
from processor.engine.durations import QUICK_SECONDS
from processor.engine.lease import Lease
from processor.engine.ledger import Loan
from processor.engine.outcome import (
    Arrived,
    Cancelled,
    Cause,
    Deferred,
    Dropped,
    Failed,
    Gathered,
    Held,
    Paused,
    Succeeded,
)
from processor.engine.pauses import Pauses
from processor.engine.record import Record
from processor.engine.terms import Terms
from processor.handlers.dependencies import check_links
from processor.handlers.exceptions import Interrupt
from processor.handlers.joins import read_arrival
from processor.handlers.payload import convert
from processor.handlers.table import Handler, Handlers
from processor.handlers.task import NO_CONTENT, Decoded, Task
from processor.handlers.terms import check_age, check_begin
from processor.runtime.attempt import UNRUN, Attempt, ForBatch, ended_with, raised_in, returned_unrun
from processor.runtime.batches import Batches
from processor.runtime.cancelled import CancelledTask, cancel_of, cancel_of_join
from processor.runtime.flight_recorder import FlightRecorder
from processor.runtime.follow_ups import is_followed
from processor.runtime.gatekeeper import Gatekeeper, NotNow
from processor.runtime.interrupt import GIVEN_UP, InterruptWindow
from processor.runtime.ports import Codec
from processor.runtime.seat import Seat, call
from processor.runtime.settlement import Settlement
from processor.runtime.tracing import Prepare, Tracing
from processor.settings import Settings

NotSucceeded = Failed | Deferred | Held | Paused | Cancelled | Gathered | Arrived

Check = Callable[[Record, int], None]
"""May raise an exception, which ends the attempt with this number before it begins."""


class NamePaused(Exception):
    """An operator has paused the tasks of this name. Raised instead of calling the handler."""

    def __init__(self, name: str) -> None:
        self.name = name


class ForJoin(Exception):
    """The record belongs to a join, and is not a task. Raised instead of calling a handler."""

    def __init__(self, what: Any) -> None:
        self.what = what


class Runner:
    """Makes attempts. Any thread may call it."""

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        codec: Codec,
        gatekeeper: Gatekeeper,
        settlement: Settlement,
        lease: Lease,
    ) -> None:
        self._limit = settings.timeout
        self._handler_for = handlers.handler_for
        self._sole = handlers.sole_handler
        self._decode = codec.decode
        self._gatekeeper = gatekeeper
        self._settlement = settlement
        self._lease = lease
        self._with_state: Prepare = self._prepare
        self._has_batches = any(handler.batch is not None for handler in handlers.handlers)
        self._tracing: Tracing | None = None
        self._paused: Pauses | None = None
        self._cancels: Cancels | None = None
        self._recorder: FlightRecorder | None = None
        self._check: Check | None = None
        self._composing = threading.Lock()
        """Held during each change of the features in use. The poller and the control topic's thread make changes, and
        one that is composed from an earlier state would undo the other."""
        self._is_plain = self._sole is not None and self._sole.is_plain and self._sole.payload_type is None
        self._plain: Handler | None = None
        """The handler of all tasks, if the only step before its call is to create the task; else None."""
        own = self._sole.timeout if self._sole is not None else None
        self._plain_limit = settings.timeout if own is None else own
        self._make = _maker(codec, self._plain_limit)
        self._passes_values = codec.passes_values
        self._prepared = self._composed()
        self._batches = Batches(settlement, lease, settings.timeout, self._prepare_with_state)

    def trace(self, tracing: Tracing) -> None:
        """Begins a span for each attempt, from now on."""
        with self._composing:
            self._tracing = tracing
            self._prepared = self._composed()

    def share(self, state: Any) -> None:
        """Sets the `state` of each task, from now on."""

        def prepare(record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
            prepared = self._prepare(record, number, now)
            prepared[0].state = state
            return prepared

        with self._composing:
            self._with_state = prepare
            self._prepared = self._composed()

    def look_for_names(self, pauses: Pauses, *, also: bool = False) -> None:
        """Holds tasks of paused names before they begin, while a name is paused, or is about to be (`also`)."""
        has_names = also or any(target.kind == "name" for target in pauses.in_force)
        with self._composing:
            self._paused = pauses if has_names else None
            self._prepared = self._composed()

    def look_for_cancelled(self, cancels: Cancels) -> None:
        """Settles cancelled tasks before they begin, from now on."""
        with self._composing:
            self._cancels = cancels
            self._prepared = self._composed()

    def watch(self, recorder: FlightRecorder | None, check: Check) -> None:
        """Checks and records each attempt before its value is decoded; a recorder of None ends that."""
        self._batches.recorder = recorder
        self._settlement.watch(recorder)
        with self._composing:
            self._recorder, self._check = recorder, check
            self._prepared = self._composed()

    def _prepare_with_state(self, record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        """Do what `_prepare` does, for a task that may be for a batch."""
        return self._checked(record, number, now)

    def _composed(self) -> Prepare:
        """Return `_prepare` with the features in use; a task for a batch has no span yet."""
        prepare = self._with_state
        if self._cancels is not None:
            prepare = _stopping_at_cancelled(prepare, self._cancels)
        if self._paused is not None:
            prepare = _stopping_at_paused(prepare, self._paused)
        self._checked = prepare
        if self._has_batches:
            prepare = _stopping_at_batches(prepare)
        if self._recorder is not None and self._check is not None:
            prepare = _recording(prepare, self._recorder, self._check)
        if self._tracing is not None:
            prepare = partial(self._tracing.begin, prepare)
        self._plain = self._sole if self._is_plain and prepare == self._prepare else None
        return prepare

    async def work_off(self, seat: Seat, batch: deque[Loan], now: float) -> None:  # noqa: PLR0912, PLR0915 — see below
        """Attempt the tasks of each loan in the batch, until one of them does not simply succeed.

        Threads and coroutines share this algorithm: in a worker thread nothing in here awaits, so the thread runs it
        with one `send`. For a task that simply succeeds, nothing is allocated but the `Task`.

        It is one function, since every task passes through it: a call for each loan, or for each task, adds a quarter
        to the cost of a no-op task. The attempts and their time are added to the borrower's once for all loans.
        """
        lease, window, borrower = self._lease, seat.window, seat.borrower
        keeps_results, passes_values = self._settlement.keeps_results, self._passes_values
        make, limit = self._make, self._plain_limit
        ended, began_at = 0, now
        try:
            while batch and window.verdict != GIVEN_UP:
                try:
                    loan = seat.loan = batch.popleft()
                except IndexError:  # the desk took it back between the check and the pop
                    break
                if loan.batch is not None:
                    borrower.seconds += now - began_at
                    began_at = now
                    now = began_at = await self._batches.work_off(seat, loan.batch, now)
                    continue
                ledger, note_success = loan.ledger, self._settlement.note_success
                terms = ledger.terms
                prepare = partial(self._prepare_on_terms, terms) if terms else self._prepared
                plain = None if terms else self._plain
                if plain is not None:
                    window.limit = limit
                number, done = loan.attempt, 0
                for record in loan.records:
                    if not ledger.may_begin or now >= lease.until:
                        break
                    outcome: NotSucceeded | None = None
                    handler = task = value = None
                    started = now
                    try:
                        try:
                            if plain is None:
                                task, handler, window.limit = prepare(record, number, now)
                            elif passes_values:
                                task, handler = Task(record, record.value(), number, now + limit), plain
                            else:
                                task, handler = make(record, number, now), plain
                            seat.task = task
                            if handler.is_plain:
                                window.started = now
                                value = handler.call(task)
                            else:
                                value = await (
                                    self._call_guarded(seat, loan, handler, task)
                                    if handler.is_guarded
                                    else seat.call_async(handler, task, now)
                                )
                            window.started = 0.0
                            if window.firing or window.verdict:
                                window.close()
                        except BaseException as error:
                            outcome = _caught(error, window, handler)
                    except Interrupt as error:  # it arrived after the handler had ended, before the window was closed
                        window.close()
                        outcome = ended_with(error, began=True, handler=handler)
                    if value is not None and type(value) in UNRUN:
                        outcome = returned_unrun(value)
                    now = monotonic()
                    seconds = now - started
                    if seconds > QUICK_SECONDS and (outcome is None or outcome.is_attempt):
                        borrower.slow.append(seconds)
                    if (
                        outcome is not None
                        or (value is not None and keeps_results)
                        or window.verdict
                        or (terms and is_followed(terms, record))
                    ):
                        ended += done + (outcome is None or outcome.is_attempt)
                        borrower.seconds += now - began_at
                        began_at = now
                        ending = Dropped() if window.given_up else Succeeded(value) if outcome is None else outcome
                        self._conclude(Attempt(loan, record, number, ending, task, handler, window.limit, seconds))
                        seat.loan = None  # only now: if `_conclude` raises, the desk takes back the seat's loan
                        now = began_at = monotonic()
                        break
                    if note_success is not None:
                        note_success(
                            Attempt(loan, record, number, Succeeded(value), task, handler, window.limit, seconds)
                        )
                    loan.done = done = done + 1
                    number = 1
                if seat.loan is not None:
                    ended += done
                    borrower.finished.append(loan)
                    seat.loan = None
        finally:
            borrower.ended += ended
            borrower.seconds += now - began_at

    async def _call_guarded(self, seat: Seat, loan: Loan, handler: Handler, task: Task) -> Any:
        """Call a handler that has limits. Return what it returns.

        Its success is reported with the window closed: an interrupt inside the desk's lock would leave it locked.

        Raises:
            NotNow: its gate does not let it begin now.
            Expired: the task had to begin earlier.
        """
        if handler.expires is not None:
            check_age(task._record, handler.expires, loan.ledger.terms.get(task.offset), time())
        gate = self._gatekeeper.gate_of(handler)
        self._gatekeeper.begin(gate, loan)
        value = await call(seat, handler, task, monotonic())
        self._gatekeeper.succeed(gate, loan)
        return value

    def _conclude(self, attempt: Attempt) -> None:
        """Does what follows from an attempt that did not simply succeed, or that is made in a batch."""
        if type(attempt.outcome) is Gathered:
            self._batches.gather(attempt, attempt.outcome)
        elif type(attempt.outcome) is Cancelled:
            self._settlement.conclude(msgspec.structs.replace(attempt, task=attempt.outcome.task))
        else:
            if attempt.task is None and type(attempt.outcome) is Failed:
                attempt.content = self._content_of_failed(attempt.record, attempt.outcome)
            self._settlement.conclude(attempt)
        recorder = self._recorder  # read once: the poller may end the watch at any moment
        if recorder is not None:
            recorder.end()

    def _content_of_failed(self, record: Record, failed: Failed) -> Decoded:
        """Return what names a task that failed before it began, such as one that has expired.

        A task that may have killed its process is not decoded: that may be what killed it.
        """
        if failed.cause is not Cause.DEADLY:
            with suppress(Exception):  # its value may be what is wrong with it
                return self._decode(record)
        return NO_CONTENT

    def _prepare(self, record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        """Return the task, its handler, and the seconds that this attempt may take from `now` on.

        Raises:
            DecodeError: the value cannot be decoded, or is not what the handler asks for.
            NotReady: it cannot be decoded yet.
            UnknownTask: there is no handler for its name.
        """
        content = self._decode(record)
        handler = self._sole
        task = Task(record, content.payload, number, now + self._limit, content)
        if handler is None:
            handler = self._handler_for(task)
        if handler.payload_type is not None:
            task.payload = convert(task.payload, handler.payload_type)
        limit = handler.timeout
        if limit is None:
            return task, handler, self._limit
        task._expires = now + limit
        return task, handler, limit

    def _prepare_on_terms(
        self, terms: Mapping[int, Terms], record: Record, number: int, now: float
    ) -> tuple[Task, Handler, float]:
        """Do the same for a record of a partition in which some tasks have `terms`, by offset.

        Raises:
            InvalidHeader: a header that sets the task's terms cannot be read.
            Expired: the task had to begin earlier.
            ForJoin: it is not a task.
            CancelledTask: it is not a task, and its join is cancelled.
            DependencyFailed: the task was to follow from another one, which is a dead letter.
        """
        own = terms.get(record.offset())
        if own is not None:
            if own.arrives and own.refusal is None and own.fault is None:
                if self._cancels is not None and (cancel := cancel_of_join(self._cancels, record)) is not None:
                    raise CancelledTask(cancel, Task(record, None, number, now, NO_CONTENT))
                raise ForJoin(read_arrival(record))
            check_begin(own, time())
            if own.linked:
                check_links(record.headers() or [])
        return self._prepared(record, number, now)


def _maker(codec: Codec, limit: float) -> Callable[[Record, int, float], Task]:
    """Return a function that makes the task of a record from its decoded value, which may take `limit` seconds."""
    decode = codec.decode

    def make(record: Record, number: int, now: float) -> Task:
        content = decode(record)
        return Task(record, content.payload, number, now + limit, content)

    return make


def run_at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end in this thread. It must not await anything that suspends it.

    Raises:
        RuntimeError: it was suspended.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("a worker's coroutine waits, and no event loop will ever resume it")


def _caught(error: BaseException, window: InterruptWindow, handler: Handler | None) -> NotSucceeded:
    if isinstance(error, NotNow):
        return Held()
    if type(error) is NamePaused:
        return Paused(error.name)
    if type(error) is CancelledTask:
        return Cancelled(error.cancel, error.task)
    if type(error) is ForJoin:
        return Arrived(error.what)
    if type(error) is ForBatch:
        return Gathered(error.task, error.handler)
    began = window.started != 0.0
    return ended_with(raised_in(error, window), began=began, handler=handler)


def _stopping_at_paused(prepare: Prepare, pauses: Pauses) -> Prepare:
    """Return a `prepare` that raises `NamePaused` for a task whose name is paused."""

    def prepare_unpaused(record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        prepared = prepare(record, number, now)
        name = prepared[0].name
        if pauses.of_name(name) is not None:
            raise NamePaused(name)
        return prepared

    return prepare_unpaused


def _stopping_at_cancelled(prepare: Prepare, cancels: Cancels) -> Prepare:
    """Return a `prepare` that raises `CancelledTask` for a task that is cancelled."""

    def prepare_uncancelled(record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        prepared = prepare(record, number, now)
        if cancels.in_force and (cancel := cancel_of(cancels, prepared[0])) is not None:
            raise CancelledTask(cancel, prepared[0])
        return prepared

    return prepare_uncancelled


def _stopping_at_batches(prepare: Prepare) -> Prepare:
    """Return a `prepare` that raises `ForBatch` for a task whose handler takes batches."""

    def prepare_single(record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        prepared = prepare(record, number, now)
        if prepared[1].batch is not None:
            raise ForBatch(prepared[0], prepared[1])
        return prepared

    return prepare_single


def _recording(prepare: Prepare, recorder: FlightRecorder, check: Check) -> Prepare:
    """Return a `prepare` that records the task first, since decoding its value may end the process."""

    def prepare_recorded(record: Record, number: int, now: float) -> tuple[Task, Handler, float]:
        check(record, number)
        recorder.begin((record,))
        return prepare(record, number, now)

    return prepare_recorded

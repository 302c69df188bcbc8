"""`Settlement`: what becomes of a task whose attempt did not simply succeed: a retry, a dead letter, a result, the task
that follows from it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import random
from time import monotonic, time
from typing import Any

from processor.engine.cancels import Cancel
from processor.engine.ledger import LedgerState, Loan
from processor.engine.outcome import Arrived, Cancelled, Cause, Deferred, Failed, Held, Paused, Succeeded, Verdict
from processor.engine.record import Headers, Record
from processor.engine.retry import Policy
from processor.errors import EncodeError
from processor.handlers.exceptions import Cancelled as CancelledError
from processor.handlers.exceptions import DependencyFailed
from processor.handlers.links import unmet
from processor.handlers.table import Handler
from processor.handlers.task import Task
from processor.runtime.attempt import Attempt, failed_with
from processor.runtime.cancelled import cancel_of
from processor.runtime.desk import Desk
from processor.runtime.flight_recorder import FlightRecorder
from processor.runtime.follow_ups import is_followed, next_records, unmet_records
from processor.runtime.gatekeeper import Gatekeeper
from processor.runtime.joining import Joining, NothingFollows
from processor.runtime.outbox import Output, Outputs
from processor.runtime.ports import Codec, OutputRecord
from processor.runtime.task_log import TaskLog
from processor.runtime.tracing import Tracing
from processor.settings import Settings
from processor.telemetry.error_text import type_name
from processor.telemetry.events import TaskCancelled, TaskDeadLettered, TaskTimedOut


class InTurn:
    """Steps that run one after the other, each when `go_on` is called. A call from inside a step does not nest.

    Any thread may call it. A step may lead to the call for the next one in another thread before it returns: then the
    first thread runs both, so that steps never run side by side.
    """

    def __init__(self, steps: Iterable[Callable[[], None]]) -> None:
        self._steps = deque(steps)
        self._lock = threading.Lock()
        self._asked = 0

    def go_on(self) -> None:
        """Runs the next step, if there is one."""
        with self._lock:
            self._asked += 1
            if self._asked > 1:  # the thread that runs a step now runs the next one as well
                return
        while True:
            if self._steps:
                self._steps.popleft()()
            with self._lock:
                self._asked -= 1
                if not self._asked:
                    return


class Settlement:
    """Settles or parks tasks, or sends their outputs. Any thread may call it."""

    def __init__(
        self, settings: Settings, codec: Codec, desk: Desk, gatekeeper: Gatekeeper, outputs: Outputs, log: TaskLog
    ) -> None:
        self.keeps_results = settings.results_topic is not None
        self.log = log
        self._settings = settings
        self._default_policy = Policy(settings.max_attempts, settings.backoff, settings.backoff_max)
        self._codec = codec
        self.desk = desk
        self._gatekeeper = gatekeeper
        self._outputs = outputs
        self._joining = Joining(desk, outputs)
        self._tracing: Tracing | None = None
        self._recorder: FlightRecorder | None = None
        self.note_success = log.succeeded if log.logs_each else None
        """Called for each task that simply succeeded; None if nothing is to be done for it. Each use reads it once: the
        poller may change it at any moment."""

    def trace(self, tracing: Tracing) -> None:
        """Ends the span of each attempt, from now on."""
        self._tracing = tracing
        self._compose()

    def watch(self, recorder: FlightRecorder | None) -> None:
        """Records the end of each attempt, from now on; None ends that."""
        self._recorder = recorder
        self._compose()

    def _compose(self) -> None:
        recorder, tracing, log = self._recorder, self._tracing, self.log

        def note_success(attempt: Attempt) -> None:
            if recorder is not None:
                recorder.end()
            if tracing is not None:
                tracing.end(attempt)
            log.succeeded(attempt)

        is_noted = recorder is not None or tracing is not None
        self.note_success = note_success if is_noted else log.succeeded if log.logs_each else None

    def begin_spans(self, tasks: Sequence[Task]) -> None:
        """Begins the span of each task of a batch, if attempts are traced."""
        if self._tracing is not None:
            for task in tasks:
                self._tracing.begin_beside_others(task)

    def conclude(self, attempt: Attempt) -> None:
        """Does what follows from the attempt's outcome."""
        if self._tracing is not None:
            self._tracing.end(attempt)
        if attempt.task is None or type(attempt.outcome) is Cancelled:
            self._gatekeeper.drop(attempt.loan)
        elif attempt.handler is not None and attempt.handler.is_guarded:
            self._gatekeeper.end(attempt.handler, attempt)
        match attempt.outcome:
            case Succeeded(value):
                self._succeed(attempt, value)
            case Failed() as failed:
                self._fail(attempt, failed)
            case Deferred() as deferred:
                delay = deferred.delay(random())
                self.log.waits(attempt, deferred, delay)
                self.desk.outcomes.postpone(attempt.loan, deferred, monotonic() + delay)
            case Held() if attempt.handler is not None:
                self._gatekeeper.hold(attempt.handler, attempt)
            case Paused(name):
                self.desk.pausing.hold(attempt.loan, name)
            case Cancelled(cancel):
                self._cancel(attempt, cancel, Cause.CANCELLED)
            case Arrived(what):
                self._join(attempt, what)
            # The watchdog has settled a dropped one.

    def all_simply_succeeded(self, attempts: Sequence[Attempt]) -> bool:
        """Return whether nothing follows from these attempts but that their tasks settle. If so, log them."""
        simple, note_success = all(map(self._is_simple, attempts)), self.note_success
        if simple and note_success is not None:
            for attempt in attempts:
                note_success(attempt)
        return simple

    def _is_simple(self, attempt: Attempt) -> bool:
        outcome = attempt.outcome
        if type(outcome) is not Succeeded or (outcome.value is not None and self.keeps_results):
            return False
        return not is_followed(attempt.loan.ledger.terms, attempt.record)

    def conclude_part(self, loan: Loan, attempts: Sequence[Attempt]) -> None:
        """Does what follows from the attempts at all tasks of a loan, which were made in one batch.

        Tasks that simply succeeded settle at once. Results and dead letters are sent one after the other, like those of
        single tasks. After that, the tasks that will be attempted again are parked.
        """
        sent, again = list[int](), list[tuple[int, Failed, float]]()
        for index, attempt in enumerate(attempts):
            outcome = attempt.outcome
            if self._is_simple(attempt):
                if (note_success := self.note_success) is not None:
                    note_success(attempt)
            elif (
                isinstance(outcome, Failed)
                and self._cancel_of(attempt, outcome) is None
                and (delay := self._delay(attempt, outcome)) is not None
            ):
                failed = self._explained(attempt, outcome)
                if self._tracing is not None:
                    self._tracing.end(attempt)
                self.log.waits(attempt, failed, delay)
                again.append((index, failed, delay))
            else:
                sent.append(index)
        if not sent and not again:
            loan.done = len(loan.records)
            self.desk.outcomes.give_up(loan)
            return
        self.desk.outcomes.settle_others(loan, [*sent, *(index for index, _, _ in again)])
        failures, delays = [failed for _, failed, _ in again], [delay for _, _, delay in again]

        def try_again() -> None:
            self.desk.outcomes.park_all(loan, failures, monotonic() + max(delays))

        steps = [partial(self._conclude_in_turn, attempts[index]) for index in sent]
        in_turn = InTurn([*steps, try_again] if again else steps)
        for index in sent:
            attempts[index].go_on = in_turn.go_on
        in_turn.go_on()

    def _conclude_in_turn(self, attempt: Attempt) -> None:
        """Concludes one of several attempts of a loan, perhaps in the sink's thread.

        If that raises, no borrower takes the loan back, so this does. The lane of a stuck handler stays lent.
        """
        try:
            self.conclude(attempt)
        except BaseException:
            if not (isinstance(attempt.outcome, Failed) and attempt.outcome.cause is Cause.STUCK):
                self.desk.outcomes.take_back(attempt.loan)
            raise

    def _join(self, attempt: Attempt, what: Any) -> None:
        try:
            self._joining.conclude(attempt, what)
        except NothingFollows as error:
            self._dead_letter(attempt, failed_with(error.why, began=False), error.others)

    def _succeed(self, attempt: Attempt, value: Any) -> None:
        """Sends the result of a task whose handler returned `value`, and the tasks that follow from it.

        The task settles when the broker has these records; with exactly-once, in one transaction with them. If there
        are none, it settles at once.
        """
        self.log.succeeded(attempt)
        loan, topic, task = attempt.loan, self._settings.results_topic, attempt.task
        assert task is not None
        records = []
        try:
            if topic is not None and value is not None:
                records.append(self._result(topic, task, value))
            has_result = bool(records)
            if is_followed(loan.ledger.terms, attempt.record):
                records += next_records(task, value, may_repeat=not self._settings.is_exactly_once)
        except EncodeError as error:
            self._dead_letter(attempt, failed_with(error, began=True))
            return
        if not records:
            self.desk.outcomes.settle_next(loan)
        else:
            self._outputs.send(Output(attempt, records, result=has_result))

    def _result(self, topic: str, task: Task, value: Any) -> OutputRecord:
        encoded = self._codec.encode_result(task, value)
        carried = task._span.trace.headers if task._span is not None else ()
        headers: Headers = [("task-id", task.id.encode()), ("task-name", task.name.encode()), *carried]
        return OutputRecord(topic, task._record.key(), encoded, headers)

    def _fail(self, attempt: Attempt, failed: Failed) -> None:
        """Parks the task until its next attempt, or dead-letters it."""
        failed = self._explained(attempt, failed)
        # Once: if the control topic's thread withdrew it between two looks, the task would be neither cancelled nor
        # attempted again.
        cancel = self._cancel_of(attempt, failed)
        if cancel is not None:
            self._cancel(attempt, cancel, Cause.INTERRUPTED)
            return
        delay, handler = self._delay(attempt, failed), attempt.handler
        if delay is None:
            self._dead_letter(attempt, failed)
            return
        self.log.waits(attempt, failed, delay)
        is_outage = failed.verdict is Verdict.OUTAGE
        if is_outage and handler is not None and handler.is_guarded and self._gatekeeper.is_suspended(handler):
            self._gatekeeper.hold(handler, attempt, failed)
        else:
            self.desk.outcomes.park(attempt.loan, failed, monotonic() + delay)

    def _explained(self, attempt: Attempt, failed: Failed) -> Failed:
        """Return the failure. If its cause is the time limit, log that, and describe it in the message."""
        if failed.cause is not Cause.TIMED_OUT:
            return failed
        limit = attempt.limit
        self.log.problem(lambda: TaskTimedOut(**attempt.fields, timeout_seconds=limit))
        return failed._replace(message=f"the attempt took longer than {limit:g} seconds")

    def _cancel_of(self, attempt: Attempt, failed: Failed) -> Cancel | None:
        """Return the cancellation that covers a task whose attempt failed while it was in force.

        A stuck handler keeps its session, cancelled or not.
        """
        if not self.desk.cancelling.cancels.in_force or attempt.task is None or failed.cause is Cause.STUCK:
            return None
        return cancel_of(self.desk.cancelling.cancels, attempt.task)

    def _cancel(self, attempt: Attempt, cancel: Cancel, cause: Cause) -> None:
        """Settles the task or, if the cancellation says so, dead-letters it."""
        loan, record, fields = attempt.loan, attempt.record, attempt.fields
        if loan.ledger.state is LedgerState.CLOSED:  # the partition's next consumer cancels the task as well
            self.desk.outcomes.give_up(loan)
            return
        is_followed_by = is_followed(loan.ledger.terms, record)
        unmet = sum(1 for _ in unmet_records(record, fields["task_id"])) if is_followed_by else 0
        self.log.problem(
            lambda: TaskCancelled(
                **fields,
                running=cause is Cause.INTERRUPTED,
                unmet=unmet,
                dead_letter=cancel.dead_letter,
                since=cancel.since,
                by=cancel.by,
            )
        )
        failed = Failed(cause, type_name(CancelledError()), f"cancelled by {cancel.by}")
        if cancel.dead_letter:
            self._dead_letter(attempt, failed)
        else:
            self.desk.outcomes.cancel(loan, failed)
            attempt.go_on()

    def _delay(self, attempt: Attempt, failed: Failed) -> float | None:
        policy = self._policy(attempt.handler)
        if failed.verdict is Verdict.OUTAGE:
            return policy.delay(attempt.loan.outages + 1, random())
        return policy.delay_after(failed, attempt.number, random())

    def _policy(self, handler: Handler | None) -> Policy:
        if handler is None:
            return self._default_policy
        return self._default_policy.with_own(handler.max_attempts, handler.backoff, handler.backoff_max)

    def _dead_letter(self, attempt: Attempt, failed: Failed, others: Sequence[Record] = ()) -> None:
        """Sends the dead letter, and with it those of `others`, which settle together with the task."""
        loan, record = attempt.loan, attempt.record
        if loan.ledger.state is LedgerState.CLOSED:  # the partition's next consumer runs the task again
            if failed.cause is not Cause.STUCK:  # or the session would run again beside its stuck handler
                self.desk.outcomes.give_up(loan)
            return
        self.desk.outcomes.fail(loan, failed)
        attempts = attempts_of(attempt.number, failed.cause)
        topic = self._settings.dead_letter_topic_of(record.topic())
        group, task_id = self._settings.group, attempt.fields["task_id"]
        records = [letter_of(topic, each, group, attempts, failed) for each in (record, *others)]
        if is_followed(loan.ledger.terms, record) or type(attempt.outcome) is Arrived:
            records += [unmet_letter(topic, each, group, task_id) for each in unmet_records(record, task_id)]

        def written() -> None:
            self.log.problem(
                lambda: TaskDeadLettered(
                    **{**attempt.fields, "attempt": attempts},
                    dead_letter_topic=topic,
                    error_type=failed.error_type,
                    error=failed.message,
                    traceback=failed.traceback,
                )
            )

        # A stuck handler keeps its session: the lane stays lent until the process ends.
        release = failed.cause is not Cause.STUCK
        self._outputs.send(Output(attempt, records, dead_letter=True, release=release, written=written))


def attempts_of(number: int, cause: Cause) -> int:
    """Return how many attempts a task had, given the number of its last one, or of the one that was not made."""
    match cause:
        case Cause.UNDECODABLE | Cause.INVALID | Cause.UNMET:
            return 0
        case Cause.EXPIRED | Cause.CANCELLED | Cause.DEADLY:
            return number - 1
        case _:
            return number


def letter_of(topic: str, record: Record, group: str, attempts: int, failed: Failed) -> OutputRecord:
    """Return the dead letter of a record."""
    letter = dead_letter_headers(record, group, attempts, failed)
    return OutputRecord(topic, record.key(), record.value(), [*(record.headers() or ()), *letter])


def dead_letter_headers(record: Record, group: str, attempts: int, failed: Failed) -> Headers:
    """Return the headers that a dead letter has in addition to those of its record."""
    kind, timestamp = record.timestamp()
    place = (record.topic(), record.partition(), record.offset(), timestamp if kind else -1)
    return _letter_headers(place, group, attempts, failed)


def unmet_letter(topic: str, record: OutputRecord, group: str, after: str) -> OutputRecord:
    """Return the dead letter of a task that was to follow from the one with the ID `after`. It was never sent."""
    failed = Failed(Cause.UNMET, type_name(DependencyFailed()), unmet(after))
    letter = _letter_headers((record.topic, -1, -1, -1), group, 0, failed)
    return OutputRecord(topic, record.key, record.value, [*record.headers, *letter])


def _letter_headers(place: tuple[str, int, int, int], group: str, attempts: int, failed: Failed) -> Headers:
    """Return the headers. `place` is topic, partition, offset and timestamp, each -1 if there is none."""
    topic, partition, offset, timestamp = place
    texts = {
        "dlq-topic": topic,
        "dlq-partition": partition,
        "dlq-offset": offset,
        "dlq-timestamp": timestamp,
        "dlq-group": group,
        "dlq-attempts": attempts,
        "dlq-error-type": failed.error_type,
        "dlq-error-message": failed.message,
        "dlq-failed-at": int(time() * 1000),
    }
    return [(name, str(text).encode("utf-8", "backslashreplace")) for name, text in texts.items()]

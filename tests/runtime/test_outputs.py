"""Results and dead letters: what is in them, and that they are sent until they are acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from processor.engine.ledger import Loan
from processor.handlers.batch import BatchError
from processor.handlers.exceptions import Reject
from processor.handlers.task import Task
from processor.processor import Processor
from processor.runtime import outbox
from processor.runtime.desk.outcomes import Acknowledged, Outcomes
from processor.runtime.task_log import TaskLog
from processor.telemetry.events import (
    ConsumerStats,
    Event,
    TaskAbandoned,
    TaskDeadLettered,
    TaskDeliveryFailed,
    TaskRetrying,
)
from tests.runtime.fakes import PRODUCED_AT, FakeRecord
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import Sent
from tests.support.until import until


def of_kind(kind: str, function: Callable[[Task], Any]) -> Callable[[Task], Any]:
    """Return the function as a handler of one of `KINDS`."""

    async def as_coroutine(task: Task) -> Any:
        return function(task)

    return function if kind == "plain" else as_coroutine


def letter_of(app: object, record: FakeRecord, **options: Any) -> Sent:
    """Return the dead letter of the only task."""
    with RunningConsumer(app, **options) as run:
        run.push(record)
        until(lambda: run.commit_point() == record.offset() + 1)
        assert run.stop().exit_code == 0
    (letter,) = run.sink.sent
    return letter


def text(letter: Sent, header: str) -> str:
    return (letter.headers[f"dlq-{header}"] or b"").decode()


# --- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_goes_to_the_results_topic_with_the_key_of_its_task_and_names_it(kind: str) -> None:
    with RunningConsumer(of_kind(kind, lambda task: task.payload.upper()), results_topic="r") as run:
        run.push(FakeRecord(0, b"s", b"first"), FakeRecord(1, b"s", b"second"))
        run.settled(2)
        assert run.stop().exit_code == 0
    headers: list[dict[str, bytes | None]] = [{"task-id": b"t-0-%d" % offset, "task-name": b""} for offset in (0, 1)]
    assert run.sink.sent == [("r", b"s", b"FIRST", headers[0]), ("r", b"s", b"SECOND", headers[1])]
    stats = run.of(ConsumerStats)[-1]
    assert (stats.results, stats.succeeded, stats.dead_lettered) == (2, 2, 0)
    assert run.commit_point() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_returns_nothing_has_no_result(kind: str) -> None:
    with RunningConsumer(of_kind(kind, lambda task: None), results_topic="r") as run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
    assert run.sink.sent == []


def test_a_result_is_dropped_where_there_is_no_topic_for_it() -> None:
    with RunningConsumer(lambda task: b"result") as run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
    assert run.sink.sent == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_cannot_be_encoded_is_a_dead_letter_after_one_attempt(kind: str) -> None:
    """The handler has run: another attempt would repeat its work."""
    letter = letter_of(of_kind(kind, lambda task: 5), FakeRecord(0, b"s", b"v"), results_topic="r")
    assert (letter.topic, letter.value) == ("t.dlq", b"v")
    assert (text(letter, "error-type"), text(letter, "attempts")) == ("processor.errors.EncodeError", "1")


def test_a_session_waits_until_its_result_is_acknowledged_and_no_other_does() -> None:
    """Otherwise a crash could run a task again after its successor."""
    ran: list[bytes] = []

    def note(task: Task) -> bytes | None:
        ran.append(task.payload)
        return b"result" if task.session_id == "a" else None

    with RunningConsumer(note, results_topic="r") as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"a", b"a0"), FakeRecord(1, b"a", b"a1"), FakeRecord(2, b"b", b"b0"))
        until(lambda: b"b0" in ran)
        until(lambda: run.sink.held)
        assert b"a1" not in ran
        run.sink.acknowledge()
        until(lambda: run.commit_point() == 3)
    assert ran.index(b"a0") < ran.index(b"a1")


def settling(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of tasks that settle together is appended each time."""
    counts, settle_all = list[int](), Outcomes.settle_all

    def note(outcomes: Outcomes, outputs: Sequence[Acknowledged]) -> None:
        settle_all(outcomes, outputs)
        counts.append(len(outputs))

    monkeypatch.setattr(Outcomes, "settle_all", note)
    return counts


def test_tasks_whose_results_are_acknowledged_together_settle_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "TOGETHER_SECONDS", 60.0)
    counts = settling(monkeypatch)
    with RunningConsumer(lambda task: b"result", results_topic="r") as run:
        run.sink.holding = True
        run.push(*(FakeRecord(offset, b"s%d" % (offset % 20)) for offset in range(40)))
        until(lambda: len(run.sink.held) == 20)
        run.sink.acknowledge()
        until(lambda: sum(counts) == 40)
    assert counts[0] == 20


def test_an_acknowledged_result_waits_for_others_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While handlers run, each report may wait for the interpreter: then the end of a series of reports may be far."""
    monkeypatch.setattr(outbox, "TOGETHER_SECONDS", 0.0)
    counts = settling(monkeypatch)
    with RunningConsumer(lambda task: b"result", results_topic="r", workers=1) as run:
        run.sink.after_reports(lambda: None)
        run.push(*(FakeRecord(offset, b"s%d" % offset) for offset in range(5)))
        until(lambda: len(counts) == 5)
    assert counts == [1] * 5


def test_an_internal_error_at_one_acknowledged_result_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "TOGETHER_SECONDS", 60.0)
    settle_next = Outcomes._settle_next

    def settle_all_but_one(outcomes: Outcomes, loan: Loan, *, release: bool) -> int:
        if loan.records[0].offset() == 1:
            raise RuntimeError("a fault")
        return settle_next(outcomes, loan, release=release)

    monkeypatch.setattr(Outcomes, "_settle_next", settle_all_but_one)
    with RunningConsumer(lambda task: b"result", results_topic="r", drain_timeout=0.1) as run:
        run.sink.holding = True
        run.push(*(FakeRecord(offset, b"s%d" % offset) for offset in range(4)))
        until(lambda: len(run.sink.held) == 4)
        with pytest.raises(RuntimeError, match="a fault"):
            run.sink.acknowledge()
        until(lambda: run.consumer.pulse().settled == 3)
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 3
    assert [event.offset for event in run.of(TaskAbandoned)] == [1]


def test_a_dead_letter_settles_although_its_log_line_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second dead letter of the batch is sent only once the first one's task has settled."""
    app, faults, problem = Processor(), [RuntimeError("a fault")], TaskLog.problem

    @app.batch("b", size=2, wait=60.0, sessions=1)
    def reject_both(tasks: Sequence[Task]) -> None:
        raise BatchError({index: Reject("no") for index in range(len(tasks))})

    def fail_once(log: TaskLog, event: Callable[[], Event]) -> None:
        if faults:
            raise faults.pop()
        problem(log, event)

    monkeypatch.setattr(TaskLog, "problem", fail_once)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with RunningConsumer(app) as run:
        run.push(FakeRecord(0, b"s", name="b"), FakeRecord(1, b"s", name="b"))
        until(lambda: run.commit_point() == 2)
        assert run.stop().exit_code == 0
    assert not faults
    assert [event.offset for event in run.of(TaskDeadLettered)] == [1]


# --- dead letters -----------------------------------------------------------------------------------


def reject(task: Task) -> None:
    raise Reject("the card has expired")


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_letter_is_its_record_with_where_it_comes_from_and_why(kind: str) -> None:
    before = int(time.time() * 1000)
    letter = letter_of(of_kind(kind, reject), FakeRecord(7, b"s", b"\xff"), group="payments")
    assert (letter.topic, letter.key, letter.value) == ("t.dlq", b"s", b"\xff")
    failed_at = int(text(letter, "failed-at"))
    assert before <= failed_at <= time.time() * 1000
    assert letter.headers == {
        "trace": b"1",
        "dlq-topic": b"t",
        "dlq-partition": b"0",
        "dlq-offset": b"7",
        "dlq-timestamp": b"%d" % PRODUCED_AT,
        "dlq-group": b"payments",
        "dlq-attempts": b"1",
        "dlq-error-type": b"processor.Reject",
        "dlq-error-message": b"the card has expired",
        "dlq-failed-at": b"%d" % failed_at,
    }


def test_a_dead_letter_goes_to_the_topic_that_was_chosen() -> None:
    assert letter_of(reject, FakeRecord(0, None), dead_letter_topic="letters")[:2] == ("letters", None)


class Failing(list[Event]):
    """A log to which one write fails."""

    def append(self, event: Event) -> None:
        if isinstance(event, TaskDeadLettered) and not any(isinstance(each, TaskDeadLettered) for each in self):
            super().append(event)
            raise OSError("the disk is full")
        super().append(event)


def test_a_dead_letter_that_cannot_be_logged_delays_none_acknowledged_with_it() -> None:
    with RunningConsumer(reject, events=Failing()) as run:
        run.sink.holding = True
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
        until(lambda: len(run.sink.held) == 2)
        with pytest.raises(OSError, match="full"):
            run.sink.acknowledge()
        run.settled(2)
        assert len(run.of(TaskDeadLettered)) == 1
        run.push(FakeRecord(2, b"c"))
        run.settled(3)
        until(lambda: len(run.of(TaskDeadLettered)) == 3)


def test_a_task_without_a_handler_is_a_dead_letter_that_names_the_existing_handlers() -> None:
    app = Processor()
    app.task("charge")(reject)
    letter = letter_of(app, FakeRecord(0, b"s"))
    assert text(letter, "error-type") == "processor.UnknownTask"
    assert "'charge'" in text(letter, "error-message")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def raiser(error: BaseException) -> Callable[[Task], None]:
    def fail(task: Task) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError("x" * 5000), "x" * 999 + "…"),
        (ValueError("x" * 1000), "x" * 1000),
        (ValueError("é\udcff"), "é\\udcff"),
        (Unprintable(), "(its text cannot be had: builtins.ZeroDivisionError)"),
        (ValueError(), ""),
    ],
)
def test_an_error_has_a_text_that_a_header_can_hold(error: Exception, kept: str) -> None:
    assert text(letter_of(raiser(error), FakeRecord(0, b"s"), max_attempts=1), "error-message") == kept


def test_the_name_of_an_error_is_cut_as_well() -> None:
    kind = type("E" * 300, (Exception,), {})
    name = text(letter_of(raiser(kind()), FakeRecord(0, b"s"), max_attempts=1), "error-type")
    assert name.startswith(f"{__name__}.EEE")
    assert len(name) == 200


@pytest.mark.parametrize("kind", KINDS)
def test_the_traceback_of_a_dead_letter_is_that_of_the_handler_and_is_in_the_log_alone(kind: str) -> None:
    with RunningConsumer(of_kind(kind, reject)) as run:
        run.push(FakeRecord(0, b"s"))
        logged = run.until_event(TaskDeadLettered)
    assert logged.traceback is not None
    assert 'raise Reject("the card has expired")' in logged.traceback
    assert "processor/runtime" not in logged.traceback
    assert not any(b"raise Reject" in (value or b"") for value in run.sink.sent[0].headers.values())
    assert (logged.task_id, logged.session_id, logged.dead_letter_topic) == ("t-0-0", "s", "t.dlq")
    assert (logged.error_type, logged.error, logged.attempt) == ("processor.Reject", "the card has expired", 1)


# --- until they are acknowledged --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_result_is_sent_again_without_running_its_handler_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FIRST_RESEND_SECONDS", 0.02)
    ran: list[int] = []

    def note(task: Task) -> bytes:
        ran.append(task.offset)
        return b"result"

    with RunningConsumer(of_kind(kind, note), results_topic="r") as run:
        run.sink.refusals = 3
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
        assert run.stop().exit_code == 0
    assert ran == [0]
    assert len(run.sink.sent) == 1
    failed = run.of(TaskDeliveryFailed)
    assert [(event.target_topic, event.error) for event in failed] == [("r", "the topic is away")] * 3


def test_the_time_until_a_record_is_sent_again_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_RESEND_SECONDS", 0.01)
    monkeypatch.setattr(outbox, "LAST_RESEND_SECONDS", 0.05)
    with RunningConsumer(reject) as run:
        run.sink.refusals = 6
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
    waits = [event.retry_in_seconds for event in run.of(TaskDeliveryFailed)]
    assert len(waits) == 6
    for number, seconds in enumerate(waits):
        nominal = min(0.01 * 2**number, 0.05)
        assert nominal * 0.75 <= seconds <= min(nominal * 1.25, 0.05)


# --- retries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_attempt_is_repeated_after_a_wait_that_doubles_and_the_session_waits(kind: str) -> None:
    ran: list[tuple[int, int]] = []

    def fail_three_times(task: Task) -> None:
        ran.append((task.offset, task.attempt))
        if task.offset == 0 and task.attempt <= 3:
            raise ConnectionError("not yet")

    options: dict[str, Any] = {"max_attempts": 4, "backoff": 0.02, "backoff_max": 0.05, "log_level": "debug"}
    with RunningConsumer(of_kind(kind, fail_three_times), **options) as run:
        run.push(FakeRecord(0, b"s"), FakeRecord(1, b"s"))
        until(lambda: run.commit_point() == 2)
    assert ran == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]
    retries = run.of(TaskRetrying)
    assert [event.attempt for event in retries] == [1, 2, 3]
    assert {(event.error_type, event.error) for event in retries} == {("builtins.ConnectionError", "not yet")}
    for nominal, event in zip((0.02, 0.04, 0.05), retries, strict=True):
        assert nominal * 0.75 <= event.retry_in_seconds <= min(nominal * 1.25, 0.05)


def test_a_handler_has_limits_of_its_own() -> None:
    app, attempts = Processor(), list[tuple[str, int, float]]()

    def note(task: Task) -> None:
        attempts.append((task.name, task.attempt, task.remaining()))
        raise ConnectionError("no")

    app.task("patient", max_attempts=3, timeout=50.0)(note)
    app.default(note)
    with RunningConsumer(app, max_attempts=2, timeout=10.0) as run:
        run.push(FakeRecord(0, b"a"))
        run.push(FakeRecord(1, b"b", name="patient"))
        run.settled(2)
        assert run.stop().exit_code == 0
    assert sorted((name, attempt) for name, attempt, _ in attempts) == [
        ("", 1),
        ("", 2),
        ("patient", 1),
        ("patient", 2),
        ("patient", 3),
    ]
    assert all(40 < left <= 50 if name else 5 < left <= 10 for name, _, left in attempts)

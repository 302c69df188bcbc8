"""Internal errors of this package, or of a codec or log: they are logged, and no session stalls because of one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import pytest

from processor import Processor
from processor.engine.pace import BATCH_SECONDS
from processor.handlers.task import Task
from processor.options.bounds import Bounds
from processor.runtime import thread_errors, watchdog, worker_count
from processor.runtime.desk.arrivals import Arrivals
from processor.runtime.runner import run_at_once
from processor.runtime.workers import Worker
from processor.telemetry.events import ConsumerWorkerError, Event, TaskDeadLettered, TaskSucceeded
from tests.runtime.fakes import PARTITION, FakeCodec, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_join_machine import Worker as Borrower
from tests.runtime.test_outputs import of_kind
from tests.support.until import until


class Faulty:
    """Raises at some of its calls, and passes on the others."""

    def __init__(self, *calls: int) -> None:
        self.calls = 0
        self._faults = calls
        self._lock = threading.Lock()

    def pass_through(self) -> None:
        with self._lock:
            self.calls += 1
            call = self.calls
        if call in self._faults:
            raise RuntimeError(f"a fault in call {call}")


class FaultyCodec(FakeCodec):
    """An encoder that raises an exception other than `EncodeError`."""

    def __init__(self, fault: Faulty) -> None:
        super().__init__()
        self._fault = fault

    def encode_result(self, task: Any, result: Any) -> bytes:
        self._fault.pass_through()
        return super().encode_result(task, result)


def handlers(kind: str, ran: list[int]) -> Any:
    def plain(task: Task) -> bytes:
        ran.append(task.offset)
        return b"result"

    async def coroutine(task: Task) -> bytes:
        return plain(task)

    return plain if kind == "plain" else coroutine


def sessions(count: int, sessions: int) -> list[FakeRecord]:
    return [FakeRecord(n, b"s%d" % (n % sessions)) for n in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_while_a_result_is_encoded_is_logged_and_its_task_is_attempted_again(
    kind: str,
) -> None:
    ran: list[int] = []
    codec = FaultyCodec(Faulty(3, 7))
    with RunningConsumer(handlers(kind, ran), codec=codec, results_topic="r", workers=2) as run:
        run.push(*sessions(20, 4))
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert sorted(event.error for event in run.of(ConsumerWorkerError)) == [
        "builtins.RuntimeError: a fault in call 3",
        "builtins.RuntimeError: a fault in call 7",
    ]
    assert len(ran) == 22
    assert set(ran) == set(range(20))
    assert len(run.sink.sent) == 20


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_while_results_of_a_batch_are_encoded_holds_up_no_session_and_lets_none_overlap(
    kind: str, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some results are encoded in the sink's thread, once the one before in the same session is acknowledged."""
    in_sink, ran, inside, overlaps = list[str](), defaultdict[str, list[int]](list), set[str](), set[str]()
    monkeypatch.setattr(threading, "excepthook", lambda given: in_sink.append(str(given.exc_value)))

    def handle(tasks: list[Task]) -> list[bytes]:
        sessions = {task.session_id for task in tasks}
        overlaps.update(sessions & inside)
        inside.update(sessions)
        for task in tasks:
            ran[task.session_id].append(task.offset)
        inside.difference_update(sessions)
        return [b"result"] * len(tasks)

    app, codec = Processor(), FaultyCodec(Faulty(3, 7, 15))
    handler: Any = of_kind(kind, cast(Any, handle))
    app.batch("many", size=6, wait=0.01)(handler)
    with RunningConsumer(app, codec=codec, results_topic="r", workers=2, delivery=delivery) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 4), name="many") for n in range(20)])
        until(lambda: run.commit_point() == 20)
        until(lambda: not any(run.consumer._desk.report(monotonic()).assignment[:3]), "nothing is in flight")
        assert run.stop().exit_code == 0
    in_worker = [event.error.removeprefix("builtins.RuntimeError: ") for event in run.of(ConsumerWorkerError)]
    assert sorted(in_worker + in_sink) == [f"a fault in call {call}" for call in (15, 3, 7)]
    assert not overlaps
    for session, offsets in ran.items():
        assert list(dict.fromkeys(offsets)) == list(range(int(session[1:]), 20, 4))


def test_tasks_that_are_taken_back_keep_their_order_although_their_outcomes_are_handled_in_another_one() -> None:
    """A dead letter is sent first, and tasks that failed in the same batch are parked after that."""
    desk, borrower = RunningConsumer(lambda _: None).consumer._desk, Borrower()
    now = monotonic()
    desk.lease.tick(now)
    desk.lease.renew(now)
    desk.lending.enter_invited(borrower)
    desk.partitions.assign(PARTITION, 0, ())
    desk.inflow.admit([(PARTITION, sessions(3, 1))])
    assert desk.lending.exchange(borrower, 3)
    loan = borrower.batch.popleft()
    desk.outcomes.settle_others(loan, [2, 1])
    desk.outcomes.take_back(loan)
    desk.outcomes.take_back(loan)
    assert desk.lending.exchange(borrower, 3)
    assert [record.offset() for record in borrower.batch.popleft().records] == [1, 2]


class FaultyLog(list[Event]):
    """Raises at some successes."""

    def __init__(self, fault: Faulty) -> None:
        super().__init__()
        self._fault = fault

    def append(self, event: Event) -> None:
        if isinstance(event, TaskSucceeded):
            self._fault.pass_through()
        super().append(event)


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_raises_in_a_worker_costs_no_task(kind: str) -> None:
    gate, log = Gate(lambda task: False), FaultyLog(Faulty(5, 6, 11))
    with RunningConsumer(gate.handler(kind), events=log, workers=2, log_level="debug") as run:
        run.push(*sessions(20, 4))
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert len(run.of(ConsumerWorkerError)) == 3
    assert {event.offset for event in run.of(TaskSucceeded)} == set(range(20))
    assert len(gate.passed) == 23


def test_attempts_that_ended_before_a_fault_in_their_batch_are_counted_with_their_time() -> None:
    run = RunningConsumer(lambda _: None, events=FaultyLog(Faulty(3)), log_level="debug")
    desk, runner = run.consumer._desk, run.consumer._runner
    desk.partitions.assign(PARTITION, 0, ())
    now = monotonic()
    desk.lease.tick(now)
    desk.lease.renew(now)
    desk.inflow.admit([(PARTITION, sessions(4, 4))])
    worker = Worker(0, desk, runner, run.events.append, None)
    desk.lending.enter(worker)
    desk.lending._pace.seconds = BATCH_SECONDS / 4
    assert desk.lending.borrow(worker)
    assert len(worker.batch) == 4
    with pytest.raises(RuntimeError, match="a fault in call 3"):
        run_at_once(runner.work_off(worker, worker.batch, now - 1.0))
    assert (worker.ended, len(worker.finished), len(worker.batch)) == (2, 2, 1)
    assert worker.seconds >= 1.0


def test_a_session_keeps_its_order_over_a_fault() -> None:
    ran: list[int] = []
    codec = FaultyCodec(Faulty(*range(1, 40, 3)))
    with RunningConsumer(handlers("plain", ran), codec=codec, results_topic="r") as run:
        run.push(*sessions(20, 1))
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert ran == sorted(ran)
    assert not run.of(TaskDeadLettered)


def test_a_worker_that_meets_a_fault_while_it_recovers_from_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    fault, codec = Faulty(1), FaultyCodec(Faulty(3))
    run = RunningConsumer(handlers("plain", ran), codec=codec, results_topic="r", workers=1)
    recover = run.consumer._desk.lending.recover

    def recover_and_raise(worker: Worker) -> None:
        recover(worker)
        fault.pass_through()

    monkeypatch.setattr(run.consumer._desk.lending, "recover", recover_and_raise)
    with run:
        run.push(*sessions(20, 4))
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert [event.error for event in run.of(ConsumerWorkerError)] == [
        "builtins.RuntimeError: a fault in call 3",
        "builtins.RuntimeError: a fault in call 1",
    ]


@pytest.mark.parametrize("part", ["watchdog", "scaling"])
def test_a_fault_that_stays_is_logged_once_and_does_not_keep_a_core_busy(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, pauses = list[float](), list[float]()

    def fail(*_: object) -> None:
        passes.append(monotonic())
        raise RuntimeError("it stays")

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        threading.Event().wait(0.001)

    monkeypatch.setattr(watchdog, "sleep", pause)
    monkeypatch.setattr(worker_count, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(thread_errors, "LOG_AGAIN_SECONDS", 600.0)
    run = RunningConsumer(lambda _: None, workers=Bounds(2, 8))
    if part == "watchdog":
        monkeypatch.setattr(run.consumer._desk.upkeep, "tend", fail)
    else:
        monkeypatch.setattr(run.consumer._worker_count, "_adapt", fail)
    with run:
        until(lambda: len(passes) > 30)
        assert run.stop().exit_code == 0
    assert [(event.worker, event.error) for event in run.of(ConsumerWorkerError)] == [
        (part, "builtins.RuntimeError: it stays")
    ]
    assert part != "watchdog" or len(pauses) >= 30


@pytest.mark.parametrize("part", ["recall", "cancel search", "look back"])
def test_a_thread_that_cannot_be_started_is_an_error_once_and_does_not_spoil_the_end(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    consumer = RunningConsumer(lambda _: None).consumer
    monkeypatch.setattr(threading.Thread, "start", refuse)
    if part == "look back":
        monkeypatch.setattr(Arrivals, "has_any", True)
        monkeypatch.setattr(Arrivals, "doubtful", lambda *_: [(PARTITION, [])])
    begin: dict[str, Callable[[], None]] = {
        "recall": consumer._recall.start,
        "cancel search": consumer._cancel_search.start,
        "look back": lambda: consumer._look_back.tick(monotonic()),
    }
    end = {
        "recall": consumer._recall.close,
        "cancel search": consumer._cancel_search.close,
        "look back": consumer._look_back.close,
    }
    with pytest.raises(RuntimeError, match="can't start new thread"):
        begin[part]()
    end[part]()


def test_a_watchdog_that_meets_a_fault_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no deadline would hold, and no retry would ever begin."""
    fault = Faulty(2, 3)
    attempts: list[int] = []

    def fail_once(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt == 1:
            raise ConnectionError("not yet")

    run = RunningConsumer(fail_once, backoff=0.05, backoff_max=0.05)
    tend = run.consumer._desk.upkeep.tend

    def tend_or_raise(now: float) -> float | None:
        fault.pass_through()
        return tend(now)

    monkeypatch.setattr(run.consumer._desk.upkeep, "tend", tend_or_raise)
    with run:
        run.push(FakeRecord(0, b"s"))
        until(lambda: run.commit_point() == 1)
        until(lambda: fault.calls > 3)
        assert run.stop().exit_code == 0
    assert attempts == [1, 2]
    assert [event.worker for event in run.of(ConsumerWorkerError)] == ["watchdog"] * 2


def test_a_consumer_is_recycled_although_a_fault_meets_the_dead_letter_of_its_stuck_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The watchdog looks at an attempt that it has given up only once."""
    fault, blocked = Faulty(1), threading.Lock()
    blocked.acquire()
    run = RunningConsumer(lambda _: blocked.acquire(), workers=1, timeout=0.05, max_attempts=1, drain_timeout=0.1)
    monkeypatch.setattr(run.consumer._desk.outcomes, "fail", lambda *_: fault.pass_through())
    with run:
        run.push(FakeRecord(0, b"s"))
        status = run.wait()
        blocked.release()
    assert (status.exit_code, status.recycle) == (3, True)
    assert [event.worker for event in run.of(ConsumerWorkerError)] == ["watchdog"]
    assert run.commit_point() == 0

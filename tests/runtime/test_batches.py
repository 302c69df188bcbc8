"""Handlers that take batches, in worker threads and in the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from processor.engine import lease
from processor.engine.pauses import Pause, Target
from processor.engine.record import Headers, Record
from processor.handlers.batch import BatchError
from processor.handlers.exceptions import Reject, Retry, TaskTimeout
from processor.handlers.links import Planned, write_plan
from processor.handlers.task import Content, Task
from processor.processor import Processor
from processor.telemetry.events import TaskAbandoned, TaskDeadLettered, TaskStuck, TaskSucceeded, TaskTimedOut
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, POISON, FakeCodec, FakeRecord
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer
from tests.support.until import until

LONG = 60.0
"""Seconds of waiting that no test lives to see."""

Handle = Callable[[list[Task]], Any]


class Batches:
    """Notes each batch that a handler gets, as the offsets of its tasks."""

    def __init__(self, handle: Handle = lambda tasks: None) -> None:
        self.seen: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.sessions: list[list[str]] = []
        self._handle = handle
        self._lock = threading.Lock()

    def app(self, kind: str = "plain", **keywords: Any) -> Processor:
        """An application with this handler for the tasks named `b`, and a plain one, which does nothing, for others."""
        app = Processor()
        app.default(lambda task: None)
        return self.register(app, kind, **keywords)

    def register(self, app: Processor, kind: str, **keywords: Any) -> Processor:
        register = app.batch("b", **keywords)
        if kind == "plain":
            register(self._noted)
            return app

        @register
        async def later(tasks: list[Task]) -> Any:
            await asyncio.sleep(0)
            return self._noted(tasks)

        return app

    def only(self, kind: str, **keywords: Any) -> Processor:
        """An application with this handler only. If it is async, everything runs in the event loop."""
        return self.register(Processor(), kind, **keywords)

    def _noted(self, tasks: list[Task]) -> Any:
        with self._lock:
            self.seen.append([task.offset for task in tasks])
            self.attempts.append([task.attempt for task in tasks])
            self.sessions.append([task.session_id for task in tasks])
        return self._handle(tasks)


def record(offset: int, key: bytes | None = b"s", value: bytes = b"", name: str = "b") -> FakeRecord:
    return FakeRecord(offset, key, value, name=name)


def records(count: int, sessions: int, start: int = 0) -> list[FakeRecord]:
    return [record(start + n, b"s%d" % (n % sessions)) for n in range(count)]


def aged(offset: int, timestamp: int) -> MemoryRecord:
    """A record of its own session that was produced at this time, in epoch milliseconds."""
    headers: Headers = [("task-name", b"b")]
    return MemoryRecord(PARTITION, offset, b"s%d" % offset, b"", headers, timestamp=timestamp)


def flat(batches: Sequence[Sequence[int]]) -> list[int]:
    return [offset for batch in batches for offset in batch]


@pytest.mark.parametrize("kind", KINDS)
def test_full_batches_are_called_at_once_with_each_sessions_tasks_in_order_and_without_a_gap(kind: str) -> None:
    batches = Batches()
    with RunningConsumer(batches.only(kind, size=20, wait=LONG)) as run:
        run.push(*records(400, 7))
        run.settled(400)
        assert run.stop().exit_code == 0
    assert {len(batch) for batch in batches.seen} == {20}
    assert sorted(flat(batches.seen)) == list(range(400))
    for session in range(7):
        mine = [offset for offset in flat(batches.seen) if offset % 7 == session]
        assert Counter(mine) == Counter(range(session, 400, 7))
    for batch in batches.seen:
        for session in {offset % 7 for offset in batch}:
            mine = [offset for offset in batch if offset % 7 == session]
            assert mine == list(range(mine[0], mine[-1] + 1, 7))


class Ordering(FakeCodec):
    """Gives an order while a worker decodes the record at offset 2 for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[Callable[[], object]] = []

    def decode(self, record: Record) -> Content:
        if record.offset() == 2 and self.orders:
            self.orders.pop()()
        return super().decode(record)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pause_of_another_name_while_tasks_are_gathered_repeats_none_and_settles_none_in_place_of_another(
    kind: str,
) -> None:
    def handle(tasks: list[Task]) -> None:
        bad = {n: Reject("bad") for n, task in enumerate(tasks) if task.offset == 4}
        if bad:
            raise BatchError(bad)

    codec, batches = Ordering(), Batches(handle)
    with RunningConsumer(batches.app(kind, size=5, wait=0.05), codec=codec) as run:
        pausing = run.consumer._desk.pausing
        codec.orders.append(lambda: pausing.begin(Target("name", "another"), Pause(1, "ann")))
        run.push(*[record(n) for n in range(3)], record(3, name="plain"), record(4, b"t"))
        run.settled(5)
        assert run.stop().exit_code == 0
    assert sorted(flat(batches.seen)) == [0, 1, 2, 4]
    assert [dead.offset for dead in run.of(TaskDeadLettered)] == [4]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_does_not_begin_if_its_session_is_paused_while_a_worker_fills_it(kind: str) -> None:
    codec, batches, session = Ordering(), Batches(), Target("session", "s")
    with RunningConsumer(batches.only(kind, size=3, wait=LONG), codec=codec) as run:
        pausing = run.consumer._desk.pausing
        codec.orders.append(lambda: pausing.begin(session, Pause(1, "ann")))
        run.push(record(0))
        until(lambda: run.consumer._desk._shared.gatherer.has_open)
        run.push(record(1), record(2))
        until(lambda: batches.seen or run.consumer._desk.report(0.0).pauses.waiting)
        assert batches.seen == []
        pausing.end(session)
        run.settled(3)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_is_not_full_is_called_when_its_first_task_has_waited_long_enough(kind: str) -> None:
    batches = Batches()
    with RunningConsumer(batches.only(kind, size=1000, wait=1.0)) as run:
        began = time.monotonic()
        run.push(*records(5, 5))
        run.settled(5)
        assert time.monotonic() - began >= 1.0
        assert run.stop().exit_code == 0
    assert [sorted(batch) for batch in batches.seen] == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_session_has_tasks_of_no_other(kind: str) -> None:
    batches = Batches()
    with RunningConsumer(batches.only(kind, size=10, wait=LONG, sessions=1)) as run:
        run.push(*records(60, 3))
        run.settled(60)
        assert run.stop().exit_code == 0
    assert [len(batch) for batch in batches.seen] == [10] * 6
    assert all(len(set(sessions)) == 1 for sessions in batches.sessions)
    for session in range(3):
        mine = [batch for batch in batches.seen if batch[0] % 3 == session]
        assert flat(mine) == list(range(session, 60, 3))


def test_a_batch_is_filled_by_what_comes_to_its_own_sessions_meanwhile() -> None:
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=4, wait=LONG)) as run:
        for offset in range(4):
            run.push(record(offset))
            until(lambda n=offset: run.cluster.logs and run.consumer.pulse().running)  # type: ignore[misc]
        run.settled(4)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1, 2, 3]]


def test_tasks_of_another_handler_stay_where_they_are_in_their_session() -> None:
    order: list[tuple[str, int]] = []
    batches = Batches(lambda tasks: order.extend(("b", task.offset) for task in tasks))
    app = batches.only("plain", size=100, wait=0.02)
    app.default(lambda task: order.append(("single", task.offset)))
    kinds = ["b", "b", "", "b", "", "", "b", "b"]
    with RunningConsumer(app) as run:
        run.push(*[record(n, name=name) for n, name in enumerate(kinds)])
        run.settled(8)
        assert run.stop().exit_code == 0
    assert order == [(kind or "single", n) for n, kind in enumerate(kinds)]
    assert batches.seen == [[0, 1], [3], [6, 7]]


def test_records_without_a_key_are_sessions_of_their_own() -> None:
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=5, wait=LONG)) as run:
        run.push(*[record(n, None) for n in range(10)])
        run.settled(10)
        assert run.stop().exit_code == 0
    assert [len(batch) for batch in batches.seen] == [5, 5]


def test_gathered_tasks_hold_no_worker() -> None:
    """One worker serves single tasks while a batch waits to become full."""
    batches, seen = Batches(), list[int]()
    app = batches.only("plain", size=3, wait=LONG)
    app.default(lambda task: seen.append(task.offset))
    with RunningConsumer(app, workers=1) as run:
        run.push(record(0, b"a"), record(1, b"b"), *[record(n, b"c", name="") for n in range(2, 12)])
        until(lambda: len(seen) == 10)
        assert not batches.seen
        run.push(record(12, b"d"))
        run.settled(13)
        assert run.stop().exit_code == 0
    assert [sorted(batch) for batch in batches.seen] == [[0, 1, 12]]


# --- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_exception_the_tasks_run_one_by_one_so_that_a_bad_record_fails_no_other(kind: str) -> None:
    def handle(tasks: list[Task]) -> None:
        if any(task.payload == b"bad" for task in tasks):
            raise ValueError("a bad record")

    batches = Batches(handle)
    with RunningConsumer(batches.only(kind, size=6, wait=LONG), max_attempts=3) as run:
        run.push(*[record(n, b"s%d" % (n % 2), b"bad" if n == 2 else b"") for n in range(6)])
        run.settled(6)
        assert run.stop().exit_code == 0
    assert sorted(batches.seen[0]) == [0, 1, 2, 3, 4, 5]
    assert all(len(batch) == 1 for batch in batches.seen[1:])
    later = flat(batches.seen[1:])
    assert [offset for offset in later if offset % 2] == [1, 3, 5]
    assert [offset for offset in later if not offset % 2] == [0, 2, 2, 4]
    assert Counter(flat(batches.attempts)) == {1: 6, 2: 6, 3: 1}
    (letter,) = run.sink.sent
    assert (letter.headers["dlq-offset"], letter.headers["dlq-attempts"]) == (b"2", b"3")
    assert letter.headers["dlq-error-type"] == b"builtins.ValueError"


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_may_take_tasks_out_of_its_list_and_then_fail(kind: str) -> None:
    """All tasks of the batch have failed, and not only as many as are left in the list."""
    done: list[int] = []

    def handle(tasks: list[Task]) -> None:
        is_alone = len(tasks) == 1
        while tasks:
            task = tasks.pop(0)
            if not is_alone and task.offset == 5:
                raise ValueError("this one")
            if is_alone:
                done.append(task.offset)

    batches = Batches(handle)
    with RunningConsumer(batches.only(kind, size=10, wait=LONG), backoff=0.0) as run:
        run.push(*records(10, 10))
        run.settled(10)
        run.stop()
    assert sorted(done) == list(range(10))


def test_tasks_that_come_behind_a_failed_batch_are_gathered_again() -> None:
    def handle(tasks: list[Task]) -> None:
        if len(tasks) > 1 and tasks[0].offset == 0:
            raise ValueError

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=0.05)) as run:
        run.push(*[record(n) for n in range(8)])
        run.settled(8)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1, 2, 3], [0], [1], [2], [3], [4, 5, 6, 7]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_error_is_of_the_tasks_that_it_names_and_the_others_have_succeeded(kind: str) -> None:
    def handle(tasks: list[Task]) -> None:
        errors = {
            n: KeyError(task.offset) for n, task in enumerate(tasks) if task.offset in (1, 4) and task.attempt == 1
        }
        if errors:
            raise BatchError(errors)

    batches = Batches(handle)
    with RunningConsumer(batches.only(kind, size=6, wait=LONG), log_level="debug") as run:
        run.push(*records(6, 2))
        run.settled(6)
        assert run.stop().exit_code == 0
    assert sorted(batches.seen[1:]) == [[1], [4]]
    assert sorted((event.offset, event.attempt) for event in run.of(TaskSucceeded)) == [
        (0, 1), (1, 2), (2, 1), (3, 1), (4, 2), (5, 1),
    ]  # fmt: skip
    assert run.commit_point() == 6


def test_a_named_rejection_is_a_dead_letter_at_once_and_an_unnamed_one_only_of_a_task_by_itself() -> None:
    def handle(tasks: list[Task]) -> None:
        if tasks[0].payload == b"named":
            raise BatchError({0: Reject("this one")})
        if any(task.payload == b"bad" for task in tasks):
            raise Reject("one of them")

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=3, wait=LONG)) as run:
        run.push(record(0, b"a", b"named"), record(1, b"a"), record(2, b"a"))
        run.settled(3)
        run.push(record(3, b"a", b"bad"), record(4, b"a"), record(5, b"a"))
        run.settled(6)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1, 2], [3, 4, 5], [3], [4], [5]]
    letters = [(sent.headers["dlq-offset"], sent.headers["dlq-attempts"]) for sent in run.sink.sent]
    assert letters == [(b"0", b"1"), (b"3", b"2")]


def test_with_one_attempt_an_exception_dead_letters_the_whole_batch_in_order() -> None:
    def handle(tasks: list[Task]) -> None:
        raise ValueError

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=LONG, max_attempts=1)) as run:
        run.push(*records(4, 2))
        run.settled(4)
        assert run.stop().exit_code == 0
    offsets = [int(sent.headers["dlq-offset"] or b"") for sent in run.sink.sent]
    assert [offset for offset in offsets if offset % 2] == [1, 3]
    assert [offset for offset in offsets if not offset % 2] == [0, 2]
    assert len(run.of(TaskDeadLettered)) == 4
    assert run.commit_point() == 4


def test_a_retry_that_does_not_count_leaves_the_batch_together() -> None:
    def handle(tasks: list[Task]) -> None:
        if len(batches.seen) == 1:
            raise Retry("later", after=0.01, counts=False)

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=3, wait=LONG), max_attempts=1) as run:
        run.push(*[record(n) for n in range(3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert (batches.seen, batches.attempts) == ([[0, 1, 2], [0, 1, 2]], [[1, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_keeps_a_batch_together_until_it_is_over_and_dead_letters_nothing(kind: str) -> None:
    def handle(tasks: list[Task]) -> None:
        if len(batches.seen) <= 5:
            raise ConnectionError("the database is away")

    batches = Batches(handle)
    app = batches.only(kind, size=3, wait=LONG, outage_on=ConnectionError, max_attempts=1)
    with RunningConsumer(app) as run:
        run.push(*[record(n) for n in range(3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1, 2]] * 6
    assert set(flat(batches.attempts)) == {1}
    assert not run.sink.sent


@pytest.mark.parametrize(
    ("returned", "reason"),
    [([b"1"], "returned 1 results for 2 tasks"), (b"12", "returned bytes for 2 tasks"), (iter(()), None)],
)
def test_a_wrong_number_of_results_is_a_failure(returned: Any, reason: str | None) -> None:
    batches = Batches(lambda tasks: returned if len(tasks) > 1 else None)
    with RunningConsumer(batches.only("plain", size=2, wait=LONG)) as run:
        run.push(*records(2, 2))
        run.settled(2)
        assert run.stop().exit_code == 0
    assert len(batches.seen) == 1
    assert {sent.headers["dlq-error-type"] for sent in run.sink.sent} == {b"builtins.TypeError"}
    assert reason is None or all(reason in str(sent.headers["dlq-error-message"]) for sent in run.sink.sent)


def test_an_index_that_the_batch_does_not_have_fails_all_of_it() -> None:
    def handle(tasks: list[Task]) -> None:
        if len(tasks) > 1:
            raise BatchError({2: ValueError()})

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=2, wait=LONG)) as run:
        run.push(*[record(n) for n in range(2)])
        run.settled(2)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 1], [0], [1]]


def test_a_value_that_cannot_be_decoded_is_a_dead_letter_and_joins_no_batch() -> None:
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=100, wait=0.02)) as run:
        run.push(record(0), record(1, value=POISON), record(2))
        run.settled(3)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0], [2]]
    assert [sent.headers["dlq-offset"] for sent in run.sink.sent] == [b"1"]


# --- results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_has_its_result_in_the_order_of_its_session(kind: str) -> None:
    batches = Batches(lambda tasks: [b"%d" % task.offset if task.offset != 3 else None for task in tasks])
    with RunningConsumer(batches.only(kind, size=10, wait=LONG), results_topic="r") as run:
        run.push(*records(20, 2))
        run.settled(20)
        assert run.stop().exit_code == 0
    sent = [int(each.value or b"") for each in run.sink.sent]
    assert [n for n in sent if n % 2] == [n for n in range(20) if n % 2 and n != 3]
    assert [n for n in sent if not n % 2] == [n for n in range(20) if not n % 2]
    assert run.commit_point() == 20


def test_a_result_of_one_task_is_sent_before_another_of_its_session_is_tried_again() -> None:
    def handle(tasks: list[Task]) -> list[object]:
        if tasks[0].attempt > 1:
            return [b"%d" % task.offset for task in tasks]
        return [asyncio.Event().wait() if task.offset == 0 else b"%d" % task.offset for task in tasks]

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=3, wait=LONG), results_topic="r") as run:
        run.push(*[record(n) for n in range(3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert [(sent.topic, sent.headers.get("dlq-offset"), sent.value) for sent in run.sink.sent] == [
        ("t.dlq", b"0", b""),
        ("r", None, b"1"),
        ("r", None, b"2"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_results_and_dead_letters_of_a_batch_are_committed_with_their_offsets_exactly_once(kind: str) -> None:
    """Also for thousands of tasks of one session: the steps that follow them do not nest."""

    def handle(tasks: list[Task]) -> list[bytes]:
        if len(tasks) == 2000:
            raise BatchError({n: Reject("no") for n in range(0, 2000, 2)} | {1999: ConnectionError()})
        return [b"%d" % task.offset for task in tasks]

    batches = Batches(handle)
    app = batches.only(kind, size=2000, wait=10.0)  # far longer than 2,000 records take to come
    with RunningConsumer(app, results_topic="r", delivery="exactly-once") as run:
        run.push(*[record(n) for n in range(2003)])
        run.settled(2003)
        assert run.stop().exit_code == 0
    assert [batch[0] for batch in batches.seen] == [0, 1999, 2000]
    letters = [sent.headers()[-9:] for sent in run.cluster.records("t.dlq")]  # type: ignore[index]
    assert [dict(headers)["dlq-offset"] for headers in letters] == [b"%d" % n for n in range(0, 2000, 2)]
    assert [sent.value() for sent in run.cluster.records("r")] == [b"1999", b"2000", b"2001", b"2002"]
    assert run.commit_point() == 2003


# --- expiry ------------------------------------------------------------------------------------------


def test_a_task_that_is_too_old_for_its_handler_joins_no_batch() -> None:
    batches, now = Batches(), int(time.time() * 1000)
    with RunningConsumer(batches.only("plain", size=2, wait=LONG, expires=300)) as run:
        run.push(*[aged(n, now - 1_000_000 * (n % 2)) for n in range(4)])
        run.settled(4)
        assert run.stop().exit_code == 0
    assert batches.seen == [[0, 2]]
    assert {sent.headers["dlq-offset"] for sent in run.sink.sent} == {b"1", b"3"}
    assert len(run.sink.sent) == 2
    assert {sent.headers["dlq-error-type"] for sent in run.sink.sent} == {b"processor.Expired"}
    assert {sent.headers["dlq-attempts"] for sent in run.sink.sent} == {b"0"}


def test_a_task_that_expires_while_its_batch_is_gathered_is_left_out() -> None:
    batches = Batches()
    soon = str(int(time.time() * 1000) + 500).encode()
    with RunningConsumer(batches.only("plain", size=100, wait=1.5)) as run:
        run.push(record(0, b"a"), record(1, b"b"))
        run.push(MemoryRecord(PARTITION, 2, b"c", b"", [("task-name", b"b"), ("task-expires", soon)]), record(3, b"c"))
        run.settled(4)
        assert run.stop().exit_code == 0
    assert sorted(flat(batches.seen)) == [0, 1, 3]
    assert [sent.headers["dlq-error-type"] for sent in run.sink.sent] == [b"processor.Expired"]


# --- deadlines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_over_its_time_is_interrupted_and_its_tasks_are_tried_one_by_one(kind: str) -> None:
    app, seen = Processor(), list[list[int]]()

    if kind == "plain":

        @app.batch("b", size=3, wait=LONG, timeout=0.5)
        def handle(tasks: list[Task]) -> None:
            seen.append([task.offset for task in tasks])
            while len(tasks) > 1:
                time.sleep(0.001)

    else:

        @app.batch("b", size=3, wait=LONG, timeout=0.5)
        async def later(tasks: list[Task]) -> None:
            seen.append([task.offset for task in tasks])
            if len(tasks) > 1:
                await asyncio.Event().wait()

    with RunningConsumer(app) as run:
        run.push(*[record(n) for n in range(3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert seen == [[0, 1, 2], [0], [1], [2]]
    assert [event.offset for event in run.of(TaskTimedOut)] == [0, 1, 2]
    assert not run.sink.sent


def test_the_deadline_is_that_of_the_whole_batch_and_begins_with_its_call() -> None:
    """The batch is called once its first task has waited for a second, and that second does not count."""
    left: list[float] = []
    batches = Batches(lambda tasks: left.extend(task.remaining() for task in tasks))
    with RunningConsumer(batches.only("plain", size=100, wait=1.0, timeout=60)) as run:
        run.push(*records(3, 3))
        run.settled(3)
        assert run.stop().exit_code == 0
    assert len(left) == 3
    assert 59.0 < min(left) <= max(left) <= 60.0, left


def test_a_batch_that_cannot_be_interrupted_is_abandoned_with_all_of_its_tasks() -> None:
    released = threading.Event()

    def handle(tasks: list[Task]) -> None:
        while not released.is_set():
            try:
                released.wait(60)
            except TaskTimeout:
                continue

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=LONG, timeout=0.1), drain_timeout=0.2) as run:
        run.push(*records(4, 2))
        status = run.wait()
        released.set()
    assert status.recycle
    assert len(run.of(TaskStuck)) == 1
    assert {sent.headers["dlq-error-type"] for sent in run.sink.sent} == {b"processor.HandlerStuck"}
    assert len(run.sink.sent) == 4
    assert run.commit_point() == 4


# --- stops and rebalances ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_begins_no_batch_and_gives_what_was_gathered_back(kind: str) -> None:
    batches = Batches()
    with RunningConsumer(batches.only(kind, size=100, wait=LONG)) as run:
        run.push(*records(10, 5))
        until(lambda: run.consumer.pulse().running == 5)
        assert run.stop().exit_code == 0
    assert not batches.seen
    assert not run.of(TaskAbandoned)


def test_a_stop_waits_for_a_batch_that_runs_and_commits_it() -> None:
    began, go_on = threading.Event(), threading.Event()

    def handle(tasks: list[Task]) -> None:
        began.set()
        assert go_on.wait(30)

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=LONG)) as run:
        run.push(*records(4, 2))
        assert began.wait(30)
        run.consumer.request_stop("the test is over")
        go_on.set()
        assert run.wait().exit_code == 0
    assert run.commit_point() == 4


@pytest.mark.parametrize("how", ["revoke", "lose"])
def test_a_partition_that_leaves_takes_what_was_gathered_with_it_and_is_run_once_when_it_is_back(how: str) -> None:
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=20, wait=LONG)) as run:
        run.push(*records(6, 3))
        until(lambda: run.consumer.pulse().running == 3)
        assert getattr(run.source, how)(PARTITION).wait(60)
        assert run.consumer.pulse().running == 0
        assert run.source.assign(PARTITION).wait(60)
        run.push(*records(14, 3, start=6))
        run.settled(20)
        assert run.stop().exit_code == 0
    assert [sorted(batch) for batch in batches.seen] == [list(range(20))]


def test_a_batch_of_two_partitions_goes_on_without_the_one_that_leaves() -> None:
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=3, wait=LONG), partitions=2) as run:
        run.push(*[FakeRecord(0, b"s%d" % partition, partition=partition, name="b") for partition in range(2)])
        until(lambda: run.consumer.pulse().running == 2)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.consumer.pulse().running == 1
        run.push(*[FakeRecord(n, b"s%d" % n, partition=1, name="b") for n in range(1, 3)])
        run.settled(3)
        assert run.stop().exit_code == 0
    assert [sorted(batch) for batch in batches.seen] == [[0, 1, 2]]
    assert (run.commit_point(0), run.commit_point(1)) == (0, 3)


def test_a_revoke_waits_for_a_batch_that_runs_and_for_all_of_its_results() -> None:
    began, go_on = threading.Event(), threading.Event()

    def handle(tasks: list[Task]) -> list[bytes]:
        began.set()
        assert go_on.wait(30)
        return [b"%d" % task.offset for task in tasks]

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=LONG), results_topic="r") as run:
        run.push(*records(4, 2))
        assert began.wait(30)
        revoked = run.source.revoke(PARTITION)
        assert not revoked.wait(0.1)  # time is what is tested: it waits
        go_on.set()
        assert revoked.wait(60)
        assert run.commit_point() == 4
    assert len(run.sink.sent) == 4


def test_a_batch_that_outlives_a_revoke_is_abandoned_and_not_committed() -> None:
    began, go_on = threading.Event(), threading.Event()

    def handle(tasks: list[Task]) -> None:
        began.set()
        assert go_on.wait(30)

    batches = Batches(handle)
    with RunningConsumer(batches.only("plain", size=4, wait=LONG), drain_timeout=0.1) as run:
        run.push(*records(4, 2))
        assert began.wait(30)
        assert run.source.revoke(PARTITION).wait(60)
        assert sorted(event.offset for event in run.of(TaskAbandoned)) == [0, 1]
        assert all(event.running_seconds > 0 for event in run.of(TaskAbandoned))
        go_on.set()
        run.stop()
    assert run.commit_point() == 0


def test_no_batch_starts_while_the_consumer_may_have_been_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is due while the poller sleeps, as it does if the process is paused. It falls asleep well before."""
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", 0.5)
    batches = Batches()
    with RunningConsumer(batches.only("plain", size=4, wait=6.0)) as run:

        def sleep() -> None:
            run.source.refusal = "not a member"
            time.sleep(6.5)

        run.push(*records(3, 3))
        until(lambda: run.consumer.pulse().running == 3)
        assert run.source.happens(sleep).wait(60)
        assert not batches.seen
        run.source.refusal = None
        run.settled(3)
        assert run.stop().exit_code == 0
    assert [sorted(batch) for batch in batches.seen] == [[0, 1, 2]]


def test_a_typed_payload_is_converted() -> None:
    app, seen = Processor(), list[object]()

    @app.batch("b", size=2, wait=LONG)
    def handle(tasks: list[Task[bytearray]]) -> None:
        seen.extend(type(task.payload) for task in tasks)

    with RunningConsumer(app) as run:
        run.push(*records(2, 2))
        run.settled(2)
    assert seen == [bytearray, bytearray]


def test_each_task_has_the_state_of_the_lifespan() -> None:
    app, seen = Processor(), list[object]()

    @app.lifespan
    def lifespan() -> Any:
        yield "shared"

    @app.batch("b", size=2, wait=LONG)
    def handle(tasks: list[Task]) -> None:
        seen.extend(task.state for task in tasks)

    with RunningConsumer(app) as run:
        run.push(*records(2, 2))
        run.settled(2)
    assert seen == ["shared", "shared"]


def test_an_application_with_both_kinds_runs_batches_of_both() -> None:
    app, plain, later = Processor(), list[int](), list[int]()

    @app.batch("plain", size=3, wait=LONG)
    def handle(tasks: list[Task]) -> None:
        plain.append(len(tasks))

    @app.batch("async", size=3, wait=LONG)
    async def handle_later(tasks: list[Task]) -> None:
        await asyncio.sleep(0)
        later.append(len(tasks))

    with RunningConsumer(app) as run:
        run.push(*[record(n, b"s%d" % n, name=("plain", "async")[n % 2]) for n in range(12)])
        run.settled(12)
        assert run.stop().exit_code == 0
    assert (plain, later) == ([3, 3], [3, 3])


# --- links -------------------------------------------------------------------------------------------

QUICK = 2000
"""Quick tasks, after which a worker borrows several tasks of a session at once."""


class LinkedBatches:
    """A handler for batches, and a worker that borrows several tasks of one session at once."""

    def __init__(self) -> None:
        app = Processor()
        app.batch("charge", size=10, wait=0.05)(self._charge)
        app.task("quick")(lambda task: None)
        self.ran: list[bytes] = []
        self.run = RunningConsumer(app, workers=1)
        self.run.push(*[record(n, b"%d" % (n % 50), name="quick") for n in range(QUICK)])

    def _charge(self, tasks: list[Task]) -> None:
        self.ran += [task.payload for task in tasks]

    def process(self, *linked: MemoryRecord, settled: int) -> None:
        with self.run:
            self.run.settled(QUICK)
            self.run.push(*linked)
            self.run.settled(QUICK + settled)


def charge(offset: int, value: bytes, *headers: tuple[str, bytes]) -> MemoryRecord:
    return MemoryRecord(PARTITION, offset, b"s", value, [("task-name", b"charge"), *headers])


@pytest.mark.parametrize("header", [("task-after", b"t"), ("task-inputs", b"no json"), ("task-then", b"no json")])
def test_a_task_whose_links_do_not_let_it_run_does_not_join_the_batch_of_its_predecessor(
    header: tuple[str, bytes],
) -> None:
    batches = LinkedBatches()
    batches.process(charge(QUICK, b"a"), charge(QUICK + 1, b"b", header), settled=2)
    assert batches.ran == [b"a"]
    assert len(batches.run.sink.sent) == 1


def test_each_task_of_a_replayed_chain_of_one_session_runs_once() -> None:
    """The dead letters of a chain are replayed: its first task, and a copy of the second one that was never sent."""
    batches = LinkedBatches()
    plan = write_plan([Planned("s", b"second", [("task-name", b"charge")])])
    first, copy = charge(QUICK, b"first", ("task-then", plan)), charge(QUICK + 1, b"second", ("task-after", b"t"))
    batches.process(first, copy, settled=3)
    assert batches.ran == [b"first", b"second"]

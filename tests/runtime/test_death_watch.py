"""What a consumer does after a process of its fleet has died, on the in-memory Kafka."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import IO, Any

import pytest

from processor import BatchError, Processor, Task
from processor.engine.deaths import Suspect, TaskPlace
from processor.engine.pauses import Target
from processor.runtime import death_watch, flight_recorder
from processor.runtime.batches import Batches
from processor.runtime.flight_recorder import FlightRecorder, open_memory, recorded
from processor.runtime.runner import Runner
from processor.runtime.settlement import Settlement
from processor.telemetry.events import ConsumerRevoked, ConsumerWorkerError, TaskDeadLettered
from tests.runtime.fakes import PARTITION, POISON, TOPIC, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_control import FakeFeed
from tests.runtime.test_outputs import of_kind
from tests.support.until import until


def place(offset: int, partition: int = 0) -> TaskPlace:
    return TaskPlace(TOPIC, partition, offset)


def suspects(*offsets: int, deaths: int = 0) -> list[Suspect]:
    return [Suspect(place(offset), deaths) for offset in offsets]


class Watched:
    """A consumer that watches from its start, the memory of its recorder, and what a handler found there."""

    def __init__(self, memory: IO[bytes]) -> None:
        self.memory = memory
        self.seen: dict[int, set[int]] = {}
        """By offset: what was recorded while its task ran."""
        self.settled: list[TaskPlace] = []
        self._lock = threading.Lock()

    def start(self, app: object, found: Sequence[Suspect], **options: Any) -> RunningConsumer:
        run = RunningConsumer(app, **options)
        watch = run.consumer.death_watch
        watch.equip(lambda: FlightRecorder(self.memory.fileno(), [TOPIC]))
        watch.on_settled = self.settled.extend
        watch.inbox.append(found)
        return run

    def running(self) -> set[int]:
        return {offset for _, _, offset in recorded(self.memory, [TOPIC])}

    def look(self, task: Task) -> None:
        """A handler that notes which tasks are recorded."""
        running = self.running()
        with self._lock:
            self.seen[task.offset] = running

    def look_at_all(self, tasks: list[Task]) -> None:
        running = self.running()
        with self._lock:
            self.seen.update(dict.fromkeys((task.offset for task in tasks), running))


@pytest.fixture
def watched() -> Iterator[Watched]:
    memory = open_memory()
    assert memory is not None
    with memory:
        yield Watched(memory)


@pytest.mark.parametrize("kind", KINDS)
def test_suspects_run_alone_and_all_others_are_recorded_as_they_run(watched: Watched, kind: str) -> None:
    alone = {3, 4, 40, 41, 199}
    with watched.start(of_kind(kind, watched.look), suspects(*alone), workers=8) as run:
        run.push(*[FakeRecord(n, b"%d" % (n % 40)) for n in range(200)])
        run.settled(200)
        until(lambda: set(watched.settled) == {place(offset) for offset in alone})
    assert {offset: watched.seen[offset] for offset in alone} == {offset: {offset} for offset in alone}
    assert all(offset in running for offset, running in watched.seen.items())
    assert len(watched.seen) == 200
    assert watched.running() == set()
    assert run.commit_point() == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_suspect_waits_for_what_runs_and_nothing_begins_before_it(watched: Watched, kind: str) -> None:
    gate = Gate(lambda task: task.offset == 0)
    with watched.start(gate.handler(kind), suspects(2), workers=4) as run:
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        run.push(*[FakeRecord(n, b"%d" % n) for n in (1, 2, 3)])
        until(lambda: run.consumer._desk._shared.isolation.loan is not None)
        assert not {2, 3} & set(gate.begun)
        gate.open()
        run.settled(4)
    assert gate.begun.index(2) < gate.begun.index(3)


def test_a_suspect_does_not_wait_for_a_worker_that_ends(watched: Watched) -> None:
    gate = Gate(lambda task: task.offset == 0)
    with watched.start(gate.handle, suspects(1), workers=2) as run:
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        run.push(FakeRecord(1, b"b"))
        until(lambda: run.consumer._desk._shared.isolation.loan is not None)
        desk = run.consumer._desk
        until(lambda: desk.awake == 1)  # the other worker has visited the desk, and waits again
        with desk._shared.lock:
            desk.lending._most_borrowers = 1
        gate.open()
        run.settled(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_suspect_for_a_batch_is_a_batch_of_its_own(watched: Watched, kind: str) -> None:
    app = Processor()

    async def look_at_all(tasks: list[Task]) -> None:
        watched.look_at_all(tasks)

    app.batch("", size=10, wait=0.01)(watched.look_at_all if kind == "plain" else look_at_all)
    with watched.start(app, suspects(5, 25), workers=4) as run:
        run.push(*[FakeRecord(n, b"%d" % (n % 20)) for n in range(60)])
        run.settled(60)
    assert (watched.seen[5], watched.seen[25]) == ({5}, {25})
    assert all(offset in running for offset, running in watched.seen.items())
    assert watched.running() == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_with_enough_deaths_is_a_dead_letter_that_never_ran_again(watched: Watched, kind: str) -> None:
    found = [*suspects(1, 2, deaths=3), *suspects(3, deaths=2)]
    with watched.start(of_kind(kind, watched.look), found, max_attempts=3) as run:
        run.push(*[FakeRecord(n, b"s", POISON if n == 2 else b"") for n in range(5)])
        run.settled(5)
        letters = run.sink.sent
    assert set(watched.seen) == {0, 3, 4}
    for letter, offset in zip(letters, (b"1", b"2"), strict=True):
        headers = letter.headers
        assert (headers["dlq-offset"], headers["dlq-attempts"]) == (offset, b"3")
        assert headers["dlq-error-type"] == b"processor.ProcessDied"
        assert headers["dlq-error-message"] == b"a process that ran the task died, 3 times"
    assert [event.attempt for event in run.of(TaskDeadLettered)] == [3, 3]


def test_one_death_is_never_enough(watched: Watched) -> None:
    with watched.start(watched.look, suspects(0, deaths=1), max_attempts=1) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
    assert set(watched.seen) == {0}
    assert not run.sink.sent


@pytest.mark.parametrize("kind", KINDS)
def test_deaths_are_attempts_and_each_further_attempt_is_alone(watched: Watched, kind: str) -> None:
    attempts: list[tuple[int, set[int]]] = []

    def fail(task: Task) -> None:
        if task.offset == 5:
            attempts.append((task.attempt, watched.running()))
            raise ValueError("no use")

    with watched.start(of_kind(kind, fail), suspects(5, deaths=2), max_attempts=4) as run:
        run.push(*[FakeRecord(n, b"%d" % n) for n in range(30)])
        run.settled(30)
    assert attempts == [(3, {5}), (4, {5})]
    assert run.sink.sent[0].headers["dlq-attempts"] == b"4"


@pytest.mark.parametrize("kind", KINDS)
def test_a_partition_that_leaves_takes_the_suspect_with_it_that_waits(watched: Watched, kind: str) -> None:
    gate = Gate(lambda task: task.partition == 1)
    with watched.start(gate.handler(kind), suspects(0), workers=4, partitions=2) as run:
        run.push(FakeRecord(0, b"a", partition=1))
        gate.until_begun()
        run.push(FakeRecord(0, b"b"), FakeRecord(1, b"b"))
        until(lambda: run.consumer._desk._shared.isolation.loan is not None)
        run.source.revoke(PARTITION)
        run.until_event(ConsumerRevoked)
        gate.open()
        run.settled(1)
        assert len(gate.begun) == 1
        run.source.assign(PARTITION)
        run.settled(3)


def test_a_suspect_that_is_paused_meanwhile_is_not_begun(watched: Watched) -> None:
    gate, feed = Gate(lambda task: task.offset == 0), FakeFeed()
    run = watched.start(gate.handle, suspects(1), workers=4)
    run.consumer.obey(feed)
    with run:
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        run.push(FakeRecord(1, b"b"), FakeRecord(2, b"c"))
        until(lambda: run.consumer._desk._shared.isolation.loan is not None)
        feed.pause(Target("session", "b"))
        gate.open()
        run.settled(2)
        assert 1 not in gate.begun
        feed.resume(Target("session", "b"))
        run.settled(3)


def test_a_watch_ends_when_what_the_partitions_held_is_committed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(death_watch, "LOOK_SECONDS", 0.0)
    gate = Gate(lambda task: task.offset == 1)
    seen: list[set[int]] = []

    def handle(task: Task) -> None:
        seen.append(watched.running())
        gate.handle(task)

    run = watched.start(handle, [])
    run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"))
    with run:
        gate.until_begun(2)
        run.consumer.death_watch._until = 0.0  # the minimum duration of a watch is over
        run.push(FakeRecord(2, b"a"))
        until(lambda: run.consumer.pulse().settled == 2)
        assert run.consumer._runner._recorder is not None
        gate.open()
        run.settled(3)
        until(lambda: run.consumer._runner._recorder is None)
        run.push(FakeRecord(3, b"a"))
        run.settled(4)
        assert seen[-1] == set()
        run.consumer.death_watch.inbox.append([])
        until(lambda: run.consumer._runner._recorder is not None)
    assert all(seen[:3])


def test_a_consumer_that_has_its_partitions_watches_for_those_that_come(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its present partitions cannot have the task that killed another process: the watch does not wait for them."""
    monkeypatch.setattr(death_watch, "WATCH_SECONDS", 0.0)
    gate = Gate()
    with RunningConsumer(gate.handle) as run:
        run.consumer.death_watch.equip(lambda: FlightRecorder(watched.memory.fileno(), [TOPIC]))
        run.push(FakeRecord(0, b"a"))
        gate.until_begun()
        assert not run.consumer.death_watch.inbox
        run.consumer.death_watch.inbox.append([])
        until(lambda: not run.consumer.death_watch.inbox and run.consumer._runner._recorder is None)
        gate.open()
        run.settled(1)


def test_more_tasks_than_there_are_entries_are_recorded_as_far_as_they_fit(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_recorder, "ENTRIES", 3)
    recorder = FlightRecorder(watched.memory.fileno(), [TOPIC])
    recorder.begin([FakeRecord(n, b"s", partition=7) for n in range(5)])
    assert recorded(watched.memory, [TOPIC]) == [place(n, 7) for n in range(3)]
    recorder.begin([FakeRecord(9, b"s")])
    assert recorded(watched.memory, [TOPIC]) == [place(9)]
    recorder.end()
    assert recorded(watched.memory, [TOPIC]) == []


def test_a_recorder_that_is_closed_writes_nothing_into_the_next_one(watched: Watched) -> None:
    first = FlightRecorder(watched.memory.fileno(), [TOPIC])
    first.begin([FakeRecord(1, b"s")])
    first.close()
    second = FlightRecorder(watched.memory.fileno(), [TOPIC])
    second.begin([FakeRecord(2, b"s")])
    first.begin([FakeRecord(3, b"s")])
    first.end()
    assert recorded(watched.memory, [TOPIC]) == [place(2)]
    second.close()
    assert recorded(watched.memory, [TOPIC]) == []


def test_memory_in_which_nothing_was_recorded_holds_nothing(watched: Watched) -> None:
    assert recorded(watched.memory, [TOPIC]) == []


def test_a_system_without_files_in_memory_has_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create")
    memory = open_memory()
    assert memory is not None
    with memory:
        FlightRecorder(memory.fileno(), [TOPIC]).begin([FakeRecord(1, b"s")])
        assert recorded(memory, [TOPIC]) == [place(1)]
    monkeypatch.setattr("tempfile.TemporaryFile", _refuse)
    assert open_memory() is None


def _refuse() -> IO[bytes]:
    raise OSError("read-only file system")


class Arriving(deque[Sequence[Suspect]]):
    """An inbox in which the next order arrives while the first one is taken out."""

    def __init__(self, first: Sequence[Suspect], second: Sequence[Suspect]) -> None:
        super().__init__([first])
        self._second = [second]

    def pop(self, *_: Any) -> Sequence[Suspect]:
        return self._after(super().pop())

    def popleft(self) -> Sequence[Suspect]:
        return self._after(super().popleft())

    def _after(self, taken: Sequence[Suspect]) -> Sequence[Suspect]:
        self.extend(self._second)
        self._second.clear()
        return taken


def test_an_order_that_arrives_while_another_is_taken_is_obeyed(watched: Watched) -> None:
    run = watched.start(watched.look, ())
    run.consumer.death_watch.inbox = Arriving(suspects(0), suspects(0, 1))
    with run:
        run.push(*[FakeRecord(n, b"%d" % n) for n in range(2)])
        until(lambda: set(watched.settled) == {place(0), place(1)})


@pytest.mark.parametrize("kind", ["single", "batch"])
def test_a_watch_that_ends_between_two_steps_of_an_attempt_costs_no_task(
    watched: Watched, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a worker looks whether tasks are recorded, the answer changes right after it."""
    recorder, ran = FlightRecorder(watched.memory.fileno(), [TOPIC]), list[int]()
    answers = cycle([recorder, None])
    changing = property(lambda _: next(answers), lambda _, __: None)

    def fail_once(task: Task) -> None:
        ran.append(task.attempt)
        if task.attempt == 1:
            raise ConnectionError("not yet")

    app = Processor()
    if kind == "single":
        monkeypatch.setattr(Runner, "_recorder", changing, raising=False)
        app.task("")(fail_once)
    else:
        monkeypatch.setattr(Batches, "recorder", changing, raising=False)
        app.batch("", size=2, wait=0.01)(lambda tasks: ran.extend(task.attempt for task in tasks))
    with RunningConsumer(app, workers=1) as run:
        run.push(*[FakeRecord(n, b"%d" % n) for n in range(20)])
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert not run.of(ConsumerWorkerError)
    assert Counter(ran) == ({1: 20, 2: 20} if kind == "single" else {1: 20})


@pytest.mark.parametrize("fails", [False, True])
def test_a_watch_that_ends_while_successes_of_a_batch_are_noted_costs_no_task(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a worker looks whether a success is to be noted, the answer changes right after it."""
    ran, noted = list[int](), list[object]()
    answers = {name: cycle([noted.append, None]) for name in ("all_simply_succeeded", "conclude_part")}

    def answer(_: Settlement) -> object:
        name = sys._getframe(1).f_code.co_name
        return next(answers[name]) if name in answers else None

    monkeypatch.setattr(Settlement, "note_success", property(answer, lambda _, __: None), raising=False)
    app = Processor()

    @app.batch("", size=2, wait=0.01)
    def handle(tasks: list[Task]) -> list[None]:
        ran.extend(task.offset for task in tasks)
        if fails and len(tasks) == 2 and tasks[1].attempt == 1:
            raise BatchError({1: ConnectionError("not yet")})
        return [None] * len(tasks)

    with RunningConsumer(app, workers=1) as run:
        run.push(*[FakeRecord(n, b"one") for n in range(20)])
        until(lambda: run.commit_point() == 20)
        assert run.stop().exit_code == 0
    assert not run.of(ConsumerWorkerError)
    assert noted
    assert set(Counter(ran).values()) <= ({1, 2} if fails else {1})


@pytest.mark.parametrize(("deaths", "calls"), [(0, {2}), (3, None)], ids=["it runs alone", "it never runs again"])
def test_a_suspect_behind_another_task_of_its_session_joins_no_batch(
    watched: Watched, deaths: int, calls: set[int] | None
) -> None:
    app = Processor()
    app.batch("", size=10, wait=0.3)(watched.look_at_all)
    with watched.start(app, suspects(2, deaths=deaths), workers=4) as run:
        run.push(FakeRecord(0, b"a"), FakeRecord(1, b"b"), FakeRecord(2, b"a"))
        run.settled(3)
    assert watched.seen.get(2) == calls
    assert watched.seen.keys() >= {0, 1}

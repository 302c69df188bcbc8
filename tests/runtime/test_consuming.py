"""The consumer between its group and its handlers: kinds of handlers, limits, stops, offsets that move back."""

from __future__ import annotations

import threading
import time

import pytest

from processor.engine.record import Record
from processor.errors import ProcessorError
from processor.handlers.task import Content, Task
from processor.processor import Processor
from processor.runtime.consumer import Consumer
from processor.runtime.workers import Worker
from processor.settings import Settings
from processor.telemetry.events import ConsumerOffsetsRewound, ConsumerStats
from tests.runtime.fakes import PARTITION, FakeCodec, FakeRecord
from tests.runtime.gate import give_way
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSink, ScriptedSource
from tests.support.until import until


def test_an_application_may_mix_plain_and_async_handlers_in_one_session() -> None:
    app = Processor()
    ran: list[int] = []

    @app.task("never")
    def never(task: Task) -> None:
        raise AssertionError

    @app.default
    async def anything(task: Task) -> None:
        await give_way()
        ran.append(task.offset)

    with RunningConsumer(app) as run:
        run.push(*[FakeRecord(n, b"s") for n in range(50)])
        run.settled(50)
        assert run.stop().exit_code == 0
    assert ran == list(range(50))


class PassingCodec(FakeCodec):
    """Each value is the payload, so that nothing has to be decoded."""

    passes_values = True

    def decode(self, record: Record) -> Content:
        raise AssertionError


def test_a_value_that_is_the_payload_is_not_decoded_for_the_only_handler() -> None:
    app = Processor()
    found: list[tuple[bytes, str, str, bool]] = []

    @app.default(timeout=1000.0)
    def anything(task: Task) -> None:
        found.append((task.payload, task.session_id, task.name, 900 < task.remaining() <= 1000))

    with RunningConsumer(app, codec=PassingCodec(), timeout=30.0) as run:
        run.push(*[FakeRecord(n, b"s", b"%d" % n, name="n") for n in range(50)])
        run.settled(50)
        assert run.stop().exit_code == 0
    assert found == [(b"%d" % n, "s", "n", True) for n in range(50)]


def test_no_more_is_taken_than_max_in_flight_while_nothing_ends() -> None:
    go_on = threading.Event()

    with RunningConsumer(lambda task: go_on.wait(30) and None, max_in_flight=50, stats_interval=0.1) as run:
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(500)])
        full = run.until_event(ConsumerStats, lambda stats: stats.in_flight >= 50)
        later = run.until_event(ConsumerStats, lambda stats: stats.uptime_seconds > full.uptime_seconds + 1.0)
        assert later.in_flight <= 60
        go_on.set()
        run.settled(500)
        assert run.stop().exit_code == 0
    assert max(stats.in_flight for stats in run.of(ConsumerStats)) <= 60
    assert run.commit_point() == 500


def test_a_stop_at_once_does_not_wait_for_a_running_handler() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def handler(task: Task) -> None:
        begun.set()
        go_on.wait(60)

    with RunningConsumer(handler, drain_timeout=60.0) as run:
        run.push(FakeRecord(0, b"s"))
        until(begun.is_set)
        asked_at = time.monotonic()
        run.consumer.request_stop_now("twice")
        assert run.wait().exit_code == 3
        assert time.monotonic() - asked_at < 10
        go_on.set()
    assert run.commit_point() in (None, 0)
    assert run.source.is_closed.is_set()


def test_offsets_that_go_back_are_a_new_beginning() -> None:
    ran: list[bytes] = []

    with RunningConsumer(lambda task: ran.append(task.payload)) as run:
        run.push(*[FakeRecord(n, b"s", b"old") for n in range(10)])
        run.settled(10)

        def replace_unnoticed() -> None:
            """The topic is recreated, and the client reads it without noticing."""
            run.cluster.create_topic("t", 1)
            run.push(*[FakeRecord(n, b"s", b"new") for n in range(5)])
            run.source.positions[PARTITION] = 0

        run.source.happens(replace_unnoticed)
        until(lambda: ran.count(b"new") == 5)
        until(lambda: run.commit_point() == 5)
    assert [event.offset for event in run.of(ConsumerOffsetsRewound)] == [0]


def test_after_a_restart_nothing_runs_again_that_was_committed_above_an_unsettled_task() -> None:
    """The first consumer is abandoned midway. The second one begins with what the first had committed."""
    go_on = threading.Event()
    ran: list[int] = []

    def handler(task: Task) -> None:
        if task.offset == 0 and not go_on.is_set():
            go_on.wait(30)
            return
        ran.append(task.offset)

    with RunningConsumer(handler, drain_timeout=0.1) as first:
        first.push(*[FakeRecord(n, b"s%d" % n) for n in range(100)])
        first.until_settled(99)
        assert first.stop().exit_code == 3
    assert first.commit_point() == 0
    go_on.set()
    with RunningConsumer(handler, cluster=first.cluster) as second:
        second.settled(1)
        assert second.stop().exit_code == 0
    assert sorted(ran) == list(range(100))
    assert second.commit_point() == 100


def test_a_pulse_has_what_runs_and_when_it_will_be_stuck() -> None:
    begun, released = threading.Event(), threading.Event()

    def handle(task: Task) -> None:
        begun.set()
        released.wait(30)

    with RunningConsumer(handle, timeout=20.0) as running:
        before = time.monotonic()
        running.push(FakeRecord(0, b"a"))
        assert begun.wait(30)
        pulse, after = running.consumer.pulse(), time.monotonic()
        assert (pulse.in_group, pulse.stopping, pulse.partitions, pulse.running) == (True, False, 1, 1)
        assert pulse.stuck_at is not None
        assert before + 20 <= pulse.stuck_at <= after + 22.5  # time limit, grace period, and a check
        until(lambda: running.consumer.pulse().last_loop_at > pulse.last_loop_at)
        released.set()
        running.settled(1)
        assert running.consumer.pulse().stuck_at is None
        assert running.source.lose(PARTITION).wait(30)
        assert running.consumer.pulse().partitions == 0


def test_more_workers_than_the_system_lets_run_are_one_sentence_and_leave_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Worker] = []
    start = Worker.start

    def refuse_the_fourth(worker: Worker) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(worker)
        start(worker)

    monkeypatch.setattr(Worker, "start", refuse_the_fourth)
    settings = Settings(topics=("t",), group="g", workers=5)
    app = Processor.of(lambda task: None)
    cluster = ScriptedCluster()
    source, sink = ScriptedSource(cluster, settings.topics), ScriptedSink(cluster)
    consumer = Consumer(settings, app, source, sink, FakeCodec(), lambda event: None)
    with pytest.raises(ProcessorError, match=r"^--workers 5: .* \(can't start new thread\)$"):
        consumer.run()
    until(lambda: not any(worker.thread.is_alive() for worker in started))

"""Handlers with `concurrency` and `rate`: their further tasks wait without a worker, and other handlers continue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from processor import Processor, Reject, Task
from processor.telemetry.events import ConsumerStats
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until


class Crowd:
    """Counts the calls that run at the same time."""

    def __init__(self) -> None:
        self.most = 0
        self.begun: list[tuple[str, int]] = []
        self.at: list[float] = []
        self._inside = 0
        self._lock = threading.Lock()

    def enter(self, task: Task) -> None:
        with self._lock:
            self.at.append(time.monotonic())
            self.begun.append((task.session_id, task.offset))
            self._inside += 1
            self.most = max(self.most, self._inside)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1

    def handler(self, kind: str, seconds: float) -> Callable[[Task], Any]:
        """A handler of one of `KINDS`; each call takes this long."""

        def handle(task: Task) -> None:
            self.enter(task)
            time.sleep(seconds)
            self.leave()

        async def handle_async(task: Task) -> None:
            self.enter(task)
            await asyncio.sleep(seconds)
            self.leave()

        return handle if kind == "plain" else handle_async

    def by_session(self) -> dict[str, list[int]]:
        """The offsets of each session, in the order in which they began."""
        sessions = defaultdict(list)
        for session, offset in self.begun:
            sessions[session].append(offset)
        return sessions


def few(offset: int, session: bytes) -> FakeRecord:
    return FakeRecord(offset, session, name="few")


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_attempts_run_at_once_than_a_handler_allows_and_each_session_keeps_its_order(kind: str) -> None:
    crowd, app = Crowd(), Processor()
    app.task("few", concurrency=3)(crowd.handler(kind, 0.002))
    with RunningConsumer(app, workers=16) as run:
        run.push(*[few(n, b"s%d" % (n % 50)) for n in range(400)])
        run.settled(400)
        until(lambda: run.commit_point() == 400)
    assert crowd.most == 3
    assert len(crowd.begun) == 400
    assert all(offsets == sorted(offsets) for offsets in crowd.by_session().values())


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_that_wait_for_their_handler_take_no_worker_from_others(kind: str) -> None:
    gate, others, app = Gate(), list[int](), Processor()
    app.task("few", concurrency=2)(gate.handler(kind))
    app.task("free")(of_kind(kind, lambda task: others.append(task.offset)))
    with RunningConsumer(app, workers=3, stats_interval=0.1) as run:
        run.push(*[few(n, b"s%d" % n) for n in range(100)])
        gate.until_begun(2)
        run.push(*[FakeRecord(100 + n, b"t%d" % (n % 5), name="free") for n in range(200)])
        until(lambda: len(others) == 200)
        stats = run.until_event(ConsumerStats, lambda event: event.held == 98)
        assert len(gate.begun) == 2
        until(lambda: run.consumer.pulse().running == 2)  # the last free task may still be on its way back
        gate.open()
        run.settled(300)
    (held,) = stats.held_handlers
    assert (held.handler, held.waiting, held.suspended_seconds, held.error) == ("few", 98, None, None)
    assert (stats.suspended_handlers, stats.suspensions, stats.failed_attempts) == (0, 0, 0)


def test_waiting_tasks_start_in_the_order_of_their_arrival() -> None:
    gate, app = Gate(), Processor()
    app.task("few", concurrency=1)(gate.handle)
    with RunningConsumer(app, workers=4, stats_interval=0.1) as run:
        run.push(few(0, b"first"))
        gate.until_begun()
        for n in range(1, 8):
            run.push(few(n, b"s%d" % n))
            run.until_event(ConsumerStats, lambda event, n=n: event.held == n)  # type: ignore[misc]  # a loop's own
        gate.open()
        run.settled(8)
    assert gate.begun == list(range(8))


@pytest.mark.parametrize("kind", KINDS)
def test_attempts_begin_at_the_rate_that_a_handler_allows(kind: str) -> None:
    """Tests of the engine, with simulated times, check that the rate holds in every second."""
    crowd, app = Crowd(), Processor()
    app.task("few", rate="40/s")(crowd.handler(kind, 0.0))
    with RunningConsumer(app, workers=8) as run:
        began = time.monotonic()
        run.push(*[few(n, b"s%d" % (n % 20)) for n in range(60)])
        run.settled(60)
    assert crowd.at[40] - began >= 1.0
    assert crowd.at[-1] - began < 15.0
    assert all(offsets == sorted(offsets) for offsets in crowd.by_session().values())


def test_a_failed_attempt_frees_its_place() -> None:
    def fail(task: Task) -> None:
        if task.payload == b"reject":
            raise Reject("never")
        raise ConnectionError("away")

    app = Processor()
    app.task("few", concurrency=1, max_attempts=3)(fail)
    with RunningConsumer(app, workers=4) as run:
        values = [b"", b"reject"] * 20
        run.push(*[FakeRecord(n, b"s%d" % n, value, name="few") for n, value in enumerate(values)])
        run.settled(40)
        assert run.stop().exit_code == 0
    stats = run.of(ConsumerStats)[-1]
    assert (stats.dead_lettered, stats.failed_attempts) == (40, 80)


def test_an_attempt_that_times_out_frees_its_place() -> None:
    app, done = Processor(), list[int]()

    @app.task("few", concurrency=1, timeout=0.5, max_attempts=2)  # one that a slow machine holds up has another
    def loop(task: Task) -> None:
        while task.payload == b"hang":
            pass
        done.append(task.offset)

    with RunningConsumer(app, workers=4) as run:
        run.push(*[FakeRecord(n, b"s%d" % n, b"hang" if n < 3 else b"", name="few") for n in range(20)])
        run.settled(20)
    assert sorted(done) == list(range(3, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_places_come_back_with_the_partition_that_was_revoked(kind: str) -> None:
    crowd, app = Crowd(), Processor()
    app.task("few", concurrency=2)(crowd.handler(kind, 0.001))
    with RunningConsumer(app, workers=4) as run:
        run.push(*[few(n, b"s%d" % (n % 30)) for n in range(300)])
        for _ in range(5):
            assert run.source.revoke(PARTITION).wait(60)
            assert run.source.assign(PARTITION).wait(60)
        until(lambda: run.commit_point() == 300)
        assert run.stop().exit_code == 0
    assert crowd.most == 2
    assert sorted(offset for _, offset in crowd.begun) == list(range(300))


def test_a_stop_waits_for_what_runs_and_not_for_what_waits() -> None:
    gate, app = Gate(), Processor()
    app.task("few", concurrency=1, rate="1/h")(gate.handle)
    with RunningConsumer(app, workers=4) as run:
        run.push(*[few(n, b"s%d" % n) for n in range(20)])
        gate.until_begun()
        run.consumer.request_stop("the test is over")
        gate.open()
        assert run.wait().exit_code == 0
    assert gate.begun == [0]
    assert run.commit_point() == 1

"""The number of workers, changed while a consumer runs."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from processor import Processor, Task
from processor.errors import ProcessorError
from processor.options.bounds import Bounds
from processor.runtime.commands import WORKERS, WorkersOrder, key_of, read_command, value_of
from processor.runtime.control import Apply
from processor.runtime.workers import Worker
from processor.telemetry.events import (
    ConsumerStarted,
    ConsumerStats,
    ConsumerWorkersChanged,
    ConsumerWorkersLimited,
    ControlForeignRecord,
)
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.gate import KINDS, Gate
from tests.runtime.running import RunningConsumer
from tests.runtime.test_outputs import of_kind
from tests.support.until import until


class Orders:
    """A control topic that orders numbers of workers."""

    def __init__(self, at_start: int | None = None) -> None:
        self._at_start = at_start

    def start(self, apply: Apply) -> None:
        self.apply = apply
        if self._at_start is not None:
            self.give(self._at_start)

    def wait(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        pass

    def give(self, count: int | None, group: str = "g") -> None:
        order = None if count is None else value_of(WorkersOrder(count, 1234, "ann@host"))
        self.apply(key_of(group, WORKERS), order)


def obeying(app: object, orders: Orders, **options: Any) -> RunningConsumer:
    run = RunningConsumer(app, **options)
    run.consumer.obey(orders)
    return run


def one_each(count: int, first: int = 0) -> list[FakeRecord]:
    """One task of each of this many sessions."""
    return [FakeRecord(first + n, b"s%d" % n) for n in range(count)]


def worker_threads(run: RunningConsumer) -> int:
    return sum(isinstance(seat, Worker) and seat.thread.is_alive() for seat in run.consumer._crew.members)


@pytest.mark.parametrize("kind", KINDS)
def test_more_workers_begin_at_once_what_waits(kind: str) -> None:
    gate, orders = Gate(), Orders()
    with obeying(gate.handler(kind), orders, workers=2, stats_interval=0.1) as run:
        run.push(*one_each(10))
        gate.until_begun(2)
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 8)
        assert len(gate.begun) == 2
        orders.give(7)
        gate.until_begun(7)
        run.until_event(ConsumerStats, lambda stats: (stats.waiting, stats.workers) == (3, 7))
        assert len(gate.begun) == 7
        assert run.consumer.pulse().workers == 7
        gate.open()
        run.settled(10)
    assert sorted(gate.begun) == [*range(10)]
    (changed,) = run.of(ConsumerWorkersChanged)
    assert (changed.workers_before, changed.workers, changed.reason) == (2, 7, "set by ann@host")


@pytest.mark.parametrize("kind", KINDS)
def test_a_surplus_worker_finishes_its_task_and_takes_no_other(kind: str) -> None:
    held, orders = Gate(lambda task: task.offset < 6), Orders()
    now, most = 0, 0
    lock = threading.Lock()

    def count(task: Task) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        pause.wait(0.002)
        with lock:
            now -= 1

    pause = threading.Event()
    app = Processor()
    app.task("hold")(held.handler(kind))
    app.task("count")(of_kind(kind, count))
    with obeying(app, orders, workers=6) as run:
        run.push(*[FakeRecord(n, b"h%d" % n, name="hold") for n in range(6)])
        held.until_begun(6)
        orders.give(2)
        run.push(*[FakeRecord(6 + n, b"c%d" % n, name="count") for n in range(100)])
        held.open()
        run.settled(106)
        assert sorted(held.passed) == [*range(6)]
        if kind == "plain":
            until(lambda: worker_threads(run) == 2)
            assert most <= 2
    assert run.commit_point() == 106


def test_workers_that_wait_leave_at_once() -> None:
    orders = Orders()
    with obeying(lambda task: None, orders, workers=8) as run:
        until(lambda: worker_threads(run) == 8 and hasattr(orders, "apply"))
        orders.give(1)
        until(lambda: worker_threads(run) == 1)
        run.push(*one_each(50))
        run.settled(50)


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_command_restores_the_configured_number(kind: str) -> None:
    gate, orders = Gate(), Orders(at_start=1)
    with obeying(gate.handler(kind), orders, workers=3, stats_interval=0.1) as run:
        run.push(*one_each(5))
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 4)
        assert gate.begun == [0]
        orders.give(None)
        gate.until_begun(3)
        run.until_event(ConsumerStats, lambda stats: stats.waiting == 2)
        orders.give(None)
        orders.give(9, group="another")
        gate.open()
        run.settled(5)
    changes = [(change.workers_before, change.workers, change.reason) for change in run.of(ConsumerWorkersChanged)]
    assert changes == [(3, 1, "set by ann@host"), (1, 3, "the set number has ended")]


@pytest.mark.parametrize("kind", KINDS)
def test_changes_under_load_lose_and_repeat_no_task_and_keep_each_session_in_order(kind: str) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    running: set[str] = set()
    chance = random.Random(7)
    faults: list[str] = []

    def handle(task: Task) -> None:
        if task.session_id in running:
            faults.append(task.session_id)
        running.add(task.session_id)
        seen[task.session_id].append(task.offset)
        if chance.random() < 0.1:
            pause.wait(0.001)
        running.discard(task.session_id)

    pause, orders = threading.Event(), Orders()
    with obeying(of_kind(kind, handle), orders, workers=4, partitions=2) as run:
        until(lambda: hasattr(orders, "apply"))
        for step in range(40):
            run.push(*[FakeRecord(step * 50 + n, b"s%d" % ((step * 50 + n) % 20)) for n in range(50)])
            orders.give(chance.choice((1, 2, 5, 16)))
            if step == 20:
                assert run.source.revoke(PARTITION).wait(30)
                assert run.source.assign(PARTITION).wait(30)
        until(lambda: run.commit_point() == 2000)
        assert run.consumer.pulse().in_group
    assert not faults
    assert {session: len(offsets) for session, offsets in seen.items()} == {f"s{n}": 100 for n in range(20)}
    assert all(offsets == sorted(offsets) for offsets in seen.values())
    assert run.status is not None
    assert run.status.exit_code == 0


def test_threads_that_the_system_refuses_are_logged_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, gate = Orders(), Gate()
    refused = _refusing_after(5, monkeypatch)
    with obeying(gate.handle, orders, workers=2) as run:
        run.push(*one_each(9))
        gate.until_begun(2)
        orders.give(9)
        limited = run.until_event(ConsumerWorkersLimited)
        assert (limited.wanted, limited.workers, limited.error) == (9, 5, "can't start new thread")
        gate.until_begun(5)
        assert run.of(ConsumerWorkersChanged)[0].workers == 5
        refused.clear()
        orders.give(6)
        gate.until_begun(6)
        gate.open()
        run.settled(9)
    assert sorted(gate.begun) == [*range(9)]


def _refusing_after(count: int, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lets this many worker threads start. While the returned list is not empty, further ones are refused."""
    refuses = [True]
    started: list[str] = []
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("worker-"):
            if refuses and len(started) == count:
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    return refuses


def test_a_number_below_one_is_not_a_command() -> None:
    orders = Orders()
    with obeying(lambda task: None, orders) as run:
        until(lambda: hasattr(orders, "apply"))
        orders.give(0)
        until(lambda: run.of(ControlForeignRecord))
        run.push(*one_each(3))
        run.settled(3)
    assert len(run.of(ControlForeignRecord)) == 1


def test_a_record_that_orders_workers_is_json_and_read_as_it_was_written() -> None:
    order = WorkersOrder(16, 1234, "ann@host")
    assert key_of("g", WORKERS) == b'["g","workers",""]'
    assert value_of(order) == b'{"workers":16,"since":1234,"by":"ann@host"}'
    assert read_command(key_of("g", WORKERS), value_of(order)) == ("g", WORKERS, order)
    assert read_command(key_of("g", WORKERS), None) == ("g", WORKERS, None)


# --- a number that the consumer finds for itself ---------------------------------------------------


def waiting(task: Task) -> None:
    threading.Event().wait(0.002)


async def waiting_async(task: Task) -> None:
    await asyncio.sleep(0.002)


WAITING: dict[str, Callable[[Task], Any]] = {"plain": waiting, "async": waiting_async}


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_with_bounds_begins_with_the_least_and_has_more_while_tasks_wait_for_a_worker(kind: str) -> None:
    with RunningConsumer(WAITING[kind], workers=Bounds(2, 6), stats_interval=0.2) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 100)) for n in range(4000)])
        changed = run.until_event(ConsumerWorkersChanged)
        assert (changed.workers_before, changed.workers) == (2, 4)
        assert changed.reason.startswith("tasks wait and all 2 workers are busy: ")
        run.until_event(ConsumerStats, lambda stats: stats.workers >= 4)
        run.settled(4000)
    started = run.of(ConsumerStarted)[0]
    assert (started.workers, started.workers_most) == (2, 6)
    assert all(2 <= change.workers <= 6 for change in run.of(ConsumerWorkersChanged))
    assert run.commit_point() == 4000


def test_an_order_ends_the_search_and_its_end_begins_it_again_from_the_nearest_number() -> None:
    orders = Orders(at_start=9)
    with obeying(waiting, orders, workers=Bounds(2, 6)) as run:
        run.until_event(ConsumerWorkersChanged, lambda changed: changed.workers == 9)
        orders.give(None)
        run.until_event(ConsumerWorkersChanged, lambda changed: (changed.workers_before, changed.workers) == (9, 6))
        orders.give(2)
        orders.give(None)
        run.push(*[FakeRecord(n, b"s%d" % (n % 100)) for n in range(4000)])
        run.until_event(ConsumerWorkersChanged, lambda changed: (changed.workers_before, changed.workers) == (2, 4))
        run.settled(4000)


def test_a_consumer_does_not_request_refused_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _refusing_after(3, monkeypatch)
    with RunningConsumer(waiting, workers=Bounds(2, 64)) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 100)) for n in range(4000)])
        run.settled(4000)
        assert [(limited.wanted, limited.workers) for limited in run.of(ConsumerWorkersLimited)] == [(4, 3)]


def test_a_fixed_number_costs_no_thread() -> None:
    before = set(threading.enumerate())
    with RunningConsumer(waiting, workers=2) as run:
        run.push(*one_each(3))
        run.settled(3)
        assert "scaling" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_bounds_are_one_sentence_where_no_thread_can_be_started_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if thread.name == "scaling":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    run = RunningConsumer(waiting, workers=Bounds(2, 6))
    with pytest.raises(ProcessorError, match=r"^no thread can be started for --workers 2\.\.6 \(can't start"):
        run.consumer.run()

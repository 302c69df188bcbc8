"""What is fetched, and what of it is admitted: a full partition holds back no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import pytest

from processor.engine.lease import Lease
from processor.handlers.task import Task
from processor.runtime.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.intake import Intake
from processor.runtime.ports import Commit, End, Partition, Record
from processor.runtime.resets import Reset, Resets
from processor.runtime.timers import Timers
from processor.settings import Settings
from processor.telemetry.events import ConsumerFetchPaused, ConsumerFetchResumed, ConsumerOffsetsMissed, Event
from tests.runtime.fakes import FakeRecord, FakeSource
from tests.runtime.running import RunningConsumer
from tests.support.until import until

BUSY, QUIET = Partition("t", 0), Partition("t", 1)


class Fetchable(FakeRecord):
    """A record, or the end of a partition as the client reports it."""

    is_end = False

    def error(self) -> object | None:
        return "the end" if self.is_end else None


class Queue(FakeSource):
    """A client with one queue; what is paused is dropped from it, as the client does, and can be fetched again."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: deque[Record] = deque()
        self.paused: set[Partition] = set()

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        return [self.queue.popleft() for _ in range(min(limit, len(self.queue)))]

    def interpret(self, record: Record) -> End | None:
        return End(Partition(record.topic(), record.partition()), record.offset())

    def commit(self, commits: Sequence[Commit]) -> None: ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        self.paused.update(partitions)
        self.queue = deque(r for r in self.queue if Partition(r.topic(), r.partition()) not in self.paused)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self.paused.difference_update(partitions)


class Fetched:
    """An intake with two partitions and a desk from which nothing is borrowed."""

    def __init__(self, max_in_flight: int = 100) -> None:
        self.events: list[Event] = []
        self.source = Queue()
        lease = Lease(1e9)
        self.desk = Desk(lease, Timers())
        committer = Committer(1.0, self.desk, self.source, self.events.append)
        chosen = Settings(topics=("t",), group="g", max_in_flight=max_in_flight)
        resets = Resets(self.desk, committer, self.events.append)
        self.intake = Intake(chosen, self.source, self.desk, resets, self.events.append)
        for partition in (BUSY, QUIET):
            self.desk.assign(partition, 0, [])
        self.intake.begin([BUSY, QUIET])

    def come(self, partition: Partition, first: int, count: int) -> None:
        self.source.queue.extend(record(partition, first + n) for n in range(count))

    def take(self, times: int = 1, now: float = 0.0) -> None:
        for _ in range(times):
            self.intake.take(now)

    def in_flight(self, partition: Partition) -> int:
        return self.desk.usage()[partition].tasks


def record(partition: Partition, offset: int) -> Fetchable:
    return Fetchable(offset, b"k%d" % offset, partition=partition.number)


def end(partition: Partition, offset: int) -> Fetchable:
    made = Fetchable(offset, None, partition=partition.number)
    made.is_end = True
    return made


def test_a_backlog_fills_what_no_other_partition_has_a_share_of_and_the_rest_waits() -> None:
    fetched = Fetched()
    fetched.come(BUSY, 0, 500)
    fetched.take()
    assert fetched.in_flight(BUSY) == 75
    assert fetched.intake.stock_of(BUSY) == 425


def test_a_record_of_another_partition_is_admitted_although_it_came_behind_the_backlog() -> None:
    fetched = Fetched()
    fetched.come(BUSY, 0, 500)
    fetched.come(QUIET, 0, 1)
    fetched.take()
    assert fetched.in_flight(QUIET) == 1
    assert fetched.intake.stock_of(QUIET) == 0


def test_an_end_counts_when_all_that_was_fetched_before_it_is_admitted() -> None:
    fetched = Fetched(max_in_flight=1)
    fetched.come(QUIET, 0, 2)
    fetched.source.queue.append(end(QUIET, 2))
    fetched.take()
    assert (fetched.in_flight(QUIET), fetched.desk.position(QUIET)) == (1, 1)
    fetched.desk.forget([QUIET])
    fetched.desk.assign(QUIET, 1, [])
    fetched.take(2)
    assert fetched.desk.position(QUIET) == 2
    assert fetched.intake.stock_of(QUIET) == 0


def test_an_end_without_a_backlog_counts_at_once() -> None:
    fetched = Fetched()
    fetched.source.queue.append(end(QUIET, 7))
    fetched.take()
    assert fetched.desk.position(QUIET) == 7


def test_a_reset_waits_for_what_was_fetched_before_it() -> None:
    fetched = Fetched(max_in_flight=1)
    fetched.come(BUSY, 0, 2)
    fetched.take()
    fetched.intake.go_on_at(Reset(BUSY, 9))
    assert not fetched.events
    fetched.desk.forget([BUSY])
    fetched.desk.assign(BUSY, 1, [])
    fetched.take(2)
    (missed,) = (event for event in fetched.events if isinstance(event, ConsumerOffsetsMissed))
    assert missed.offsets == ["2-8"]


def test_a_reset_without_a_backlog_is_carried_out_at_once() -> None:
    fetched = Fetched()
    fetched.intake.go_on_at(Reset(BUSY, 3))
    assert fetched.desk.position(BUSY) == 3


def test_what_was_fetched_of_a_partition_that_is_given_up_is_dropped() -> None:
    fetched = Fetched()
    fetched.come(BUSY, 0, 500)
    fetched.take()
    fetched.desk.forget([BUSY])
    fetched.intake.forget([BUSY])
    assert fetched.intake.stock_of(BUSY) == 0
    fetched.desk.assign(BUSY, 0, [])
    fetched.intake.begin([BUSY])
    fetched.come(BUSY, 0, 3)
    fetched.take()
    assert fetched.in_flight(BUSY) == 3


def test_a_backlog_that_fills_the_stock_is_paused_and_resumed_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Fetched(max_in_flight=10)
    monkeypatch.setattr(fetched.intake._fetching, "_limits", fetched.intake._limits._replace(tasks=100))
    fetched.come(BUSY, 0, 90)
    fetched.take(2)
    assert fetched.intake.paused == fetched.source.paused == {BUSY}
    (paused,) = (event for event in fetched.events if isinstance(event, ConsumerFetchPaused))
    assert paused.fetched_ahead == fetched.intake.stock_of(BUSY)
    while BUSY in fetched.source.paused:
        position = fetched.desk.position(BUSY)
        fetched.desk.forget([BUSY])
        fetched.desk.assign(BUSY, position, [])
        fetched.take()
    assert any(isinstance(event, ConsumerFetchResumed) for event in fetched.events)
    assert fetched.desk.position(BUSY) == 90 - fetched.intake.stock_of(BUSY)


def test_tasks_of_a_quiet_partition_are_done_while_the_backlog_of_another_is_stuck() -> None:
    go_on = threading.Event()
    done: list[bytes] = []

    def handler(task: Task) -> None:
        if task.partition == 0:
            go_on.wait(30)
        else:
            done.append(task.payload)

    with RunningConsumer(handler, workers=20, max_in_flight=100) as run:
        run.source.assign(QUIET)
        run.push(*[FakeRecord(n, b"s%d" % (n % 10)) for n in range(1000)])
        run.push(*[FakeRecord(n, b"q", b"%d" % n, partition=1) for n in range(5)])
        until(lambda: len(done) == 5)
        go_on.set()
        run.settled(1005)
    assert done == [b"%d" % n for n in range(5)]

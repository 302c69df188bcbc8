"""What is fetched, and what is admitted: a full partition holds back no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from processor.engine.flow import LARGE_TAKE, RATE_SECONDS, TAKE
from processor.engine.growth import HELD
from processor.engine.lease import Lease
from processor.engine.record import Record
from processor.handlers.task import Task
from processor.runtime.ahead import Ahead
from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.intake import Intake
from processor.runtime.ports import Commit, Partition, Start, Survey
from processor.runtime.recall import Recall
from processor.runtime.resets import Reset, Resets
from processor.runtime.timers import Timers
from processor.settings import Settings
from processor.telemetry.events import ConsumerFetchPaused, ConsumerFetchResumed, ConsumerOffsetsMissed, Event
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer
from tests.runtime.test_join_machine import Worker
from tests.support.scripted_kafka import ScriptedCluster, ScriptedSource
from tests.support.until import until

BUSY, QUIET = Partition("t", 0), Partition("t", 1)


class Fetched:
    """An intake, with two partitions unless more are given, and a desk that no worker borrows from."""

    def __init__(self, max_in_flight: int = 100, *, stages: bool = False, partitions: int = 2) -> None:
        self.events: list[Event] = []
        self.cluster = ScriptedCluster()
        self.cluster.create_topic("t", partitions)
        self.source = ScriptedSource(self.cluster, ["t"])
        lease = Lease(1e9)
        self.desk = Desk(lease, Timers(), stages=stages)
        committer = Committer(1.0, self.desk, self.source, self.events.append)
        chosen = Settings(topics=("t",), group="g", max_in_flight=max_in_flight)
        resets = Resets(self.desk, committer, self.events.append)
        recall = Recall(chosen, self.desk, self.source, self.events.append)
        ahead = Ahead(chosen, self.desk, recall, self.events.append)
        self.intake = Intake(chosen, self.source, self.desk, resets, ahead, self.events.append)
        self.source.open(self)
        self.source.take(0, 0.0)  # its assignment

    def on_assign(self, starts: Sequence[Start]) -> None:
        for start in starts:
            self.desk.partitions.assign(start.partition, start.offset or 0, [])
        self.intake.begin([start.partition for start in starts])

    def on_revoke(self, partitions: Sequence[Partition], release: Callable[[], None]) -> None:
        self.on_lose(partitions)
        release()

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        self.desk.partitions.forget(partitions)
        self.intake.forget(partitions)

    def on_reset(self, partition: Partition, offset: int) -> None:
        raise AssertionError

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        raise AssertionError

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        raise AssertionError

    def come(self, partition: Partition, first: int, count: int) -> None:
        records = [FakeRecord(first + n, b"k%d" % (first + n), partition=partition.number) for n in range(count)]
        self.cluster.append(*records)

    def take(self, times: int = 1, now: float = 0.0) -> None:
        for _ in range(times):
            self.intake.take(now)

    def in_flight(self, partition: Partition) -> int:
        return self.desk.inflow.usage()[partition].tasks

    def settle_all(self, partition: Partition) -> None:
        """Settles all that is in flight."""
        position = self.desk.partitions.position(partition)
        self.desk.partitions.forget([partition])
        self.desk.partitions.assign(partition, position, [])


def test_a_backlog_fills_what_no_other_partition_has_a_share_of_and_the_rest_waits() -> None:
    fetched = Fetched()
    fetched.take()  # the ends of both
    fetched.come(BUSY, 0, 500)
    fetched.take()
    assert fetched.in_flight(BUSY) == 75
    assert fetched.intake.stock_of(BUSY) == 425


@pytest.mark.parametrize("stages", [False, True])
def test_the_sum_of_what_is_in_flight_is_that_of_its_parts(stages: bool) -> None:
    fetched = Fetched(stages=stages)
    fetched.come(BUSY, 0, 20)
    fetched.come(QUIET, 0, 3)
    fetched.take()
    assert fetched.desk.inflow.tasks() == {BUSY: 20, QUIET: 3}
    tasks, sizes = zip(*fetched.desk.inflow.usage().values(), strict=True)
    assert tasks == (20, 3)
    assert fetched.desk.inflow.total() == (23, sum(sizes))
    assert min(sizes) > 0


def test_the_poller_takes_more_records_at_once_while_tasks_are_long() -> None:
    fetched = Fetched(100_000)
    sizes: list[int] = []
    take = fetched.source.take

    def noted(limit: int, seconds: float) -> Sequence[Record]:
        sizes.append(limit)
        return take(limit, seconds)

    fetched.source.take = noted  # type: ignore[method-assign]
    fetched.take()
    worker = Worker()
    fetched.desk.lending.enter_invited(worker)
    worker.ended, worker.seconds = 100, 100.0
    fetched.desk.lending.exchange(worker, 0)
    fetched.come(BUSY, 0, LARGE_TAKE + 1)
    fetched.take(2)
    assert sizes == [TAKE, LARGE_TAKE, LARGE_TAKE]
    assert fetched.in_flight(BUSY) == LARGE_TAKE + 1


def test_records_that_alternate_between_partitions_are_admitted_to_their_own() -> None:
    fetched = Fetched()
    records = [FakeRecord(n // 2, b"k", partition=(BUSY, QUIET)[n % 2].number) for n in range(10)]
    fetched.source.take = lambda limit, seconds: records  # type: ignore[method-assign]
    fetched.take()
    assert (fetched.in_flight(BUSY), fetched.in_flight(QUIET)) == (5, 5)
    assert (fetched.desk.partitions.position(BUSY), fetched.desk.partitions.position(QUIET)) == (5, 5)


def test_a_record_of_another_partition_is_admitted_although_it_came_behind_the_backlog() -> None:
    fetched = Fetched()
    fetched.come(BUSY, 0, 500)
    fetched.come(QUIET, 0, 1)
    fetched.take()
    assert fetched.in_flight(QUIET) == 1
    assert fetched.intake.stock_of(QUIET) == 0


@pytest.mark.parametrize("backlog", [0, 500])
def test_nothing_of_a_partition_that_drains_is_admitted_and_its_end_is_not_reached(backlog: int) -> None:
    """The client had fetched it already. The next owner gets it."""
    fetched = Fetched()
    fetched.come(QUIET, 0, 2)
    fetched.take()
    position = fetched.desk.partitions.position(QUIET)
    fetched.intake.leave([QUIET])
    fetched.come(BUSY, 0, backlog)
    fetched.come(QUIET, 2, 3)
    fetched.cluster.skip(QUIET, 3)
    fetched.source.happens(lambda: fetched.intake.go_on_at(Reset(QUIET, 7)))
    fetched.take(3)
    assert (fetched.desk.partitions.position(QUIET), fetched.in_flight(QUIET)) == (position, 2) == (2, 2)
    assert fetched.intake.stock_of(QUIET) == 0
    assert fetched.in_flight(BUSY) == min(backlog, 75)


def test_an_end_counts_when_all_that_was_fetched_before_it_is_admitted() -> None:
    fetched = Fetched(max_in_flight=1)
    fetched.come(QUIET, 0, 2)
    fetched.cluster.skip(QUIET, 3)
    fetched.take()
    assert (fetched.in_flight(QUIET), fetched.desk.partitions.position(QUIET)) == (1, 1)
    fetched.settle_all(QUIET)
    fetched.take()
    assert (fetched.in_flight(QUIET), fetched.desk.partitions.position(QUIET)) == (1, 5)
    fetched.settle_all(QUIET)
    assert fetched.intake.stock_of(QUIET) == 0


def test_an_end_without_a_backlog_counts_at_once() -> None:
    fetched = Fetched()
    fetched.cluster.skip(QUIET, 7)
    fetched.take()
    assert fetched.desk.partitions.position(QUIET) == 7


def test_a_reset_waits_for_what_was_fetched_before_it() -> None:
    fetched = Fetched(max_in_flight=1)
    fetched.come(BUSY, 0, 2)
    fetched.take()
    fetched.intake.go_on_at(Reset(BUSY, 9))
    assert not fetched.events
    fetched.settle_all(BUSY)
    fetched.take(2)
    (missed,) = (event for event in fetched.events if isinstance(event, ConsumerOffsetsMissed))
    assert missed.offsets == ["2-8"]


def test_a_reset_without_a_backlog_is_carried_out_at_once() -> None:
    fetched = Fetched()
    fetched.intake.go_on_at(Reset(BUSY, 3))
    assert fetched.desk.partitions.position(BUSY) == 3


def test_what_was_fetched_of_a_partition_that_is_given_up_is_dropped() -> None:
    fetched = Fetched()
    fetched.come(BUSY, 0, 500)
    fetched.take()
    fetched.source.revoke(BUSY)
    fetched.take()
    assert fetched.intake.stock_of(BUSY) == 0
    fetched.cluster.committed[BUSY] = Commit(BUSY, 497, "")
    fetched.source.assign(BUSY)
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
        fetched.settle_all(BUSY)
        fetched.take()
    assert any(isinstance(event, ConsumerFetchResumed) for event in fetched.events)
    assert fetched.desk.partitions.position(BUSY) == 90 - fetched.intake.stock_of(BUSY)


# --- gates -------------------------------------------------------------------------------------------


def test_nothing_is_admitted_of_a_partition_that_is_held_and_it_is_not_fetched() -> None:
    fetched = Fetched()
    fetched.intake.gate(QUIET, HELD)
    fetched.come(QUIET, 0, 5)
    fetched.come(BUSY, 0, 5)
    fetched.take(3)
    assert (fetched.in_flight(QUIET), fetched.in_flight(BUSY)) == (0, 5)
    assert fetched.source.paused == {QUIET}
    assert fetched.intake.stock_of(QUIET) == 0


def test_a_gate_admits_what_is_below_it_and_the_rest_waits() -> None:
    fetched = Fetched()
    fetched.intake.gate(QUIET, 3)
    fetched.come(QUIET, 0, 5)
    fetched.take(2)
    assert (fetched.in_flight(QUIET), fetched.intake.stock_of(QUIET)) == (3, 2)
    assert fetched.intake.blocked() == [QUIET]
    assert fetched.source.paused == {QUIET}
    fetched.intake.gate(QUIET, 4)
    fetched.take(2)
    assert fetched.in_flight(QUIET) == 4
    assert fetched.source.paused == {QUIET}  # a record still waits
    fetched.intake.gate(QUIET, None)
    fetched.take()
    assert (fetched.in_flight(QUIET), fetched.intake.stock_of(QUIET)) == (5, 0)
    assert not fetched.source.paused


def test_an_end_behind_a_gate_counts_when_the_gate_has_moved() -> None:
    fetched = Fetched()
    fetched.cluster.skip(QUIET, 7)
    fetched.intake.gate(QUIET, 3)
    fetched.take(2)
    assert fetched.desk.partitions.position(QUIET) == 0
    fetched.intake.gate(QUIET, 7)
    fetched.take()
    assert fetched.desk.partitions.position(QUIET) == 7


def test_a_reset_of_a_held_partition_waits_for_its_gate() -> None:
    fetched = Fetched()
    fetched.intake.gate(QUIET, HELD)
    fetched.intake.go_on_at(Reset(QUIET, 4))
    fetched.take()
    assert fetched.desk.partitions.position(QUIET) == 0
    fetched.intake.gate(QUIET, None)
    fetched.take()
    assert fetched.desk.partitions.position(QUIET) == 4


def test_a_partition_that_is_blocked_at_its_gate_is_not_resumed_because_the_stock_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its rate is measured when it is blocked already: by that rate, its stock would not last."""
    fetched = Fetched(max_in_flight=10)
    monkeypatch.setattr(fetched.intake._fetching, "_limits", fetched.intake._limits._replace(tasks=100))
    fetched.come(BUSY, 0, 90)
    fetched.take(2)
    assert fetched.intake.paused == {BUSY}
    fetched.intake.gate(BUSY, 60)
    while fetched.desk.partitions.position(BUSY) != 60:
        fetched.settle_all(BUSY)
        fetched.take(now=RATE_SECONDS / 2)
    fetched.take(now=RATE_SECONDS / 2)
    assert fetched.intake.blocked() == [BUSY]
    assert fetched.intake.paused == {BUSY}
    fetched.take(now=RATE_SECONDS)
    assert not fetched.intake.paused
    assert fetched.source.paused == {BUSY}
    fetched.intake.gate(BUSY, None)
    assert not fetched.source.paused


def test_a_partition_that_comes_back_has_no_gate() -> None:
    fetched = Fetched()
    fetched.intake.gate(QUIET, HELD)
    fetched.source.revoke(QUIET)
    fetched.take()
    fetched.source.assign(QUIET)
    fetched.come(QUIET, 0, 2)
    fetched.take(2)
    assert fetched.in_flight(QUIET) == 2


@pytest.mark.parametrize(("partitions", "seconds"), [(2, 0.01), (200, 0.02), (1000, 0.025)])
def test_the_poller_rests_longer_with_more_partitions_in_the_stock(
    partitions: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loop takes time for each of them, and meanwhile no worker has the interpreter."""
    fetched = Fetched(partitions=partitions)
    rests: list[float] = []
    monkeypatch.setattr(fetched.desk.inflow, "rest", rests.append)
    for number in range(partitions):
        fetched.come(Partition("t", number), 0, 200 if partitions == 2 else 3)
    while not rests:
        fetched.take()
    assert rests == [pytest.approx(seconds)]


def test_room_is_filled_at_once_while_no_lane_is_ready() -> None:
    """Most of what is in flight may take long, so that a quarter of it does not settle soon."""
    fetched = Fetched()
    fetched.take()  # the ends of both
    fetched.come(BUSY, 0, 500)
    fetched.take()
    in_flight = fetched.in_flight(BUSY)
    fetched.desk.lease.renew(float("inf"))
    lending, worker = fetched.desk.lending, Worker()
    lending.enter_invited(worker)
    lending.exchange(worker, 10)
    for loan in worker.batch:
        loan.done = 1
    worker.finished.extend(worker.batch)
    worker.batch.clear()
    lending.exchange(worker, in_flight - 11)
    fetched.take()
    assert fetched.in_flight(BUSY) == in_flight - 10  # one lane is ready
    lending.exchange(worker, 1)
    fetched.take()
    assert fetched.in_flight(BUSY) == in_flight


def test_tasks_of_a_quiet_partition_are_done_while_the_backlog_of_another_is_stuck() -> None:
    go_on = threading.Event()
    done: list[bytes] = []

    def handler(task: Task) -> None:
        if task.partition == 0:
            go_on.wait(30)
        else:
            done.append(task.payload)

    with RunningConsumer(handler, workers=20, max_in_flight=100, partitions=2) as run:
        run.push(*[FakeRecord(n, b"s%d" % (n % 10)) for n in range(1000)])
        run.push(*[FakeRecord(n, b"q", b"%d" % n, partition=1) for n in range(5)])
        until(lambda: len(done) == 5)
        go_on.set()
        run.settled(1005)
    assert done == [b"%d" % n for n in range(5)]

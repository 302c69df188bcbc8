"""A session with very many tasks: it holds back no other session, and still runs in order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from processor.engine.flow import RESERVED
from processor.errors import BrokerError
from processor.handlers.exceptions import Retry
from processor.handlers.task import Task
from processor.processor import Processor
from processor.runtime.ports import Partition, Record
from processor.telemetry.events import (
    ConsumerOffsetsMissed,
    ConsumerOffsetsRewound,
    ConsumerRecallFailed,
    ConsumerRevoked,
    ConsumerSetAside,
    ConsumerStats,
    PartitionStats,
)
from processor.testing.memory.reader import MemoryReader
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster
from tests.support.until import until

HOT = b"hot"
SECONDS = 60.0


class Sessions:
    """Tasks of a hot session, each of which waits for a permit, and tasks of other sessions."""

    def __init__(self) -> None:
        self.hot: list[int] = []
        """Offsets, in the order in which they ran."""
        self.others: list[int] = []
        self.running = 0
        self.overlapped = False
        self._leave = threading.Semaphore(0)
        self._is_free = threading.Event()

    def handle(self, task: Task) -> None:
        if task.session_id != HOT.decode():
            self.others.append(task.offset)
            return
        self.running += 1
        self.overlapped |= self.running > 1
        if not self._is_free.is_set():
            assert self._leave.acquire(timeout=SECONDS), "the test lets no more tasks of the hot session end"
        self.hot.append(task.offset)
        self.running -= 1

    def let(self, count: int) -> None:
        """Lets this many more tasks of the hot session end."""
        self._leave.release(count)

    def let_all(self) -> None:
        """Lets all of them end, from now on."""
        self._is_free.set()
        self._leave.release(1000)

    def until_others(self, count: int) -> None:
        until(lambda: len(self.others) >= count, f"{count} tasks of other sessions", SECONDS)

    def until_hot(self, count: int) -> None:
        until(lambda: len(self.hot) >= count, f"{count} tasks of the hot session", SECONDS)


def interleaved(count: int, first: int = 0, partition: int = 0) -> list[FakeRecord]:
    """The same number of tasks of the hot session and of other sessions, which have one task each."""
    keys = [HOT if n % 2 == 0 else b"s%d" % n for n in range(first, first + 2 * count)]
    return [FakeRecord(n, key, b"v", partition) for n, key in enumerate(keys, first)]


def hot(app: Any, **options: Any) -> RunningConsumer:
    return RunningConsumer(app, **{"max_in_flight": 64, "stats_interval": 0.1, **options})


def test_a_hot_session_delays_no_other_and_runs_in_order() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as run:
        run.push(*interleaved(1000))
        tasks.until_others(1000)
        assert tasks.hot == []
        stats = run.until_event(ConsumerStats, lambda stats: stats.set_aside > 900)
        assert stats.in_flight <= 64
        assert stats.busiest_session_waiting >= 900
        (busiest,) = stats.busiest_sessions
        assert busiest.session_id == "hot"
        assert busiest.waiting <= busiest.partition_waiting <= 2000
        partition = run.until_event(PartitionStats, lambda stats: stats.set_aside > 900)
        assert partition.set_aside_sessions == 1
        assert run.commit_point() == 0
        tasks.let_all()
        run.settled(2000)
        assert run.stop().exit_code == 0
    assert tasks.hot == list(range(0, 2000, 2))
    assert sorted(tasks.others) == list(range(1, 2000, 2))
    assert not tasks.overlapped
    assert run.commit_point() == 2000
    (began,) = run.of(ConsumerSetAside)
    assert (began.topic, began.partition) == PARTITION
    # of a single session, nothing is set aside a second time
    assert 900 <= run.of(ConsumerStats)[-1].tasks_read_again <= 1000
    assert run.of(ConsumerStats)[-1].records_read_again >= run.of(ConsumerStats)[-1].tasks_read_again
    assert run.of(ConsumerStats)[-1].set_aside == 0


def test_a_burst_of_one_session_holds_back_nothing_behind_it() -> None:
    tasks = Sessions()
    burst = [FakeRecord(n, HOT, b"v") for n in range(1000)]
    with hot(tasks.handle) as run:
        run.push(*burst, *[FakeRecord(n, b"s%d" % n, b"v") for n in range(1000, 1100)])
        tasks.until_others(100)
        tasks.let_all()
        run.settled(1100)
        assert run.stop().exit_code == 0
    assert tasks.hot == list(range(1000))


def test_several_hot_sessions_of_several_partitions_share_the_room() -> None:
    tasks = Sessions()
    cold = threading.Event()
    ran: dict[str, list[int]] = {}

    def handle(task: Task) -> None:
        if task.session_id.startswith("hot"):
            assert cold.wait(SECONDS)
            ran.setdefault(f"{task.partition}{task.session_id}", []).append(task.offset)
        else:
            tasks.others.append(task.offset)

    with hot(handle, partitions=2, workers=16, max_in_flight=200) as run:
        for partition in (0, 1):
            keys = [b"hot%d" % (n % 4) if n % 5 else b"s%d" % n for n in range(2000)]
            run.push(*[FakeRecord(n, key, b"v", partition) for n, key in enumerate(keys)])
        tasks.until_others(800)
        cold.set()
        run.settled(4000)
        assert run.stop().exit_code == 0
    assert len(ran) == 8
    assert all(offsets == sorted(offsets) for offsets in ran.values())
    assert sum(map(len, ran.values())) == 3200
    assert [run.commit_point(n) for n in (0, 1)] == [2000, 2000]


def test_a_thousand_hot_sessions_over_fifty_partitions_hold_back_no_other() -> None:
    """Each partition may have some hundred tasks in flight, and has twenty such sessions."""
    is_free = threading.Event()
    ran: dict[tuple[int, str], list[int]] = {}
    others: list[int] = []

    def handle(task: Task) -> None:
        if not task.session_id.startswith("hot"):
            others.append(task.offset)
        elif not is_free.is_set():
            raise Retry(after=1.0, counts=False)
        else:
            ran.setdefault((task.partition, task.session_id), []).append(task.offset)

    with RunningConsumer(handle, partitions=50, stats_interval=1.0) as run:
        for partition in range(50):
            keys = [b"hot%d" % (n % 25) if n % 5 else b"s%d" % n for n in range(500)]
            run.push(*[FakeRecord(n, key, b"v", partition) for n, key in enumerate(keys)])
        until(lambda: len(others) == 5000, lambda: f"{len(others)} tasks of others are done", 60)
        assert not ran
        run.until_event(ConsumerStats, lambda stats: stats.set_aside >= 9_000)
        is_free.set()
        run.settled(25_000)
        assert run.stop().exit_code == 0
    assert len(ran) == 1000
    assert all(offsets == sorted(offsets) for offsets in ran.values())
    assert sum(map(len, ran.values())) == 20_000
    assert {run.commit_point(n) for n in range(50)} == {500}
    # A partition's share is always free (`Admission`). So tasks that are read again may find memory filled by others.
    assert max(stats.in_flight for stats in run.of(ConsumerStats)) <= 10_000 * (1 + RESERVED)
    assert run.of(ConsumerStats)[-1].records_read_again <= 20 * 25_000, "more than once for each session"


def test_no_more_than_max_ahead_is_set_aside() -> None:
    tasks = Sessions()
    with hot(tasks.handle, max_ahead=100) as run:
        run.push(*interleaved(1000))
        run.until_event(ConsumerStats, lambda stats: stats.set_aside == 100)
        done = len(tasks.others)
        assert done < 250
        tasks.let(200)
        tasks.until_others(done + 150)
        tasks.let_all()
        run.settled(2000)
        assert run.stop().exit_code == 0
    assert max(stats.set_aside for stats in run.of(ConsumerStats)) <= 100
    assert tasks.hot == list(range(0, 2000, 2))


def test_nothing_is_set_aside_with_a_limit_of_none() -> None:
    tasks = Sessions()
    with hot(tasks.handle, max_ahead=0) as run:
        run.push(*interleaved(200))
        full = run.until_event(ConsumerStats, lambda stats: stats.in_flight >= 64)
        run.until_event(ConsumerStats, lambda stats: stats.uptime_seconds > full.uptime_seconds + 1.0)
        assert len(tasks.others) < 100
        tasks.let_all()
        run.settled(400)
        assert run.stop().exit_code == 0
    assert not run.of(ConsumerSetAside)


def test_what_retention_deletes_while_it_is_set_aside_is_reported_offset_by_offset() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as run:
        run.push(*interleaved(1000))
        tasks.until_others(1000)
        run.cluster.delete_below(PARTITION, 1001)
        tasks.let_all()
        run.settled(1000 + 500 - 1)
        until(lambda: run.commit_point() == 2000)
        assert run.stop().exit_code == 0
    missed = [span for event in run.of(ConsumerOffsetsMissed) for span in event.offsets]
    assert len(run.of(ConsumerOffsetsMissed)) == 1 or len(missed) <= 1000
    lost = sum(event.missed_offsets for event in run.of(ConsumerOffsetsMissed))
    assert lost + len(tasks.hot) == 1000
    assert run.consumer.pulse().settled == 2000 - lost
    assert run.of(ConsumerStats)[-1].missed_offsets == lost
    assert tasks.hot == sorted(tasks.hot)
    assert set(range(1002, 2000, 2)) <= set(tasks.hot)
    assert set(missed[:100]) <= {str(offset) for offset in range(0, 1001, 2)} - set(map(str, tasks.hot))


def test_what_compaction_deletes_while_it_is_set_aside_is_reported() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as run:
        run.push(*interleaved(500))
        tasks.until_others(500)
        with run.cluster.changed:
            log = run.cluster.logs[PARTITION]
            log.records = [record for record in log.records if record.offset() not in (600, 602, 998)]
        tasks.let_all()
        until(lambda: run.commit_point() == 1000)
        assert run.stop().exit_code == 0
    assert tasks.hot == [n for n in range(0, 1000, 2) if n not in (600, 602, 998)]
    missed = [span for event in run.of(ConsumerOffsetsMissed) for span in event.offsets]
    assert missed == ["600", "602", "998"]


def test_a_partition_is_given_up_with_what_is_set_aside_and_goes_on_elsewhere_where_it_was() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as run:
        run.push(*interleaved(500))
        tasks.until_others(500)
        revoked = run.source.revoke(PARTITION)
        tasks.let_all()
        assert revoked.wait(SECONDS)
        assert run.until_event(ConsumerRevoked).released + len(tasks.hot) == 500
        assert run.commit_point() == 2 * len(tasks.hot)
        run.source.assign(PARTITION)
        until(lambda: len(tasks.hot) == 500, "the rest of the hot session", SECONDS)
        until(lambda: run.commit_point() == 1000)
        assert run.stop().exit_code == 0
    assert tasks.hot == list(range(0, 1000, 2))
    assert not tasks.overlapped
    assert sorted(tasks.others) == list(range(1, 1000, 2))


def test_a_partition_that_leaves_and_comes_back_in_the_middle_of_a_sweep_loses_and_repeats_nothing() -> None:
    tasks = Sessions()
    in_the_middle, go_on = threading.Event(), threading.Event()

    class Halting(MemoryReader):
        """Delivers a few records, and then waits."""

        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            if not go_on.is_set() and in_the_middle.is_set():
                assert go_on.wait(SECONDS)
            records = super().take(20, seconds)
            if records:
                in_the_middle.set()
            return records

    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Halting(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(500))
        tasks.until_others(500)
        tasks.let(10)
        assert in_the_middle.wait(SECONDS)
        revoked = run.source.revoke(PARTITION)
        tasks.let_all()
        assert revoked.wait(SECONDS)
        run.source.assign(PARTITION)
        go_on.set()
        until(lambda: len(tasks.hot) == 500, "the rest of the hot session", SECONDS)
        until(lambda: run.commit_point() == 1000)
        assert run.stop().exit_code == 0
    assert tasks.hot == list(range(0, 1000, 2))
    assert not tasks.overlapped
    assert sorted(tasks.others) == list(range(1, 1000, 2))
    assert not run.of(ConsumerOffsetsMissed)


def test_a_stop_leaves_what_is_set_aside_to_the_next_consumer() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as first:
        first.push(*interleaved(500))
        tasks.until_others(500)
        tasks.let_all()
        tasks.until_hot(5)
        assert first.stop().exit_code == 0
    ran = list(tasks.hot)
    with hot(tasks.handle, cluster=first.cluster, stop_at_end=True) as second:
        assert second.wait().exit_code == 0
    assert tasks.hot[: len(ran)] == ran
    assert tasks.hot == list(range(0, 1000, 2))
    assert sorted(tasks.others) == list(range(1, 1000, 2))
    assert second.commit_point() == 1000


def test_offsets_that_go_back_forget_what_is_set_aside() -> None:
    tasks = Sessions()
    with hot(tasks.handle) as run:
        run.push(*interleaved(300))
        tasks.until_others(300)
        run.source.happens(lambda: run.cluster.create_topic("t", 1)).wait(SECONDS)
        rewound = run.until_event(ConsumerOffsetsRewound)
        assert rewound.discarded > 200
        tasks.let_all()
        before = len(tasks.hot)
        run.push(FakeRecord(0, b"new", b"v"), FakeRecord(1, HOT, b"v"))
        tasks.until_others(301)
        tasks.until_hot(before + 1)
        until(lambda: run.commit_point() == 2)
        assert run.stop().exit_code == 0


def test_a_reader_that_fails_is_replaced() -> None:
    tasks = Sessions()
    failures = [BrokerError("no broker"), BrokerError("no broker"), OSError("no descriptor")]

    class Failing(MemoryReader):
        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            if failures:
                raise failures.pop(0)
            return super().take(limit, seconds)

        def close(self) -> None:
            super().close()
            raise RuntimeError("closed already")

    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Failing(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        run.settled(600)
        assert run.stop().exit_code == 0
    assert [event.error for event in run.of(ConsumerRecallFailed)] == ["no broker", "no descriptor"]
    assert tasks.hot == list(range(0, 600, 2))


def test_a_read_that_fails_at_its_offset_is_repeated_later() -> None:
    """Its start is below the wanted offset, but the broker does not have that offset: the topic is being recreated."""
    tasks = Sessions()

    class Stray(MemoryReader):
        strayed = 0

        def begin(self, partition: Partition, offset: int) -> None:
            Stray.strayed += 1
            super().begin(partition, offset if Stray.strayed > 1 else 10**9)

    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Stray(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        run.settled(600)
        assert run.stop().exit_code == 0
    assert len(run.of(ConsumerRecallFailed)) == 1
    assert tasks.hot == list(range(0, 600, 2))
    assert not run.of(ConsumerOffsetsMissed)


def test_the_reader_is_opened_only_when_it_is_needed() -> None:
    opened = 0

    def open_reader() -> MemoryReader:
        nonlocal opened
        opened += 1
        return MemoryReader(run.cluster)

    before = set(threading.enumerate())
    with hot(lambda task: None) as run:
        run.source.open_reader = open_reader  # type: ignore[method-assign]
        run.push(*[FakeRecord(n, b"s%d" % n) for n in range(500)])
        run.settled(500)
        assert "recall" not in [thread.name for thread in set(threading.enumerate()) - before]
    assert opened == 0


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_results_of_a_hot_session_come_in_its_order(delivery: str) -> None:
    tasks = Sessions()

    def handle(task: Task) -> bytes:
        tasks.handle(task)
        return task.session_id.encode()

    with hot(handle, results_topic="results", delivery=delivery) as run:
        run.push(*interleaved(200))
        tasks.until_others(100)
        tasks.let_all()
        run.settled(400)
        assert run.stop().exit_code == 0
    results = run.cluster.records("results")
    assert len(results) == 400
    assert tasks.hot == list(range(0, 400, 2))


def test_batches_of_a_hot_session_are_filled_from_what_is_read_again() -> None:
    app = Processor()
    sizes: list[int] = []
    seen: list[int] = []
    begin = threading.Event()

    @app.batch("hot", size=8, wait=0.05)
    def hot_ones(tasks: list[Task]) -> None:
        assert begin.wait(SECONDS)
        sizes.append(len(tasks))
        seen.extend(task.offset for task in tasks)

    @app.default
    def other(task: Task) -> None:
        if task.offset == 999:
            begin.set()

    records = [
        FakeRecord(n, HOT, b"v", name="hot") if n % 2 == 0 else FakeRecord(n, b"s%d" % n, b"v") for n in range(1000)
    ]
    with hot(app) as run:
        run.push(*records)
        run.settled(1000)
        assert run.stop().exit_code == 0
    assert seen == list(range(0, 1000, 2))
    assert max(sizes) == 8


def test_a_hot_session_ends_where_the_topic_ended_at_the_start() -> None:
    cluster = ScriptedCluster()
    cluster.create_topic("t", 1)
    tasks = Sessions()
    cluster.append(*interleaved(500))
    with hot(tasks.handle, cluster=cluster, stop_at_end=True) as run:
        tasks.until_others(500)
        tasks.let_all()
        assert run.wait().exit_code == 0
    assert run.commit_point() == 1000
    assert tasks.hot == list(range(0, 1000, 2))

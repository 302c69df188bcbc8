"""Many tasks that are delayed for long, in a real consumer: they hold back no others, and begin in time and order."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from processor.engine.cancels import CancelTarget
from processor.engine.ledger import Ledger
from processor.engine.stretch import Stretch
from processor.errors import BrokerError
from processor.handlers.task import Task
from processor.runtime import cancel_search
from processor.runtime.desk import Delayed
from processor.runtime.log_pass import TAKE
from processor.telemetry.events import (
    ConsumerOffsetsMissed,
    ConsumerRecallFailed,
    ConsumerRevoked,
    ConsumerSetAside,
    ConsumerStats,
    PartitionStats,
    TaskCancelled,
)
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.reader import MemoryReader
from tests.runtime.fakes import PARTITION
from tests.runtime.running import RunningConsumer
from tests.runtime.test_cancellation import Commands
from tests.runtime.test_control import obeying
from tests.runtime.test_terms import HOUR, Clock, clock, milliseconds, record
from tests.support.until import until

__all__ = ["clock"]

SECONDS = 60.0


class Ran:
    """Records what ran, by session, and when."""

    def __init__(self) -> None:
        self.sessions: dict[str, list[int]] = defaultdict(list)
        self.at: dict[int, float] = {}
        self._lock = threading.Lock()

    def __call__(self, task: Task) -> bytes:
        with self._lock:
            self.sessions[task.session_id].append(task.offset)
            self.at[task.offset] = time.time()
        return b""

    def until(self, count: int) -> None:
        until(lambda: len(self.at) >= count, lambda: f"{len(self.at)} of {count} tasks", SECONDS)

    def is_in_order(self) -> bool:
        return all(offsets == sorted(set(offsets)) for offsets in self.sessions.values())


def delayed(count: int, seconds: float = HOUR) -> list[MemoryRecord]:
    """Sessions whose first task is delayed, and whose second one comes later."""
    due = milliseconds(seconds)
    first = [record(n, b"s%d" % n, not_before=due) for n in range(count)]
    return [*first, *(record(count + n, b"s%d" % n) for n in range(count))]


def others(count: int, first: int) -> list[MemoryRecord]:
    return [record(first + n, b"other%d" % n) for n in range(count)]


def far(app: Any, **options: Any) -> RunningConsumer:
    return RunningConsumer(app, **{"max_in_flight": 64, "stats_interval": 0.1, **options})


def test_delayed_tasks_beyond_the_in_flight_limit_delay_no_others(clock: Clock) -> None:
    ran = Ran()
    with far(ran) as run:
        run.push(*delayed(500), *others(200, 1000))
        ran.until(200)
        stats = run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 900)
        assert (stats.set_aside, stats.in_flight <= 100) == (0, True)
        assert HOUR - 60 < (stats.next_delayed_seconds or 0) <= HOUR
        partition = run.until_event(PartitionStats, lambda stats: stats.delayed_set_aside > 900)
        assert HOUR - 60 < (partition.next_set_aside_seconds or 0) <= HOUR
        assert partition.head is not None
        assert (partition.head.state, partition.head.offset, partition.set_aside_sessions) == ("delayed", 0, 0)
        assert min(ran.at) == 1000
        clock.shift = HOUR
        run.settled(1200)
        assert run.stop().exit_code == 0
    assert ran.is_in_order()
    assert run.commit_point() == 1200
    (began,) = run.of(ConsumerSetAside)
    assert (began.topic, began.partition, began.because) == (*PARTITION, "delays")
    last = run.of(ConsumerStats)[-1]
    assert (last.delayed_set_aside, last.next_delayed_seconds) == (0, None)
    assert last.records_read_again >= 900


def test_tasks_that_were_set_aside_begin_at_their_times(clock: Clock) -> None:
    """The clock is set to some seconds before the first of them, and runs from there."""
    ran, first = Ran(), milliseconds(HOUR)
    dues = [first + 5 * n for n in range(200)]
    with far(ran) as run:
        run.push(*[record(n, b"s%d" % n, not_before=due) for n, due in enumerate(dues)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 150)
        clock.shift = HOUR - 1.0
        run.settled(200)
        assert run.stop().exit_code == 0
    assert all(ran.at[n] + clock.shift >= due / 1000 for n, due in enumerate(dues))


def test_no_more_delayed_tasks_than_max_ahead_are_set_aside(clock: Clock) -> None:
    ran = Ran()
    with far(ran, max_ahead=100) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(500)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside == 100)
        clock.shift = HOUR
        run.settled(500)
        assert run.stop().exit_code == 0
    assert max(stats.delayed_set_aside for stats in run.of(ConsumerStats)) <= 100
    assert len(ran.at) == 500


def test_what_retention_and_compaction_delete_while_it_is_set_aside_is_reported(clock: Clock) -> None:
    ran = Ran()
    with far(ran) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(400)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 350)
        with run.cluster.changed:
            log = run.cluster.logs[PARTITION]
            log.records = [each for each in log.records if each.offset() not in (300, 302)]
        run.cluster.delete_below(PARTITION, 200)
        clock.shift = HOUR
        until(lambda: run.commit_point() == 400)
        assert run.stop().exit_code == 0
    lost = sum(event.missed_offsets for event in run.of(ConsumerOffsetsMissed))
    assert lost + len(ran.at) == 400
    assert set(range(200, 400)) - set(ran.at) == {300, 302}


def test_a_partition_is_given_up_with_what_is_set_aside_and_goes_on_where_it_was(clock: Clock) -> None:
    ran = Ran()
    with far(ran) as run:
        run.push(*delayed(300), *others(100, 600))
        ran.until(100)
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        assert run.source.revoke(PARTITION).wait(SECONDS)
        assert run.until_event(ConsumerRevoked).released == 600
        run.source.assign(PARTITION)
        run.until_event(ConsumerStats, lambda stats: stats.skipped == 100 and stats.delayed_set_aside > 500)
        clock.shift = HOUR
        ran.until(700)
        until(lambda: run.commit_point() == 700)
        assert run.stop().exit_code == 0
    assert ran.is_in_order()


def test_a_stop_leaves_what_is_set_aside_to_the_next_consumer(clock: Clock) -> None:
    ran = Ran()
    with far(ran) as first:
        first.push(*delayed(300), *others(100, 600))
        ran.until(100)
        first.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        assert first.stop().exit_code == 0
    assert first.commit_point() == 0
    clock.shift = HOUR
    with far(ran, cluster=first.cluster, stop_at_end=True) as second:
        assert second.wait().exit_code == 0
    assert ran.is_in_order()
    assert (len(ran.at), second.commit_point()) == (700, 700)


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_results_of_delayed_sessions_come_once_and_in_their_order(clock: Clock, delivery: str) -> None:
    ran = Ran()
    with far(ran, results_topic="results", delivery=delivery) as run:
        run.push(*delayed(200), *others(50, 400))
        ran.until(50)
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 300)
        clock.shift = HOUR
        run.settled(450)
        assert run.stop().exit_code == 0
    assert ran.is_in_order()
    assert len(run.cluster.records("results")) == 450


def test_a_task_that_expires_while_it_is_set_aside_is_a_dead_letter_at_its_time(clock: Clock) -> None:
    ran, soon = Ran(), milliseconds(HOUR / 2)
    with far(ran, max_in_flight=20, stats_interval=0.1) as run:
        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR), expires=soon) for n in range(100)])
        run.push(record(100, b"s7"))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 80)
        clock.shift = HOUR / 2 + 1
        run.settled(101)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerStats)[-1].expired == 100
    assert list(ran.at) == [100]


def settled_offsets(run: RunningConsumer) -> list[int]:
    return sorted(event.offset for event in run.of(TaskCancelled))


def test_a_session_that_is_cancelled_while_it_is_set_aside_is_settled_at_once(clock: Clock) -> None:
    """Its time is far away, and other tasks of the partition stay set aside."""
    ran, feed = Ran(), Commands()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*delayed(300))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        feed.cancel(CancelTarget("session", "s200"), since=milliseconds(HOUR))
        until(lambda: settled_offsets(run) == [200, 500], lambda: settled_offsets(run), SECONDS)
        assert not ran.at
        clock.shift = HOUR
        run.settled(600)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerStats)[-1].cancelled == 2
    assert sorted(ran.at) == [n for n in range(600) if n not in (200, 500)]
    assert ran.is_in_order()


def test_a_task_that_is_cancelled_by_its_id_while_it_is_set_aside_is_settled_at_once(clock: Clock) -> None:
    ran, feed = Ran(), Commands()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*[record(n, b"s%d" % n if n % 2 else None, not_before=milliseconds(HOUR)) for n in range(300)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 250)
        feed.cancel(CancelTarget("task", "t-0-201"))
        feed.cancel(CancelTarget("task", "t-0-202"))
        until(lambda: settled_offsets(run) == [201, 202], lambda: settled_offsets(run), SECONDS)
        assert not ran.at
        assert run.stop().exit_code == 0


def test_a_cancelled_task_behind_one_of_its_session_that_is_not_settles_when_its_session_comes_to_it(
    clock: Clock,
) -> None:
    ran, feed = Ran(), Commands()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*delayed(300))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        feed.cancel(CancelTarget("task", "t-0-500"))
        feed.cancel(CancelTarget("task", "t-0-250"))
        until(lambda: settled_offsets(run) == [250], lambda: settled_offsets(run), SECONDS)
        clock.shift = HOUR
        run.settled(600)
        assert run.stop().exit_code == 0
    assert settled_offsets(run) == [250, 500]
    assert ran.is_in_order()


def test_a_task_of_a_cancelled_session_that_is_fetched_later_and_set_aside_at_once_is_settled(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was produced before the cancellation. No worker checks it, since its session had tasks set aside."""
    monkeypatch.setattr(cancel_search, "LOOK_SECONDS", 0.05)
    ran, feed, records = Ran(), Commands(), delayed(300)
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*records[:300])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 250)
        feed.cancel(CancelTarget("session", "s200"), since=milliseconds(HOUR))
        until(lambda: settled_offsets(run) == [200], lambda: settled_offsets(run), SECONDS)
        run.push(*records[300:])
        until(lambda: settled_offsets(run) == [200, 500], lambda: settled_offsets(run), SECONDS)
        assert not ran.at
        assert run.stop().exit_code == 0


def test_a_search_for_cancelled_tasks_that_fails_is_logged_once_and_made_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_search, "AGAIN_SECONDS", 0.01)
    ran, feed, failures = Ran(), Commands(), [BrokerError("no broker") for _ in range(3)]
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        open_reader = run.source.open_reader

        def failing() -> MemoryReader:
            if failures:
                raise failures.pop()
            return open_reader()

        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(300)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 250)
        monkeypatch.setattr(run.source, "open_reader", failing)
        feed.cancel(CancelTarget("session", "s200"), since=milliseconds(HOUR))
        until(lambda: settled_offsets(run) == [200], lambda: settled_offsets(run), SECONDS)
        assert run.stop().exit_code == 0
    (failed,) = run.of(ConsumerRecallFailed)
    assert (failed.topic, failed.partition) == PARTITION
    assert failed.error == "cancelled tasks cannot be looked up: no broker"


def test_an_internal_error_before_a_search_is_logged_and_the_search_is_made_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the thread, no later search would be made."""
    monkeypatch.setattr(cancel_search, "AGAIN_SECONDS", 0.01)
    ran, feed, failures = Ran(), Commands(), [RuntimeError("a fault") for _ in range(3)]
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        delayed_tasks = run.consumer._desk.set_aside.delayed

        def failing() -> list[Delayed]:
            if failures:
                raise failures.pop()
            return delayed_tasks()

        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(300)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 250)
        monkeypatch.setattr(run.consumer._desk.set_aside, "delayed", failing)
        feed.cancel(CancelTarget("session", "s200"), since=milliseconds(HOUR))
        until(lambda: settled_offsets(run) == [200], lambda: settled_offsets(run), SECONDS)
        assert run.stop().exit_code == 0
    (failed,) = run.of(ConsumerRecallFailed)
    assert (failed.topic, failed.partition) == (None, None)
    assert failed.error == "cancelled tasks cannot be looked up: builtins.RuntimeError: a fault"


def test_a_search_takes_a_fifth_of_a_core_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of this test, each record takes a second to check."""
    now, rests, read = [0.0], list[float](), [[MemoryRecord(PARTITION, n, b"s", b"")] for n in range(10)]
    monkeypatch.setattr(cancel_search, "monotonic", lambda: now[0])
    monkeypatch.setattr(cancel_search, "records_between", lambda *_: iter(read))
    run = RunningConsumer(lambda _: None)
    search = run.consumer._cancel_search
    monkeypatch.setattr(search._closing, "wait", rests.append)
    delayed = Delayed(PARTITION, Ledger(0), [Stretch(range(10), 0, 10)])
    for _ in search._records(run.source.open_reader(), delayed, 0):
        now[0] += 1.0
    assert rests == [4.0] * 10
    assert run.consumer._desk.counts.records_read_again == 10


def test_a_partition_that_is_given_up_is_not_kept_in_memory_by_the_search(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_search, "LOOK_SECONDS", 0.05)
    feed = Commands()
    with obeying(lambda task: None, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*delayed(300))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        feed.cancel(CancelTarget("session", "s200"), since=milliseconds(HOUR))
        until(lambda: settled_offsets(run) == [200, 500], lambda: settled_offsets(run), SECONDS)
        search = run.consumer._cancel_search
        until(lambda: search._searched, seconds=SECONDS)
        assert run.source.revoke(PARTITION).wait(SECONDS)
        until(lambda: not search._searched and not search._dues, seconds=10.0)
        assert run.stop().exit_code == 0


@pytest.mark.parametrize("event", ["drain", "close"])
def test_a_search_ends_once_its_partition_is_revoked_or_lost(event: str) -> None:
    run = RunningConsumer(lambda _: None)
    run.push(*[record(n, b"s") for n in range(6 * TAKE)])
    offsets = [*range(2 * TAKE), *range(5 * TAKE, 6 * TAKE)]  # too far apart for one pass over the log
    delayed = Delayed(PARTITION, Ledger(0), [Stretch(offsets, 0, len(offsets))])
    records = run.consumer._cancel_search._records(run.source.open_reader(), delayed, 0)
    assert next(records).offset() == 0
    delayed.ledger.transition(event)
    assert [each.offset() for each in records] == list(range(1, TAKE))  # what was read already


def test_a_search_that_fails_ends_with_the_cancellation(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_search, "AGAIN_SECONDS", 0.01)
    ran, feed, tries = Ran(), Commands(), list[str]()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        open_reader = run.source.open_reader

        def failing() -> MemoryReader:
            tries.append(threading.current_thread().name)
            if tries[-1] == "cancel-search":
                raise BrokerError("no broker")
            return open_reader()

        run.push(*[record(n, b"s%d" % n, not_before=milliseconds(HOUR)) for n in range(300)])
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 250)
        monkeypatch.setattr(run.source, "open_reader", failing)
        feed.cancel(CancelTarget("task", "t-0-200"))
        until(lambda: tries.count("cancel-search") > 3, lambda: tries, SECONDS)
        feed.withdraw(CancelTarget("task", "t-0-200"))
        made, reports = tries.count("cancel-search"), len(run.of(ConsumerStats))
        until(lambda: len(run.of(ConsumerStats)) > reports + 3, seconds=SECONDS)  # thirty times the pause
        assert run.stop().exit_code == 0
    assert tries.count("cancel-search") <= made + 1


def test_a_session_goes_on_at_once_after_its_delayed_task_is_cancelled_while_it_is_set_aside(clock: Clock) -> None:
    """As it does if the delayed task is in memory: the tasks behind it have no delay of their own."""
    ran, feed = Ran(), Commands()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*delayed(300))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        feed.cancel(CancelTarget("task", "t-0-200"))
        until(lambda: settled_offsets(run) == [200], lambda: settled_offsets(run), SECONDS)
        until(lambda: list(ran.at) == [500], lambda: dict(ran.at), 8.0)
        assert run.stop().exit_code == 0


def test_a_task_that_comes_after_its_whole_session_was_cancelled_while_set_aside_runs_at_once(clock: Clock) -> None:
    ran, feed = Ran(), Commands()
    with obeying(ran, feed, max_in_flight=64, stats_interval=0.1) as run:
        run.push(*delayed(300))
        run.until_event(ConsumerStats, lambda stats: stats.delayed_set_aside > 500)
        feed.cancel(CancelTarget("task", "t-0-200"))
        feed.cancel(CancelTarget("task", "t-0-500"))
        until(lambda: settled_offsets(run) == [200, 500], lambda: settled_offsets(run), SECONDS)
        run.push(record(600, b"s200"))
        until(lambda: list(ran.at) == [600], lambda: dict(ran.at), 8.0)
        assert run.stop().exit_code == 0

"""Failures while set-aside tasks are read again: each is logged, ends, and affects only its partition."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from processor.errors import BrokerError
from processor.runtime import recall
from processor.runtime.desk.set_aside import SetAside
from processor.runtime.ports import End, Lost, Partition, Record
from processor.telemetry.events import ConsumerOffsetsMissed, ConsumerRecallFailed
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.reader import END, MemoryReader
from tests.runtime.fakes import PARTITION
from tests.runtime.test_hot_sessions import SECONDS, Sessions, hot, interleaved
from tests.support.until import until

OTHER = PARTITION._replace(number=1)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "AGAIN_SECONDS", 0.02)


def test_a_partition_that_cannot_be_read_holds_back_no_other_one() -> None:
    tasks, may_read, opened = Sessions(), threading.Event(), list[MemoryReader]()

    class Denied(MemoryReader):
        """Reports an error instead of the records of a partition, until the client may read it."""

        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            records = super().take(limit, seconds)
            if may_read.is_set():
                return records
            denied = [MemoryRecord(OTHER, record.offset(), error="denied") for record in records if is_denied(record)]
            return [*denied, *(record for record in records if not is_denied(record))]

        def interpret(self, record: Record) -> End | Lost | None:
            if record.error() == "denied":
                raise BrokerError("access denied")
            return super().interpret(record)

    def is_denied(record: Record) -> bool:
        return record.partition() == OTHER.number

    def open_reader() -> MemoryReader:
        opened.append(Denied(run.cluster))
        return opened[-1]

    with hot(tasks.handle, partitions=2) as run:
        run.source.open_reader = open_reader  # type: ignore[method-assign]
        run.push(*interleaved(300), *interleaved(300, partition=1))
        tasks.until_others(600)
        tasks.let_all()
        until(lambda: run.commit_point() == 600, "the partition that can be read", SECONDS)
        failed = run.until_event(ConsumerRecallFailed)
        assert (failed.topic, failed.partition, failed.error) == (*OTHER, "access denied")
        assert (run.commit_point(1) or 0) < 600
        may_read.set()
        until(lambda: run.commit_point(1) == 600, "the other partition", SECONDS)
        assert run.stop().exit_code == 0
    assert {event.partition for event in run.of(ConsumerRecallFailed)} == {1}
    assert not run.of(ConsumerOffsetsMissed)
    assert sorted(tasks.hot) == sorted([*range(0, 600, 2), *range(0, 600, 2)])


class Short(MemoryReader):
    """A reader of a log that ends at offset 100 while `is_short` is set."""

    is_short = threading.Event()

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        records = super().take(limit, seconds)
        kept = [record for record in records if record.offset() < 100]
        if len(kept) == len(records) or not self.is_short.is_set():
            return records
        return [*kept, MemoryRecord(PARTITION, 100, error=END)]


def test_a_log_that_briefly_ends_below_a_task_has_not_lost_it() -> None:
    """As after the election of a leader whose followers have not caught up."""
    tasks = Sessions()
    Short.is_short.set()
    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Short(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        failed = run.until_event(ConsumerRecallFailed)
        assert failed.error == "t[0] has no offset 100, which was set aside: its log ends at 100"
        Short.is_short.clear()
        until(lambda: run.commit_point() == 600, "all tasks", SECONDS)
        assert run.stop().exit_code == 0
    assert tasks.hot == list(range(0, 600, 2))
    assert not run.of(ConsumerOffsetsMissed)


def test_tasks_that_a_log_has_lost_at_its_end_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by an unclean election: without a record or a reset, the pass would never end."""
    monkeypatch.setattr(recall, "GONE_SECONDS", 0.3)
    tasks = Sessions()
    Short.is_short.set()
    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Short(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        until(lambda: run.commit_point() == 600, "what is left", SECONDS)
        assert run.stop().exit_code == 0
    missed = sum(event.missed_offsets for event in run.of(ConsumerOffsetsMissed))
    assert missed + len(tasks.hot) == 300
    assert set(range(0, 100, 2)) <= set(tasks.hot)
    assert missed >= 100
    assert run.of(ConsumerRecallFailed)


def test_the_grace_period_of_a_log_that_is_too_short_restarts_after_it_was_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recall, "GONE_SECONDS", 0.01)
    monkeypatch.setattr(recall, "SHORT_SECONDS", -1.0)
    tasks, tries = Sessions(), list[int]()
    Short.is_short.set()

    class Counting(Short):
        def begin(self, partition: Partition, offset: int) -> None:
            super().begin(partition, offset)
            tries.append(offset)

    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Counting(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        until(lambda: tries.count(100) >= 4, lambda: tries, SECONDS)
        Short.is_short.clear()
        until(lambda: run.commit_point() == 600, "all tasks", SECONDS)
        assert run.stop().exit_code == 0
    assert not run.of(ConsumerOffsetsMissed)


def test_a_partition_of_which_nothing_is_delivered_is_logged_and_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "STALL_SECONDS", 0.2)
    tasks = Sessions()

    class Silent(MemoryReader):
        opened = 0

        def __init__(self) -> None:
            super().__init__(run.cluster)
            Silent.opened += 1
            self._is_silent = Silent.opened == 1

        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            return super().take(0 if self._is_silent else limit, seconds)

    with hot(tasks.handle) as run:
        run.source.open_reader = Silent  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        until(lambda: run.commit_point() == 600, "all tasks", SECONDS)
        assert run.stop().exit_code == 0
    assert run.of(ConsumerRecallFailed)[0].error.startswith("no record of t[0] was delivered")
    assert tasks.hot == list(range(0, 600, 2))


def test_a_partition_that_is_given_up_is_not_read_further_although_nothing_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the client would be polled, and stay open, forever."""
    monkeypatch.setattr(recall, "IDLE_SECONDS", 0.05)
    tasks, is_reading, is_closed = Sessions(), threading.Event(), threading.Event()

    class Silent(MemoryReader):
        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            is_reading.set()
            return super().take(0, seconds)

        def close(self) -> None:
            super().close()
            is_closed.set()

    with hot(tasks.handle) as run:
        run.source.open_reader = lambda: Silent(run.cluster)  # type: ignore[method-assign]
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let(10)
        assert is_reading.wait(SECONDS)
        revoked = run.source.revoke(PARTITION)
        tasks.let_all()
        assert revoked.wait(SECONDS)
        assert is_closed.wait(SECONDS)
        assert run.stop().exit_code == 0
    assert not run.of(ConsumerRecallFailed)


def test_what_a_failure_cut_off_after_it_was_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, failures = Sessions(), [RuntimeError("a fault")]
    read_again = SetAside.read_again

    def failing(self: SetAside, *args: object) -> bool:
        if failures:
            raise failures.pop()
        return read_again(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SetAside, "read_again", failing)
    with hot(tasks.handle) as run:
        run.push(*interleaved(300))
        tasks.until_others(300)
        tasks.let_all()
        until(lambda: run.commit_point() == 600, "all tasks", SECONDS)
        assert run.stop().exit_code == 0
    assert [event.error for event in run.of(ConsumerRecallFailed)] == ["a fault"]
    assert tasks.hot == list(range(0, 600, 2))

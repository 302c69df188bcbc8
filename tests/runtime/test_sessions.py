"""Order within a session, and independence between sessions, with real threads."""

from __future__ import annotations

import threading
from collections import defaultdict

from processor.handlers.task import Task
from processor.runtime.desk import Desk
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def records(count: int, sessions: int, first: int = 0) -> list[FakeRecord]:
    return [FakeRecord(first + n, b"s%d" % (n % sessions)) for n in range(count)]


def test_each_session_keeps_its_order_and_never_overlaps_on_eight_workers() -> None:
    ran: dict[str, list[int]] = defaultdict(list)
    inside: set[str] = set()
    overlaps: list[str] = []

    def handler(task: Task) -> None:
        session = task.session_id
        if session in inside:
            overlaps.append(session)
        inside.add(session)
        ran[session].append(task.offset)
        inside.discard(session)

    with RunningConsumer(handler) as run:
        run.push(*records(20_000, 37))
        run.settled(20_000)
        assert run.stop().exit_code == 0
    assert not overlaps
    assert sum(map(len, ran.values())) == 20_000
    assert all(offsets == sorted(offsets) for offsets in ran.values())
    assert run.commit_point() == 20_000


def test_a_retry_parks_only_its_own_session() -> None:
    seen: list[tuple[str, int, int]] = []

    def handler(task: Task) -> None:
        seen.append((task.session_id, task.offset, task.attempt))
        if task.offset == 0 and task.attempt < 3:
            raise ValueError("not yet")

    with RunningConsumer(handler, workers=1, backoff=2.0, backoff_max=2.0) as run:
        run.push(FakeRecord(0, b"bad"), FakeRecord(1, b"bad"), *[FakeRecord(n, b"good") for n in range(2, 40)])
        until(lambda: sum(session == "good" for session, *_ in seen) == 38)
        assert [entry for entry in seen if entry[0] == "bad"] == [("bad", 0, 1)], "the others waited for the retry"
        run.settled(40)
    assert [entry[1:] for entry in seen if entry[0] == "bad"] == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_a_slow_task_does_not_hold_back_the_lanes_that_were_lent_with_it() -> None:
    go_on, slow_began = threading.Event(), threading.Event()
    done: set[int] = set()

    def handler(task: Task) -> None:
        if task.payload == b"slow":
            slow_began.set()
            go_on.wait(30)
        done.add(task.offset)

    with RunningConsumer(handler, workers=2) as run:
        run.push(*records(5_000, 50))  # so fast that batches grow
        run.settled(5_000)
        run.push(FakeRecord(5_000, b"slow", b"slow"), *records(100, 100, first=5_001))
        until(slow_began.is_set)
        until(lambda: done >= set(range(5_001, 5_101)))
        assert 5_000 not in done
        go_on.set()
        run.settled(5_101)


def test_the_commit_point_never_passes_a_running_task() -> None:
    go_on = threading.Event()
    done: set[int] = set()

    def handler(task: Task) -> None:
        if task.offset == 3:
            go_on.wait(30)
        done.add(task.offset)

    with RunningConsumer(handler) as run:
        run.push(*[FakeRecord(n, b"k%d" % n) for n in range(20)])
        until(lambda: (now := run.cluster.committed.get(PARTITION)) and now.offset == 3 and "p2:" in now.metadata)
        run.until_settled(19)
        assert run.commit_point() == 3
        go_on.set()
        until(lambda: run.commit_point() == 20)


def test_after_a_reassignment_a_session_waits_for_the_handler_of_the_first_assignment() -> None:
    """After a revoke and a new assignment, the same records come again while the old handler still runs."""
    go_on = threading.Event()
    log: list[str] = []

    def handler(task: Task) -> None:
        log.append(f"begin {task.session_id}")
        if task.session_id == "old" and log.count("begin old") == 1:
            go_on.wait(30)
        log.append(f"end {task.session_id}")

    with RunningConsumer(handler, drain_timeout=0.1) as run:
        run.push(FakeRecord(0, b"old"))
        until(lambda: "begin old" in log)
        assert run.source.revoke(PARTITION).wait(60)
        assert run.source.assign(PARTITION).wait(60)
        run.push(FakeRecord(1, b"new"))
        until(lambda: "end new" in log)
        assert log.count("begin old") == 1
        go_on.set()
        until(lambda: run.commit_point() == 2)
        assert run.stop().exit_code == 0
    assert [line for line in log if line.endswith("old")] == ["begin old", "end old"] * 2


def test_a_lost_partition_commits_nothing_and_its_late_completion_changes_nothing() -> None:
    go_on = threading.Event()
    begun = threading.Event()

    def handler(task: Task) -> None:
        begun.set()
        go_on.wait(30)

    with RunningConsumer(handler) as run:
        run.push(FakeRecord(0, b"s"))
        until(begun.is_set)
        assert run.source.lose(PARTITION).wait(60)
        go_on.set()
        until(lambda: run.consumer.pulse().running == 0)
        assert run.stop().exit_code == 0
    assert run.commit_point() in (None, 0)


def test_a_closing_desk_releases_a_waiting_borrower() -> None:
    with RunningConsumer(lambda task: None, workers=4) as run:
        run.push(FakeRecord(0, b"s"))
        run.settled(1)
        run.stop()
        assert isinstance(run.consumer._desk, Desk)
        for worker in run.consumer._crew.members:
            worker.thread.join(60)  # type: ignore[union-attr]
            assert not worker.thread.is_alive()  # type: ignore[union-attr]

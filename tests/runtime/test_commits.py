"""Commits that the client answers late, or never; and what is committed when."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest

from processor.engine.skipmap import decode
from processor.handlers.task import Task
from processor.runtime import committer
from processor.runtime.ports import Commit
from processor.telemetry.events import ConsumerCommitFailed, ConsumerSkipMapRefused
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedCluster
from tests.support.until import until


def ignore(task: Task) -> None:
    pass


def records(first: int, end: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"s") for offset in range(first, end)]


def keep_one(run: RunningConsumer) -> None:
    """The client keeps the commit of offset 10 back, to send it once it knows its coordinator again."""

    def is_first_of_ten(commits: Sequence[Commit]) -> bool:
        return not run.source.kept and commits[0].offset == 10

    run.source.keeps = is_first_of_ten


def test_a_commit_that_is_never_answered_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more comes in the partition: without the second try its lag would stay."""
    monkeypatch.setattr(committer, "UNANSWERED_SECONDS", 0.05)
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.commit_point() == 10)
        assert run.source.kept


def test_a_commit_that_gets_to_the_group_behind_a_later_one_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group went back: nothing more comes in the partition, and the later one has to be made again."""
    monkeypatch.setattr(committer, "UNANSWERED_SECONDS", 0.05)
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        run.push(*records(10, 20))
        until(lambda: run.commit_point() == 20)
        assert run.source.send_kept().wait(10)
        until(lambda: run.commit_point() == 20)


def test_a_stop_waits_for_a_commit_that_is_under_way_to_have_the_last_word() -> None:
    """Behind the last commit it would take the group back, and what is done would run again after a clean stop."""
    with RunningConsumer(ignore) as run:
        keep_one(run)
        run.push(*records(0, 10))
        until(lambda: run.source.kept)
        run.push(*records(10, 20))
        run.settled(20)
        run.consumer.request_stop("the test is over")
        until(lambda: run.commit_point() == 20)
        run.source.send_kept()
        assert run.wait().exit_code == 0
        assert run.commit_point() == 20


def group_that_takes(characters: int) -> ScriptedCluster:
    """A group whose brokers take so many characters of metadata."""
    cluster = ScriptedCluster()
    cluster.create_topic(PARTITION.topic, 1)
    cluster.most_metadata = characters
    return cluster


@pytest.mark.parametrize("most", [60, 0])
def test_a_skip_map_that_the_brokers_refuse_is_made_shorter_until_they_take_it(most: int) -> None:
    go_on, ahead = threading.Event(), set(random.Random(1).sample(range(1, 200), 90))

    def handler(task: Task) -> None:
        if task.session_id == "stuck":
            go_on.wait(30)

    with RunningConsumer(handler, cluster=group_that_takes(most)) as run:
        run.push(*[FakeRecord(n, b"k%d" % n if n in ahead else b"stuck") for n in range(200)])
        until(lambda: run.of(ConsumerSkipMapRefused))
        until(lambda: run.commit_point() == 0 and bool(run.cluster.committed[PARTITION].metadata) == bool(most))
        metadata = run.cluster.committed[PARTITION].metadata
        assert len(metadata) <= most
        known = decode(metadata, 0)
        assert bool(known) == bool(most)
        assert {offset for low, high in known for offset in range(low, high)} <= ahead
        go_on.set()
        run.settled(200)
        assert run.stop().exit_code == 0
    assert run.commit_point() == 200
    assert len(run.of(ConsumerSkipMapRefused)) == 1
    assert not run.of(ConsumerCommitFailed)


def test_a_last_commit_is_made_with_a_shorter_map_at_once() -> None:
    """The stop does not end with a failure for what is only a map."""
    go_on = threading.Event()

    def handler(task: Task) -> None:
        if task.offset == 0:
            go_on.wait(30)

    with RunningConsumer(handler, cluster=group_that_takes(60), commit_interval=1000.0, drain_timeout=0.0) as run:
        run.push(*[FakeRecord(n, b"k%d" % n) for n in range(0, 200, 2)])
        until(lambda: run.consumer._desk.running == 1 and run.consumer._desk.waiting == 0)
        assert run.stop().exit_code == 3  # one task still ran
        go_on.set()
    assert run.commit_point() == 0
    assert decode(run.cluster.committed[PARTITION].metadata, 0) == [(1, 199)]

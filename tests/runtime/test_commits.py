"""Commits that the client answers late, or never; and what is committed when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processor.handlers.task import Task
from processor.runtime import committer
from processor.runtime.ports import Commit
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer
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

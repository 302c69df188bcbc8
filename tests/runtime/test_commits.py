"""Commits that the client never answers."""

from __future__ import annotations

from collections.abc import Sequence

from processor.runtime.ports import Commit
from processor.task import Task
from tests.runtime.fakes import FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.until import until


def ignore(task: Task) -> None:
    pass


def test_a_commit_that_is_never_answered_is_made_again() -> None:
    """Nothing more comes in the partition: without the second try its lag would stay."""
    swallowed: list[Sequence[Commit]] = []
    with RunningConsumer(ignore) as run:
        answer = run.source.commit

        def swallow(commits: Sequence[Commit]) -> None:
            if not swallowed and commits[0].offset == 10:
                swallowed.append(commits)
            else:
                answer(commits)

        run.source.commit = swallow  # type: ignore[method-assign]
        run.push(*[FakeRecord(offset, b"s") for offset in range(10)])
        run.settled(10)
        until(lambda: run.commit_point() == 10)
        assert swallowed

"""A consumer that cannot be sure of its partitions: it begins no task until the group has answered it.

Time itself is what is tested here: how long the group did not answer, how long a process slept. So a few sleeps are
left: what a task takes, and what a thread sleeps through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from processor.engine import lease
from processor.engine.lease import LEASE_SHARE
from processor.handlers.task import Task
from processor.telemetry.events import ConsumerLeaseLapsed, ConsumerLeaseRenewed
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until

SESSION_SECONDS = 3.0
ASLEEP_SECONDS = 1.5
TASK_SECONDS = 0.01


class LeasedConsumer(RunningConsumer):
    """A consumer whose tasks take a hundredth of a second. It notes which of them have begun."""

    def __init__(self, kind: str) -> None:
        self.begun: list[int] = []
        handlers: dict[str, Any] = {"plain": self._work, "async": self._work_async}
        super().__init__(handlers[kind])

    def _work(self, task: Task) -> None:
        self.begun.append(task.offset)
        time.sleep(TASK_SECONDS)

    async def _work_async(self, task: Task) -> None:
        self.begun.append(task.offset)
        await asyncio.sleep(TASK_SECONDS)


@pytest.fixture(params=["plain", "async"])
def consumer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeasedConsumer]:
    monkeypatch.setattr(ScriptedSource, "session_seconds", SESSION_SECONDS)
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", ASLEEP_SECONDS)
    with LeasedConsumer(request.param) as running:
        yield running


def sessions(first: int, count: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"%d" % (offset % 5)) for offset in range(first, first + count)]


def test_a_member_without_an_answer_for_most_of_a_session_starts_no_task_until_it_gets_one(
    consumer: LeasedConsumer,
) -> None:
    consumer.source.refusal = "the coordinator is away"
    consumer.push(*sessions(0, 1500))
    lapsed = consumer.until_event(ConsumerLeaseLapsed)
    assert lapsed.reason == "unanswered"
    assert lapsed.seconds >= SESSION_SECONDS * LEASE_SHARE
    assert lapsed.waiting > 0
    before, now = len(consumer.begun), time.monotonic()
    assert 0 < before < 1500
    until(lambda: consumer.consumer.pulse().last_loop_at > now + 30 * TASK_SECONDS)  # hundreds could begin in it
    assert len(consumer.begun) <= before + 8  # the tasks that were about to begin
    consumer.source.refusal = None
    consumer.settled(1500)
    assert sorted(consumer.begun) == list(range(1500))
    assert len(consumer.of(ConsumerLeaseLapsed)) == len(consumer.of(ConsumerLeaseRenewed)) == 1


def test_a_process_that_was_suspended_starts_no_task_before_the_group_has_answered(consumer: LeasedConsumer) -> None:
    """The poller's thread sleeps, as in a process that is paused, and workers wake before it."""

    def sleep() -> None:
        consumer.source.refusal = "not a member"
        time.sleep(2 * ASLEEP_SECONDS)

    consumer.push(*sessions(0, 1500))
    until(lambda: consumer.begun)
    assert consumer.source.happens(sleep).wait(60)
    before = len(consumer.begun)
    lapsed = consumer.until_event(ConsumerLeaseLapsed)
    assert lapsed.reason == "asleep"
    assert lapsed.seconds > ASLEEP_SECONDS
    assert len(consumer.begun) == before
    consumer.source.refusal = None
    consumer.settled(1500)
    assert len(consumer.of(ConsumerLeaseLapsed)) == 1


def test_a_member_with_nothing_to_commit_renews_its_lease_by_repeating_the_committed_offset(
    consumer: LeasedConsumer,
) -> None:
    """It stays a proven member without work, so that the next task begins at once."""
    consumer.push(*sessions(0, 10))
    consumer.settled(10)
    until(lambda: consumer.commit_point() == 10)
    accepted = consumer.cluster.committed.pop(PARTITION)
    until(lambda: consumer.cluster.committed.get(PARTITION) == accepted)


def test_a_process_that_lost_its_partitions_while_suspended_starts_none_of_their_tasks(
    consumer: LeasedConsumer,
) -> None:
    consumer.push(*sessions(0, 1500))
    until(lambda: consumer.begun)
    seen: list[int] = []

    def sleep_and_lose() -> None:
        time.sleep(2 * ASLEEP_SECONDS)
        seen.append(len(consumer.begun))
        consumer.source.refusal = "not a member"
        time.sleep(20 * TASK_SECONDS)  # awake, but unaware of its loss: workers would begin tasks
        consumer.cluster.withheld.add(PARTITION)
        consumer.cluster.give_up(consumer.source)

    assert consumer.source.happens(sleep_and_lose).wait(60)
    consumer.source.refusal = None
    assert len(consumer.begun) == seen[0]

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
from processor.runtime import lease_keeper
from processor.telemetry.events import ConsumerLeaseLapsed, ConsumerLeaseRenewed
from tests.runtime.fakes import PARTITION, FakeRecord
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until

SESSION_SECONDS = 3.0
ASLEEP_SECONDS = 1.5
TASK_SECONDS = 0.01
NEVER = 3600.0
"""Seconds: neither a session of this length ends during a test, nor does a thread sleep for so long."""


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
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(kind: str, monkeypatch: pytest.MonkeyPatch) -> LeasedConsumer:
    """A consumer with a short session that a test starts: what the test scripts holds from the first moment on."""
    monkeypatch.setattr(ScriptedSource, "session_seconds", SESSION_SECONDS)
    return LeasedConsumer(kind)


@pytest.fixture
def consumer(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeasedConsumer]:
    """A consumer that runs. Only its own sleep voids its lease."""
    monkeypatch.setattr(ScriptedSource, "session_seconds", NEVER)
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", ASLEEP_SECONDS)
    with LeasedConsumer(kind) as running:
        yield running


def lapses_before_the_first_renewal(consumer: LeasedConsumer) -> int:
    """Return how often the lease has lapsed until it was renewed. Later, a machine that stands still voids it, too."""
    events = [event for event in consumer.events if isinstance(event, ConsumerLeaseLapsed | ConsumerLeaseRenewed)]
    return [type(event) for event in events].index(ConsumerLeaseRenewed)


def sessions(first: int, count: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"%d" % (offset % 5)) for offset in range(first, first + count)]


def test_a_member_without_an_answer_for_most_of_a_session_starts_no_task_until_it_gets_one(
    made: LeasedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", NEVER)
    made.source.refusal = "the coordinator is away"
    made.push(*sessions(0, 1500))
    with made as consumer:
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
    assert lapses_before_the_first_renewal(consumer) == 1


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
    assert lapses_before_the_first_renewal(consumer) == 1


def test_a_member_with_nothing_to_commit_renews_its_lease_by_repeating_the_committed_offset(
    made: LeasedConsumer,
) -> None:
    """It stays a proven member without work, so that the next task begins at once."""
    with made as consumer:
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


def test_an_assignment_that_the_client_delivers_late_grants_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asked for it before the poller's thread stood still, and the member may have been evicted since."""
    clock = [1000.0]
    monkeypatch.setattr(lease_keeper, "monotonic", lambda: clock[0])
    consumer = RunningConsumer(lambda task: None).consumer
    membership, held = consumer._membership, consumer._desk.lease
    membership.on_assign([])
    assert held.holds(clock[0])
    clock[0] += 60.0
    membership.on_assign([])
    assert not held.holds(clock[0])

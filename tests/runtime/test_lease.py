"""A consumer that cannot be sure of its partitions: it begins nothing, asks, and goes on when it is answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from processor.engine import lease
from processor.engine.lease import LEASE_SHARE
from processor.handlers.task import Task
from processor.runtime.ports import Listener
from processor.telemetry.events import ConsumerLeaseLapsed, ConsumerLeaseRenewed
from tests.runtime.fakes import PARTITION, FakeRecord, FakeSource
from tests.runtime.running import RunningConsumer
from tests.support.until import until

SESSION_SECONDS = 1.5
ASLEEP_SECONDS = 0.5


class Application:
    """Its tasks take a hundredth of a second; it notes which it began."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def work(self, task: Task) -> None:
        self.begun.append(task.offset)
        time.sleep(0.01)

    async def work_async(self, task: Task) -> None:
        self.begun.append(task.offset)
        await asyncio.sleep(0.01)


@pytest.fixture(params=["work", "work_async"])
def consumer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningConsumer]:
    monkeypatch.setattr(FakeSource, "session_seconds", SESSION_SECONDS)
    monkeypatch.setattr(lease, "ASLEEP_SECONDS", ASLEEP_SECONDS)
    app = Application()
    with RunningConsumer(getattr(app, request.param)) as running:
        running.begun = app.begun  # type: ignore[attr-defined]
        yield running


def begun(consumer: RunningConsumer) -> list[int]:
    return consumer.begun  # type: ignore[attr-defined, no-any-return]


def sessions(first: int, count: int) -> list[FakeRecord]:
    return [FakeRecord(offset, b"%d" % (offset % 5)) for offset in range(first, first + count)]


def test_who_is_not_answered_for_most_of_a_session_begins_nothing_until_it_is(consumer: RunningConsumer) -> None:
    consumer.source.refusal = "the coordinator is away"
    consumer.push(*sessions(0, 1500))
    lapsed = until(lambda: consumer.of(ConsumerLeaseLapsed))[0]
    assert lapsed.reason == "unanswered"
    assert lapsed.seconds >= SESSION_SECONDS * LEASE_SHARE
    assert lapsed.waiting > 0
    before = len(begun(consumer))
    assert 0 < before < 1500
    time.sleep(0.3)  # long enough for hundreds, were they begun
    assert len(begun(consumer)) <= before + 8  # what was about to begin
    consumer.source.refusal = None
    consumer.settled(1500)
    assert sorted(begun(consumer)) == list(range(1500))
    assert len(consumer.of(ConsumerLeaseLapsed)) == len(consumer.of(ConsumerLeaseRenewed)) == 1


def test_who_was_asleep_begins_nothing_before_the_group_has_answered(consumer: RunningConsumer) -> None:
    """The poller's thread sleeps, as all of a process does that is paused; workers wake before it."""
    awake = threading.Event()

    def sleep(_: Listener) -> None:
        consumer.source.refusal = "not a member"
        time.sleep(2 * ASLEEP_SECONDS)
        awake.set()

    consumer.push(*sessions(0, 1500))
    until(lambda: begun(consumer))
    consumer.source.decide(sleep)
    assert awake.wait(20)
    before = len(begun(consumer))
    lapsed = until(lambda: consumer.of(ConsumerLeaseLapsed))
    assert [event.reason for event in lapsed] == ["asleep"]
    assert lapsed[0].seconds > ASLEEP_SECONDS
    assert len(begun(consumer)) == before
    consumer.source.refusal = None
    consumer.settled(1500)


def test_who_has_nothing_to_commit_asks_by_committing_what_the_group_has(consumer: RunningConsumer) -> None:
    """It goes on being a member without work, so that the first task that comes is begun at once."""
    consumer.push(*sessions(0, 10))
    consumer.settled(10)
    until(lambda: consumer.commit_point() == 10)
    accepted = consumer.source.committed_now.pop(PARTITION)
    until(lambda: consumer.source.committed_now.get(PARTITION) == accepted)


def test_who_lost_its_partitions_in_its_sleep_begins_none_of_their_tasks(consumer: RunningConsumer) -> None:
    consumer.push(*sessions(0, 1500))
    until(lambda: begun(consumer))
    seen: list[int] = []

    def lose(listener: Listener) -> None:
        time.sleep(2 * ASLEEP_SECONDS)
        seen.append(len(begun(consumer)))
        consumer.source.refusal = "not a member"
        time.sleep(0.2)
        listener.on_lose([PARTITION])

    assert consumer.source.decide(lose).wait(20)
    consumer.source.refusal = None
    assert len(begun(consumer)) == seen[0]

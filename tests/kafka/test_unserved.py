"""Partitions that a coordinator has given to a member which never received them, with KIP-848."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition

from processor.kafka import unserved
from processor.kafka.source import KafkaSource
from processor.runtime.ports import Partition
from processor.settings import Settings
from processor.telemetry.events import ConsumerRejoining, Event
from tests.conftest import Wired
from tests.ports.member import Member
from tests.support import cluster

RELEASE_SECONDS = 8.0
"""How long the other member takes to give its partitions up. The member under test sends heartbeats meanwhile, one in
1.5 seconds, so that it gets them in an answer of their own, behind the one that announces the new epoch. The rest is
for a slow machine."""


class Other:
    """A member of another program, simulated in a separate thread."""

    def __init__(self, servers: str, group: str, topic: str) -> None:
        config = {"bootstrap.servers": servers, "group.id": group, "group.protocol": "consumer", "log_level": 0}
        self._consumer = Consumer({**config, "enable.auto.commit": False})
        self._topic = topic
        self._next_topic: str | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def give_up_for(self, topic: str) -> None:
        """It subscribes to another topic."""
        self._next_topic = topic

    def _poll(self) -> None:
        self._consumer.subscribe([self._topic], on_revoke=self._on_revoke)
        while not self._left.is_set():
            self._consumer.poll(0.05)
            if self._next_topic is not None:
                self._consumer.subscribe([self._next_topic], on_revoke=self._on_revoke)
                self._next_topic = None
        self._consumer.close()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        time.sleep(RELEASE_SECONDS)  # what it does in this time is not part of the test
        consumer.incremental_unassign(partitions)

    @contextmanager
    def polling(self) -> Iterator[Other]:
        self._thread.start()
        try:
            yield self
        finally:
            self._left.set()
            self._thread.join()


def shares(servers: str, group: str) -> list[int]:
    """Return how many partitions each member of the group has, according to the coordinator."""
    return [len(member.assignment.topic_partitions) for member in cluster.members(servers, group)]


class Joined(NamedTuple):
    """A group with KIP-848 of a topic of six partitions, its members and what they emit."""

    group: str
    topic: str
    members: list[Member]
    events: list[Event]

    @property
    def rejoined(self) -> list[list[str]]:
        return [event.partitions for event in self.events if isinstance(event, ConsumerRejoining)]


@pytest.fixture
def join(wired: Wired, group: str) -> Iterator[Callable[[int], Joined]]:
    """Has this many members join, through the proxy."""
    topic = cluster.create_topic(wired.broker.bootstrap_servers, group, 6)
    joined = Joined(group, topic, [], [])
    settings = Settings(topics=(topic,), group=group, bootstrap_servers=wired.wire.address, group_protocol="consumer")

    def make(count: int) -> Joined:
        joined.members.extend(Member(KafkaSource(settings, index, joined.events.append)) for index in range(count))
        return joined

    yield make
    for member in joined.members:
        member.leave()


def test_a_member_that_never_received_its_partitions_joins_again_and_serves_them(
    wired: Wired, join: Callable[[int], Joined], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "CHECK_SECONDS", 1.0)
    servers, group = wired.broker.bootstrap_servers, join(1)
    (member,) = group.members
    other_topic = cluster.create_topic(servers, f"{group.topic}-2", 6)
    lost_before = wired.wire.lost_assignments
    with Other(servers, group.group, group.topic).polling() as other:
        member.take_until(lambda: len(member.assigned) == 3 and shares(servers, group.group) == [3, 3])
        kept = set(member.assigned)
        other.give_up_for(other_topic)
        wired.wire.loses_assignments_of = 6
        try:
            member.take_until(lambda: wired.wire.lost_assignments > lost_before)
        finally:
            wired.wire.loses_assignments_of = None
        assert set(member.assigned) == kept
        member.take_until_assigned(6)
        missing = {Partition(group.topic, number) for number in range(6)} - kept
        assert group.rejoined == [sorted(map(str, missing))]
        assert set(member.calls_of("revoke")[-1]) == kept
        assert member.calls_of("lose") == []


def test_a_member_that_has_its_assigned_partitions_stays(
    join: Callable[[int], Joined], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "CHECK_SECONDS", 0.1)
    group = join(2)
    first, second = group.members
    first.take_until(lambda: [len(m.assigned) for m in group.members] == [3, 3], second)
    deadline = time.monotonic() + 3
    first.take_until(lambda: time.monotonic() > deadline, second)
    assert group.rejoined == []

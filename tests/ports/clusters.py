"""The clusters on which the contract of the ports is tested, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from confluent_kafka import Producer, TopicPartition

from processor.kafka.source import KafkaSource
from processor.runtime.ports import Partition, Source
from processor.settings import GroupProtocol, Settings
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.source import MemorySource
from tests.ports.member import SECONDS, Member
from tests.support import cluster
from tests.support.scripted_kafka import ScriptedCluster
from tests.support.until import until

Row = cluster.Row


class Cluster(Protocol):
    """One topic of a cluster, and one group."""

    topic: str

    def join(self) -> Member:
        """Return a new member of the group."""

    def produce(self, partition: Partition, rows: Sequence[Row]) -> None:
        """Appends records and waits until they are there."""


class FullCluster(Cluster, Protocol):
    """A cluster that also has retention, transactions and limits, as a broker has."""

    def delete_below(self, partition: Partition, offset: int) -> None:
        """Deletes the records below the offset, as retention does."""

    def produce_aborted(self, partition: Partition, rows: Sequence[Row]) -> None:
        """Appends records that no reader of committed records ever gets."""

    def join_and_be_given_up_soon(self) -> Member:
        """Return a new member that the group evicts soon if it calls no `take`."""

    def give_up(self, member: Member) -> None:
        """Returns once the group has evicted such a member, its only one, which takes nothing meanwhile."""


class KafkaCluster:
    """A broker, or the client's own mock of one."""

    def __init__(self, bootstrap_servers: str, topic: str, group: str, protocol: GroupProtocol) -> None:
        self.topic = topic
        self._servers = bootstrap_servers
        self._group = group
        self._protocol: GroupProtocol = protocol
        self._members: list[Member] = []

    def join(self) -> Member:
        return self._join({"heartbeat.interval.ms": "200"} if self._protocol == "classic" else {})

    def join_and_be_given_up_soon(self) -> Member:
        session = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "200"} if self._protocol == "classic" else {}
        return self._join({"max.poll.interval.ms": "3000", **session})

    def join_as(self, instance_id: str) -> Member:
        """Return a new member of the classic protocol whose `group.instance.id` its user has set.

        Its session outlasts every test.
        """
        session = {"session.timeout.ms": "600000", "heartbeat.interval.ms": "200"}
        return self._join({"group.instance.id": instance_id, **session})

    def count_members(self) -> int:
        """Return how many members the coordinator knows."""
        return len(cluster.members(self._servers, self._group))

    def _join(self, config: dict[str, str]) -> Member:
        """A classic member learns of a rebalance with its next heartbeat, which is soon."""
        settings = Settings(
            topics=(self.topic,),
            group=self._group,
            bootstrap_servers=self._servers,
            group_protocol=self._protocol,
            kafka_config=config,
        )
        self._members.append(Member(KafkaSource(settings, 0, lambda event: None)))
        return self._members[-1]

    def produce(self, partition: Partition, rows: Sequence[Row]) -> None:
        cluster.produce(self._servers, partition.topic, rows, partition=partition.number)

    def delete_below(self, partition: Partition, offset: int) -> None:
        where = TopicPartition(*partition, offset)
        cluster.admin_of(self._servers).delete_records([where])[where].result(SECONDS)

    def produce_aborted(self, partition: Partition, rows: Sequence[Row]) -> None:
        producer = Producer({"bootstrap.servers": self._servers, "transactional.id": self._group, "log_level": 0})
        producer.init_transactions(SECONDS)
        producer.begin_transaction()
        for key, value, *_ in rows:
            producer.produce(partition.topic, key=key, value=value, partition=partition.number)
        producer.flush(SECONDS)
        producer.abort_transaction(SECONDS)
        cluster.wait_for_markers(self._servers, partition.topic)

    def give_up(self, member: Member) -> None:
        """Its client leaves the group by itself, as nothing is taken for `max.poll.interval.ms`."""
        assert self.count_members() <= 1  # a slow machine may have taken as long already
        until(lambda: self.count_members() == 0, "the group gives its member up", SECONDS, pause=0.1)

    def close(self) -> None:
        for member in self._members:
            member.leave()


class InMemory:
    """The in-memory Kafka of `processor.testing`, or its variant for the tests of the runtime."""

    topic = "t"

    def __init__(self, source: Callable[[ScriptedCluster, Sequence[str]], Source], partitions: int) -> None:
        self._cluster = ScriptedCluster()
        self._cluster.create_topic(self.topic, partitions)
        self._source = source

    def join(self) -> Member:
        return Member(self._source(self._cluster, [self.topic]))

    join_and_be_given_up_soon = join

    def produce(self, partition: Partition, rows: Sequence[Row]) -> None:
        first = self._cluster.logs[partition].end
        for offset, (key, value, *headers) in enumerate(rows, first):
            pairs = list(headers[0] or ()) if headers else None
            self._cluster.append(MemoryRecord(partition, offset, _bytes(key), _bytes(value), pairs))

    def delete_below(self, partition: Partition, offset: int) -> None:
        self._cluster.delete_below(partition, offset)

    def produce_aborted(self, partition: Partition, rows: Sequence[Row]) -> None:
        self._cluster.skip(partition, len(rows) + 1)

    def give_up(self, member: Member) -> None:
        assert isinstance(member.source, MemorySource)
        self._cluster.give_up(member.source)


def _bytes(text: bytes | str | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text

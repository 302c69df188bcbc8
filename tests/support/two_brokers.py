"""A cluster of two brokers as child processes, so that a group's coordinator can move from one to the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import NewTopic

from tests.support import cluster, kafka_jars
from tests.support.broker import NO_BROKER, BrokerUnavailable, GivenBroker
from tests.support.java_broker import JavaBroker
from tests.support.until import until

REPLICATED: Final[Mapping[str, str]] = {
    "default.replication.factor": "2",
    "offsets.topic.replication.factor": "2",
    "transaction.state.log.replication.factor": "2",
}
OFFSETS: Final = "__consumer_offsets"
MOVE_SECONDS: Final = 60.0


class TwoBrokers:
    """Two brokers. The first is also the controller, and must keep running. The second can be killed and restarted."""

    def __init__(self, first: JavaBroker, second: JavaBroker) -> None:
        """Both brokers are already running."""
        self._second = second
        self.both = GivenBroker(f"{first.bootstrap_servers},{second.bootstrap_servers}")

    def create_topic(self, name: str, partitions: int) -> str:
        """Creates a topic with a replica on each broker, and returns its name."""
        return cluster.create(
            self.both.bootstrap_servers, NewTopic(name, num_partitions=partitions, replication_factor=2)
        )

    def group_of_second(self, name: str) -> str:
        """Returns a name for a group whose coordinator is the second broker."""
        servers = self.both.bootstrap_servers
        topic = self.create_topic(f"{name}-first", 1)
        cluster.committed(servers, name, topic)  # the first request for a coordinator creates the offsets topic
        names = [f"{name}-{number}" for number in range(20)]
        found = until(
            lambda: [each for each in names if self._coordinator(each) == 2],
            "broker 2 is a coordinator",
            MOVE_SECONDS,
            0.2,
        )
        return found[0]

    def kill_second(self, group: str) -> None:
        """Kills the second broker, the coordinator of the group, and waits until the first is the coordinator."""
        self._let_second_lead(group)  # a broker loses its partitions if a busy machine stalls it for three seconds
        self._second.kill()
        until(lambda: self._coordinator(group) == 1, "broker 1 is the coordinator", MOVE_SECONDS, 0.1)

    def bring_back_second(self, group: str) -> None:
        """Restarts the second broker, and waits until it is the coordinator of the group again."""
        self._second.start()
        self._let_second_lead(group)

    def _let_second_lead(self, group: str) -> None:
        """Waits until the second broker is the coordinator of the group."""
        admin = cluster.admin_of(self.both.bootstrap_servers)

        def is_coordinator() -> bool:
            if self._coordinator(group) == 2:
                return True
            with suppress(KafkaException):
                admin.elect_leaders(ElectionType.PREFERRED).result(cluster.SECONDS)
            return self._coordinator(group) == 2

        until(is_coordinator, "broker 2 is the coordinator", MOVE_SECONDS, 0.2)

    def _coordinator(self, group: str) -> int:
        """Return the leader of the partition that stores the group's offsets; negative while none is known."""
        answer = cluster.admin_of(self.both.bootstrap_servers).list_topics(OFFSETS, cluster.SECONDS)
        partitions = answer.topics[OFFSETS].partitions
        return int(partitions[_java_hash(group) % len(partitions)].leader) if partitions else -1


def _wait_for_both(*brokers: JavaBroker) -> None:
    """Waits until each broker knows both: a broker answers before it is registered, and has no replicas until then."""

    def are_known() -> bool:
        admins = [cluster.admin_of(broker.bootstrap_servers) for broker in brokers]
        return all(len(admin.list_topics(timeout=cluster.SECONDS).brokers) == len(brokers) for admin in admins)

    until(are_known, "each broker knows both", cluster.SECONDS, 0.05)


def _java_hash(text: str) -> int:
    """Return the absolute value of Java's `String.hashCode`, which selects a group's partition of the offsets topic."""
    found = 0
    for character in text:
        found = (31 * found + ord(character)) & 0xFFFFFFFF
    return min(found, (1 << 32) - found)


@contextmanager
def two_brokers() -> Iterator[TwoBrokers]:
    """Yield a cluster that runs inside the `with` block.

    Raises:
        BrokerUnavailable: Java is not installed, or neither Maven nor downloaded jars are available.
    """
    if not kafka_jars.available():
        raise BrokerUnavailable(NO_BROKER)
    with JavaBroker(REPLICATED) as first:
        follower = {
            **REPLICATED,
            "process.roles": "broker",
            "node.id": "2",
            "controller.quorum.voters": f"1@127.0.0.1:{first.controller_port}",
            "listeners": "PLAINTEXT://{host}:{port}",
        }
        with JavaBroker(follower) as second:
            _wait_for_both(first, second)
            yield TwoBrokers(first, second)

"""`ClusterFacts`: what a cluster reports of the things that `processor run` needs. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    ConsumerGroupDescription,
    OffsetSpec,
)
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from processor.errors import AccessDenied, ProcessorError
from processor.kafka.admin import TopicAdmin
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.config import admin_config, consumer_config, open_client
from processor.kafka.elections import description_of
from processor.kafka.errors import NO_TOPIC, error_of
from processor.kafka.group_protocol import check_consumer_protocol
from processor.kafka.group_view import ENDED
from processor.kafka.progress_topic import policy_of
from processor.kafka.reach import Address
from processor.operate.checkup import GroupFacts, TopicState
from processor.settings import Settings

LOGIN_SECONDS: Final = 8.0
"""Time limit for the first response: a connection with TLS and SASL."""

ANSWER_SECONDS: Final = 5.0
"""Time limit for each further response."""

NEW: Final = "new"
"""The state of a group that the coordinator does not have: `run` creates it."""

TYPES: Final[Mapping[object, str]] = {ConsumerGroupType.CLASSIC: "classic", ConsumerGroupType.CONSUMER: "consumer"}


class ClusterFacts:
    """The facts, requested by an admin client when they are asked for. Belongs to one thread, which it blocks."""

    def __init__(self, settings: Settings) -> None:
        """Opens the client, and once a consumer that subscribes to nothing, so that it checks its settings.

        Raises:
            SettingsError: a client rejects a setting.
            LoadError: a file in the settings cannot be read.
            BrokerError: there is no token to authenticate with.
        """
        self._settings = settings
        self._config = admin_config(settings.bootstrap_servers, settings.kafka_config)
        open_client(Consumer, {**consumer_config(settings, 0), **client_hooks(discard)}).close()
        self._topics = TopicAdmin(self._config)
        self._admin: AdminClient = open_client(AdminClient, {**self._config, **client_hooks(discard)})

    def brokers(self) -> list[Address]:
        """Connect, and return the addresses that the brokers advertise.

        Raises:
            BrokerError: no broker responds, or access is denied.
        """
        found = self._topics.cluster(self._settings.topics[0], LOGIN_SECONDS).brokers
        return [Address(str(broker.host), int(broker.port or 0)) for _, broker in sorted(found.items())]

    @property
    def reports_more(self) -> bool:
        """Whether the cluster reports permissions, groups and times. An embedded broker does not."""
        return self._topics.has_controller

    def topic(self, name: str) -> TopicState | None:
        """Return the state of a topic; None if it does not exist.

        Raises:
            AccessDenied: this client may not see the topic.
            ProcessorError: no broker responds, or another error of the brokers.
        """
        metadata = self._topics.cluster(name, ANSWER_SECONDS).topics[name]
        if metadata.error is None:
            return _state_of(name, metadata)
        if metadata.error.code() in NO_TOPIC:
            return None
        raise error_of(metadata.error, self._topics.servers, about=f"topic {name}")

    def refusals(self, topics: Collection[str], outputs: Collection[str]) -> Iterator[ProcessorError]:
        """The permissions that are missing on topics that exist: to read `topics`, and to write to `outputs`."""
        yield from self._topics.refusals(AclOperation.READ, topics)
        yield from self._topics.refusals(AclOperation.WRITE, outputs)

    def cleanup_policy(self, topic: str) -> str | None:
        """Return the topic's cleanup policy; None if this client may not read it."""
        return policy_of(self._topics, topic)

    def creation_refusal(self, topic: str, partitions: int) -> ProcessorError | None:
        """Return why this client cannot create a topic; None if it can. The brokers check it and create nothing."""
        wanted = [NewTopic(topic, partitions, replication_factor=-1)]
        (answer,) = self._admin.create_topics(wanted, validate_only=True, request_timeout=ANSWER_SECONDS).values()
        try:
            answer.result()
        except KafkaException as caught:
            return error_of(caught.args[0], self._topics.servers, about=f"topic {topic}")
        return None

    def group(self) -> GroupFacts:
        """Return the group's state.

        Raises:
            AccessDenied: this client may not read the group.
            ProcessorError: no broker responds, or another error of the brokers.
        """
        name = self._settings.group
        try:
            description = description_of(self._admin, name, ANSWER_SECONDS, with_rights=True)
        except KafkaException as caught:
            if caught.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupFacts(name, NEW, 0, None, "")
            raise error_of(caught.args[0], self._topics.servers, about=f"group {name}") from None
        allowed = description.authorized_operations
        if allowed and AclOperation.READ not in allowed:
            raise AccessDenied(
                f"access denied by the broker at {self._topics.servers} (group {name}): "
                "this client needs the permission READ"
            )
        return _facts_of(name, description)

    def check_protocol(self) -> None:
        """Check that the cluster supports KIP-848.

        Raises:
            LoadError: it does not.
        """
        check_consumer_protocol(self._config)

    def newest_times(self, topics: Sequence[TopicState]) -> list[float]:
        """Return the time of the newest record of each partition that has one, in seconds since the epoch.

        Brokers before Kafka 3.0, and those that deny access, do not report it: such partitions are left out.
        """
        asked = {
            TopicPartition(topic.name, number): OffsetSpec.max_timestamp()
            for topic in topics
            for number in range(topic.partitions)
        }
        found = []
        for answer in self._admin.list_offsets(asked, request_timeout=ANSWER_SECONDS).values() if asked else ():
            try:
                timestamp = answer.result().timestamp
            except KafkaException:
                continue
            found += [timestamp / 1000] if timestamp > 0 else []
        return found


def _state_of(name: str, metadata: TopicMetadata) -> TopicState:
    partitions = metadata.partitions.values()
    return TopicState(
        name,
        len(partitions),
        replicas=min((len(partition.replicas) for partition in partitions), default=0),
        without_leader=sum(partition.leader < 0 for partition in partitions),
        under_replicated=sum(len(partition.isrs) < len(partition.replicas) for partition in partitions),
    )


def _facts_of(name: str, description: ConsumerGroupDescription) -> GroupFacts:
    if description.state in ENDED:
        return GroupFacts(name, NEW, 0, None, "")
    state = description.state.name.lower().replace("_", "-")
    protocol = TYPES.get(description.type)
    return GroupFacts(name, state, len(description.members), protocol, description.partition_assignor)

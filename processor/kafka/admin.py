"""Topics: which ones exist, the permissions on them, and the creation of missing ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakMethod

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, ResourceType
from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata
from confluent_kafka.cimpl import NewTopic

from processor.errors import AccessDenied, BrokerError, LoadError, ProcessorError
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.config import Config, open_client
from processor.kafka.errors import ACCESS_DENIED, NO_RESPONSE, NO_TOPIC, error_of, reason_of
from processor.options.names import INTERNAL
from processor.telemetry.events import Emit

ANSWER_SECONDS = 10.0
"""Time limit for a response of the brokers; without one, they count as unreachable."""

PERMISSIONS_SECONDS = 5.0
"""Time limit for a response about permissions. Without one, the consumer starts, and fails later if one is missing."""

DEAD_LETTER_OVERHEAD_BYTES = 16_384
"""Maximum size that a dead letter adds to its record: headers with the names of topic and group, and the batch."""

SLICE_SECONDS = 1.0
RETRY_SECONDS = 0.1

# A topic that was just created has no leader yet.
NO_LEADER_YET = frozenset((KafkaError.LEADER_NOT_AVAILABLE, KafkaError.LISTENER_NOT_FOUND))


class Ensured(NamedTuple):
    """The result of `ensure_topics`."""

    created: tuple[str, ...]
    missing: dict[str, str]
    """Topics that are still missing, with the reason."""


class Target(NamedTuple):
    """A topic to produce to."""

    partitions: int
    max_message_bytes: int | None
    """The topic's maximum size of a batch; None if this client may not read it."""


def check_topics(admin: TopicAdmin, topics: Collection[str], timeout: float = ANSWER_SECONDS) -> dict[str, int]:
    """Checks the topics to consume, and returns their partition counts. The request creates no topic.

    Args:
        admin: a client for the cluster.
        topics: names of the topics.
        timeout: seconds to wait for a response of the brokers.

    Raises:
        BrokerError: no broker responds within `timeout`, or access is denied, or READ on a topic is.
        LoadError: topics do not exist; the message names all of them.
    """
    found = admin.partitions(topics, timeout)
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise LoadError(missing_topics(missing, admin.servers))
    admin.require(AclOperation.READ, topics)
    return found


def missing_topics(topics: Collection[str], servers: str) -> str:
    """The error message for topics that do not exist."""
    if len(topics) == 1:
        return f"topic {next(iter(topics))} does not exist at {servers}: create it, or correct its name"
    return f"topics {', '.join(topics)} do not exist at {servers}: create them, or correct their names"


def ensure_topics(
    admin: TopicAdmin,
    partitions: Mapping[str, int],
    *,
    create: bool,
    dead_letter_sources: Mapping[str, Collection[str]] | None = None,
    timeout: float = ANSWER_SECONDS,
) -> Ensured:
    """Creates missing topics to write to, with the brokers' default replication factor.

    A topic that cannot be created is not an error: outputs for it wait and are retried. Missing permissions are an
    error, which would otherwise be found with the first task that fails.

    Args:
        admin: a client for the cluster.
        partitions: partition counts by topic.
        create: create missing topics.
        dead_letter_sources: for dead-letter topics, the topics that feed them. They are created with room for the
            largest record of these.
        timeout: time limit in seconds for the query, and again for the creation.

    Raises:
        BrokerError: no broker responds within `timeout`, or access is denied, or WRITE on a topic or the creation of a
            missing one is.
        LoadError: the brokers reject the name of a missing topic.
    """
    found = admin.partitions(partitions, timeout, tolerant=True)
    absent = {topic: count for topic, count in partitions.items() if topic not in found}
    if not create:
        ensured = Ensured((), dict.fromkeys(absent, "it does not exist"))
    else:
        ensured = admin.create(absent, dead_letter_sources or {}, timeout)
    admin.require(AclOperation.WRITE, partitions.keys() - ensured.missing.keys())
    return ensured


def await_topic(config: Config, topic: str, timeout: float = ANSWER_SECONDS, emit: Emit | None = None) -> Target:
    """Waits for a topic to produce to. Brokers with automatic topic creation create it.

    Raises:
        BrokerError: no broker responds within `timeout`, or access is denied, or WRITE on the topic is.
        LoadError: the topic does not exist, and the brokers do not create it.
    """
    admin = TopicAdmin({**config, "allow.auto.create.topics": "true"}, emit)
    deadline = time.monotonic() + timeout
    # A broker may take up to two seconds to create a topic and to report it.
    creation_deadline = time.monotonic() + 2.0
    while True:
        found = admin.partitions([topic], max(deadline - time.monotonic(), SLICE_SECONDS))
        if topic in found:
            admin.require(AclOperation.WRITE, [topic])
            return Target(found[topic], admin.max_message_bytes([topic]).get(topic))
        if time.monotonic() >= creation_deadline:
            raise LoadError(missing_topics([topic], str(config["bootstrap.servers"])))
        time.sleep(RETRY_SECONDS)


def broker_settings(config: Config, names: Sequence[str], timeout: float = PERMISSIONS_SECONDS) -> dict[str, str]:
    """The values of a broker's settings, without those that this client may not read.

    Args:
        config: from `admin_config`.
        names: names of the settings, such as `group.max.session.timeout.ms`.
        timeout: seconds to wait for a response; without one, the result is empty.
    """
    client = open_client(AdminClient, {**config, **client_hooks(discard)})
    try:
        broker = str(next(iter(client.list_topics(timeout=timeout).brokers)))
        (answer,) = client.describe_configs(
            [ConfigResource(ResourceType.BROKER, broker)], request_timeout=timeout
        ).values()
        found = answer.result()
    except (KafkaException, StopIteration):
        return {}
    return {name: str(found[name].value) for name in names if name in found}


class TopicAdmin:
    """An admin client for topics, which remembers the last error that the client reported.

    It connects with the first request. The client, with its threads and connections, ends with the last reference.

    Args:
        config: from `admin_config`.
        emit: receives the client's log events.
    """

    def __init__(self, config: Config, emit: Emit | None = None) -> None:
        self.servers = str(config["bootstrap.servers"])
        self.config = config
        self.emit = emit
        hooks = client_hooks(emit or discard)
        self._report_error = hooks["error_cb"]
        self._last_error: KafkaError | None = None
        self.has_controller = False
        """Whether the last response named a controller, which creates topics and knows permissions."""
        on_error = WeakMethod(self._on_error)  # a client that refers to its owner lives until the next collection

        def note(error: KafkaError) -> None:
            if (noted := on_error()) is not None:
                noted(error)

        self._client = open_client(AdminClient, {**config, **hooks, "error_cb": note})

    def _on_error(self, error: KafkaError) -> None:
        # "All brokers are down" is less informative than the errors before it: refused, unknown host, access denied.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last_error is None:
            self._last_error = error
        self._report_error(error)

    def partitions(self, topics: Collection[str], timeout: float, *, tolerant: bool = False) -> dict[str, int]:
        """Partition counts of the topics that exist. `tolerant` also omits topics with another error."""
        deadline = time.monotonic() + timeout
        found: dict[str, int] = {}
        for topic in topics:
            metadata = self._topic(topic, deadline)
            if metadata.error is None:
                found[topic] = len(metadata.partitions)
            elif metadata.error.code() in ACCESS_DENIED or (metadata.error.code() not in NO_TOPIC and not tolerant):
                raise error_of(metadata.error, self.servers, about=f"topic {topic}")
        return found

    def all_topics(self, timeout: float) -> dict[str, int]:
        """Partition counts of all topics that this client may see, without those that belong to Kafka itself."""
        topics = self._cluster(None, time.monotonic() + timeout).topics
        return {
            name: len(topic.partitions)
            for name, topic in sorted(topics.items())
            if name not in INTERNAL and topic.error is None
        }

    def require(self, operation: AclOperation, topics: Collection[str]) -> None:
        """Checks that this client has a permission on the topics. Passes if the brokers do not report permissions.

        Raises:
            BrokerError: the permission is missing; the message names the first such topic.
        """
        for refusal in self.refusals(operation, topics):
            raise refusal

    def refusals(self, operation: AclOperation, topics: Collection[str]) -> Iterator[ProcessorError]:
        """The errors of those topics on which this client does not have a permission; none if that is not reported."""
        if not topics or not self.has_controller:  # the client would wait for a controller
            return
        answers = self._client.describe_topics(
            TopicCollection(sorted(topics)), include_authorized_operations=True, request_timeout=PERMISSIONS_SECONDS
        )
        for topic, answer in answers.items():
            try:
                allowed = answer.result().authorized_operations
            except KafkaException as caught:
                if caught.args[0].code() in ACCESS_DENIED:
                    yield error_of(caught.args[0], self.servers, about=f"topic {topic}")
                continue
            if allowed and operation not in allowed:
                yield AccessDenied(
                    f"access denied by the broker at {self.servers} (topic {topic}): "
                    f"this client needs the permission {operation.name}"
                )

    def cluster(self, topic: str, timeout: float) -> ClusterMetadata:
        """The brokers, and the partitions of a topic or the error that it has. The request creates no topic.

        Raises:
            BrokerError: no broker responds within `timeout`, or access is denied.
        """
        return self._cluster(topic, time.monotonic() + timeout)

    def _topic(self, topic: str, deadline: float) -> TopicMetadata:
        """Requests the topic's metadata until there is a response, or the deadline has passed."""
        while True:
            metadata = self._cluster(topic, deadline).topics[topic]
            is_late = time.monotonic() >= deadline
            if metadata.error is None or metadata.error.code() not in NO_LEADER_YET or is_late:
                return metadata
            time.sleep(RETRY_SECONDS)

    def _cluster(self, topic: str | None, deadline: float) -> ClusterMetadata:
        """Requests the metadata of a topic, or of all topics, until there is a response or the deadline has passed."""
        while True:
            left = deadline - time.monotonic()
            try:
                cluster = self._client.list_topics(topic, timeout=max(min(left, SLICE_SECONDS), 0.01))
            except KafkaException as caught:
                self._client.poll(0)
                self._raise_if_final(caught.args[0], out_of_time=left <= SLICE_SECONDS)
                continue
            self.has_controller = cluster.controller_id in cluster.brokers
            self._last_error = None
            return cluster

    def _raise_if_final(self, error: KafkaError, *, out_of_time: bool) -> None:
        """Raises if a retry is useless. The client itself would retry without end."""
        if self._last_error is not None and self._last_error.code() in ACCESS_DENIED:
            raise error_of(self._last_error, self.servers)
        if error.code() not in NO_RESPONSE or error.code() in ACCESS_DENIED:
            raise error_of(error, self.servers)
        if out_of_time:
            raise BrokerError(f"no broker responds at {self.servers}: {self._why_unreachable(error)}")

    def _why_unreachable(self, error: KafkaError) -> str:
        last = self._last_error
        reason = reason_of(last or error)
        # "All brokers are down" was preceded by no other error, such as an unknown host or a refused connection. The
        # client reports a connection that is closed as a failed request if it is closed while the request is sent.
        is_closed = last is not None and last.code() == KafkaError._ALL_BROKERS_DOWN
        if is_closed or reason.startswith("Send failed: "):
            return "every connection is closed without a response; check that -X security.protocol is the broker's"
        return reason

    def create(
        self,
        partitions: Mapping[str, int],
        dead_letter_sources: Mapping[str, Collection[str]],
        timeout: float,
        config: Mapping[str, str] = MappingProxyType({}),
    ) -> Ensured:
        """Creates topics, all with `config`. A topic that another client created meanwhile is not an error.

        An embedded broker has no controller: it creates a topic when its metadata is requested. Call this after another
        request, which finds out whether there is a controller.

        Raises:
            BrokerError: this client may not create them.
            LoadError: the brokers reject a name.
        """
        if not partitions:
            return Ensured((), {})
        if not self.has_controller:
            return self._created_on_demand(partitions, timeout)
        created: list[str] = []
        missing: dict[str, str] = {}
        wanted = [
            NewTopic(
                topic,
                count,
                replication_factor=-1,
                config={**config, **self._dead_letter_config(dead_letter_sources.get(topic, ()))},
            )
            for topic, count in partitions.items()
        ]
        for topic, future in self._client.create_topics(wanted, request_timeout=timeout).items():
            try:
                future.result()
                created.append(topic)
            except KafkaException as caught:
                error = caught.args[0]
                if error.code() in ACCESS_DENIED:
                    raise error_of(
                        error, self.servers, about=f"topic {topic} is missing, and this client may not create it"
                    ) from None
                if error.code() == KafkaError.TOPIC_EXCEPTION:
                    raise LoadError(
                        f"topic {topic} cannot be created: {reason_of(error)}; set another --dead-letter-topic or "
                        "--results-topic"
                    ) from None
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    missing[topic] = str(error_of(error, self.servers))
        return Ensured(tuple(created), missing)

    def _created_on_demand(self, topics: Collection[str], timeout: float) -> Ensured:
        """Create topics by requesting their metadata, as a producer does."""
        creating = TopicAdmin({**self.config, "allow.auto.create.topics": "true"}, self.emit)
        found = creating.partitions(topics, timeout, tolerant=True)
        reason = "it does not exist, and the cluster has no controller that could create it"
        return Ensured((), {topic: reason for topic in topics if topic not in found})

    def _dead_letter_config(self, topics: Collection[str]) -> dict[str, str]:
        """The configuration of a topic for the dead letters of `topics`; empty if a limit of theirs is not known."""
        limits = self.max_message_bytes(topics)
        if not topics or len(limits) < len(topics):
            return {}
        return {"max.message.bytes": str(max(limits.values()) + DEAD_LETTER_OVERHEAD_BYTES)}

    def max_message_bytes(self, topics: Collection[str]) -> dict[str, int]:
        """`max.message.bytes` of those topics for which this client has the permission DESCRIBE_CONFIGS."""
        found = self.settings(topics, "max.message.bytes")
        return {topic: int(limit) for topic, limit in found.items() if limit.isdecimal()}

    def settings(self, topics: Collection[str], name: str) -> dict[str, str]:
        """One setting of those topics for which this client has the permission DESCRIBE_CONFIGS."""
        found: dict[str, str] = {}
        if not topics or not self.has_controller:  # an embedded broker does not respond
            return found
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        answers = self._client.describe_configs(resources, request_timeout=PERMISSIONS_SECONDS)
        for resource, answer in answers.items():
            try:
                found[resource.name] = str(answer.result()[name].value)
            except (KafkaException, KeyError):
                continue
        return found

"""Which topics there are, what may be done with them, and making those that are missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, ResourceType
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from processor.errors import BrokerError, LoadError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import NO_ANSWER, NO_TOPIC, NOT_ALLOWED, Config, error_of, open_client, reason_of
from processor.telemetry.events import Emit, Event

ANSWER_SECONDS = 10.0
"""How long brokers get to answer before they count as gone."""

RIGHTS_SECONDS = 5.0
"""How long brokers get to tell what this client may do; where they do not, it begins and finds out."""

LETTER_BYTES = 16_384
"""What a dead letter may be larger than its record by: its headers, with names of topic and group, and its batch."""

SLICE_SECONDS = 1.0
PATIENCE_SECONDS = 0.1

# A topic that was made a moment ago has no leader yet.
NOT_YET = frozenset((KafkaError.LEADER_NOT_AVAILABLE, KafkaError.LISTENER_NOT_FOUND))


class Ensured(NamedTuple):
    """How `ensure_topics` ended."""

    created: tuple[str, ...]
    missing: dict[str, str]
    """Topics that are still missing, and why."""


class Target(NamedTuple):
    """A topic that is about to be produced to."""

    partitions: int
    max_message_bytes: int | None
    """Its limit for one batch; None where this client may not read it."""


def check_topics(
    config: Config, topics: Collection[str], timeout: float = ANSWER_SECONDS, emit: Emit | None = None
) -> dict[str, int]:
    """How many partitions each of the topics has that are to be read. Asking does not create a topic.

    Args:
        config: from `admin_config`.
        topics: their names.
        timeout: seconds until brokers that do not answer count as gone.
        emit: hears what the client has to say.

    Raises:
        BrokerError: no broker answers within `timeout`, or this client is not let in, or may not read them.
        LoadError: topics do not exist; all of them are named.
    """
    inquiry = Inquiry(config, emit)
    found = inquiry.partitions(topics, timeout)
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise LoadError(missing_topics(missing, str(config["bootstrap.servers"])))
    inquiry.demand(AclOperation.READ, topics)
    return found


def missing_topics(topics: Collection[str], servers: str) -> str:
    """The sentence that names topics which do not exist."""
    names = ", ".join(topics)
    return f"no topic {names} at {servers}: create it first, or correct the name"


def ensure_topics(
    config: Config,
    partitions: Mapping[str, int],
    *,
    create: bool,
    letters_of: Mapping[str, Collection[str]] | None = None,
    timeout: float = ANSWER_SECONDS,
    emit: Emit | None = None,
) -> Ensured:
    """Makes the topics that are missing and are to be written to, with the broker's default replication.

    A topic that cannot be made is no error here: what should go there waits and is tried again. That nobody allowed
    it is one: it would be found out with the first task that fails.

    Args:
        config: from `admin_config`.
        partitions: the topics, and how many partitions each is to have.
        create: whether missing topics are made.
        letters_of: which of them take dead letters, and those of which topics: they are made large enough for them.
        timeout: seconds that asking may take, and making may take.
        emit: hears what the client has to say.

    Raises:
        BrokerError: no broker answers within `timeout`, or this client is not let in, or may not write to a topic,
            or may not make one that is missing.
        LoadError: the brokers do not take the name of a topic that is missing.
    """
    inquiry = Inquiry(config, emit)
    found = inquiry.partitions(partitions, timeout, tolerant=True)
    absent = {topic: count for topic, count in partitions.items() if topic not in found}
    if not create:
        ensured = Ensured((), dict.fromkeys(absent, "it does not exist"))
    elif absent and not inquiry.has_controller:
        ensured = _ensured_on_demand(config, absent, timeout, emit)
    else:
        ensured = inquiry.create(absent, letters_of or {}, timeout)
    inquiry.demand(AclOperation.WRITE, partitions.keys() - ensured.missing.keys())
    return ensured


def _ensured_on_demand(config: Config, topics: Collection[str], timeout: float, emit: Emit | None) -> Ensured:
    """Make topics as a producer does, by asking for them: an embedded broker has no controller to ask."""
    inquiry = Inquiry({**config, "allow.auto.create.topics": "true"}, emit)
    found = inquiry.partitions(topics, timeout, tolerant=True)
    reason = "it does not exist, and the cluster has no controller that could create it"
    return Ensured((), {topic: reason for topic in topics if topic not in found})


def await_topic(config: Config, topic: str, timeout: float = ANSWER_SECONDS, emit: Emit | None = None) -> Target:
    """The topic that is about to be produced to; a broker that creates topics on demand creates it.

    Raises:
        BrokerError: no broker answers within `timeout`, or this client is not let in, or may not write to the topic.
        LoadError: the topic does not exist and the broker does not create it.
    """
    inquiry = Inquiry({**config, "allow.auto.create.topics": "true"}, emit)
    deadline = time.monotonic() + timeout
    # Two seconds: that long a broker may take to create a topic, and to report it.
    patience = time.monotonic() + 2.0
    while True:
        found = inquiry.partitions([topic], max(deadline - time.monotonic(), SLICE_SECONDS))
        if topic in found:
            inquiry.demand(AclOperation.WRITE, [topic])
            return Target(found[topic], inquiry.limits([topic]).get(topic))
        if time.monotonic() >= patience:
            raise LoadError(missing_topics([topic], str(config["bootstrap.servers"])))
        time.sleep(PATIENCE_SECONDS)


def broker_settings(config: Config, names: Sequence[str], timeout: float = RIGHTS_SECONDS) -> dict[str, str]:
    """The values of these settings of one broker; those are left out that this client may not read.

    Args:
        config: from `admin_config`.
        names: of the settings, such as `group.max.session.timeout.ms`.
        timeout: seconds; afterwards all are left out.
    """
    client = open_client(AdminClient, {**config, **client_hooks(_say_nothing)})
    try:
        broker = str(next(iter(client.list_topics(timeout=timeout).brokers)))
        (answer,) = client.describe_configs(
            [ConfigResource(ResourceType.BROKER, broker)], request_timeout=timeout
        ).values()
        found = answer.result()
    except (KafkaException, StopIteration):
        return {}
    return {name: str(found[name].value) for name in names if name in found}


class Inquiry:
    """One admin client, and what it has heard of its brokers meanwhile."""

    def __init__(self, config: Config, emit: Emit | None) -> None:
        self._servers = str(config["bootstrap.servers"])
        hooks = client_hooks(emit or _say_nothing)
        self._told = hooks["error_cb"]
        self._last: KafkaError | None = None
        self.has_controller = False
        """Whether the last answer named a broker that creates topics and knows rights."""
        self._client = open_client(AdminClient, {**config, **hooks, "error_cb": self._hear})

    def _hear(self, error: KafkaError) -> None:
        # "All brokers are down" says less than what came before it: refused, unknown host, not allowed.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last is None:
            self._last = error
        self._told(error)

    def partitions(self, topics: Collection[str], timeout: float, *, tolerant: bool = False) -> dict[str, int]:
        """The partitions of those topics that exist; `tolerant` leaves out those that have another fault, too."""
        deadline = time.monotonic() + timeout
        found: dict[str, int] = {}
        for topic in topics:
            metadata = self._topic(topic, deadline)
            if metadata.error is None:
                found[topic] = len(metadata.partitions)
            elif metadata.error.code() in NOT_ALLOWED or (metadata.error.code() not in NO_TOPIC and not tolerant):
                raise error_of(metadata.error, self._servers, about=f"topic {topic}")
        return found

    def demand(self, operation: AclOperation, topics: Collection[str]) -> None:
        """Nothing, where that may be done with the topics, or where the brokers do not tell.

        Raises:
            BrokerError: it may not; the first such topic is named.
        """
        if not topics or not self.has_controller:  # the client asks the controller, and would wait for one
            return
        answers = self._client.describe_topics(
            TopicCollection(sorted(topics)), include_authorized_operations=True, request_timeout=RIGHTS_SECONDS
        )
        for topic, answer in answers.items():
            try:
                allowed = answer.result().authorized_operations
            except KafkaException as caught:
                if caught.args[0].code() in NOT_ALLOWED:
                    raise error_of(caught.args[0], self._servers, about=f"topic {topic}") from None
                continue
            if allowed and operation not in allowed:
                raise BrokerError(
                    f"not allowed by the broker at {self._servers} (topic {topic}): "
                    f"the operation {operation.name} on it has to be allowed to this client"
                )

    def _topic(self, topic: str, deadline: float) -> TopicMetadata:
        """Asks until there is an answer, or the time is over."""
        while True:
            left = deadline - time.monotonic()
            try:
                cluster = self._client.list_topics(topic, timeout=max(min(left, SLICE_SECONDS), 0.01))
            except KafkaException as caught:
                self._client.poll(0)
                self._give_up(caught.args[0], out_of_time=left <= SLICE_SECONDS)
                continue
            metadata = cluster.topics[topic]
            self.has_controller = cluster.controller_id in cluster.brokers
            if metadata.error is None or metadata.error.code() not in NOT_YET or left <= 0:
                return metadata
            time.sleep(PATIENCE_SECONDS)

    def _give_up(self, error: KafkaError, *, out_of_time: bool) -> None:
        """Raises where asking again is of no use: the client itself would go on knocking for ever."""
        if self._last is not None and self._last.code() in NOT_ALLOWED:
            raise error_of(self._last, self._servers)
        if error.code() not in NO_ANSWER or error.code() in NOT_ALLOWED:
            raise error_of(error, self._servers)
        if out_of_time:
            raise BrokerError(f"no broker answers at {self._servers}: {self._silence(error)}")

    def _silence(self, error: KafkaError) -> str:
        if self._last is not None and self._last.code() == KafkaError._ALL_BROKERS_DOWN:
            # Nothing came before it: no address was unknown, no connection refused, but each was closed unanswered.
            return "each connection is closed unanswered; is -X security.protocol what the broker asks for?"
        return reason_of(self._last or error)

    def create(
        self, partitions: Mapping[str, int], letters_of: Mapping[str, Collection[str]], timeout: float
    ) -> Ensured:
        """Makes these topics; one that somebody else made first is fine.

        Raises:
            BrokerError: this client may not make them.
            LoadError: the brokers do not take a name, and never will.
        """
        if not partitions:
            return Ensured((), {})
        made: list[str] = []
        missing: dict[str, str] = {}
        wanted = [
            NewTopic(topic, count, replication_factor=-1, config=self._room(letters_of.get(topic, ())))
            for topic, count in partitions.items()
        ]
        for topic, future in self._client.create_topics(wanted, request_timeout=timeout).items():
            try:
                future.result()
                made.append(topic)
            except KafkaException as caught:
                error = caught.args[0]
                if error.code() in NOT_ALLOWED:
                    raise error_of(
                        error, self._servers, about=f"topic {topic} is missing and may not be created by this client"
                    ) from None
                if error.code() == KafkaError.TOPIC_EXCEPTION:
                    raise LoadError(
                        f"topic {topic} cannot be created: {reason_of(error)}; set another --dead-letter-topic or "
                        "--results-topic"
                    ) from None
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    missing[topic] = str(error_of(error, self._servers))
        return Ensured(tuple(made), missing)

    def _room(self, topics: Collection[str]) -> dict[str, str]:
        """The configuration with which a topic takes the dead letters of these; none where one's own is not known."""
        limits = self.limits(topics)
        if not topics or len(limits) < len(topics):
            return {}
        return {"max.message.bytes": str(max(limits.values()) + LETTER_BYTES)}

    def limits(self, topics: Collection[str]) -> dict[str, int]:
        """`max.message.bytes` of the topics, of those that this client has the right DESCRIBE_CONFIGS for."""
        limits: dict[str, int] = {}
        if not topics or not self.has_controller:  # an embedded broker does not answer
            return limits
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        answers = self._client.describe_configs(resources, request_timeout=RIGHTS_SECONDS)
        for resource, answer in answers.items():
            try:
                limits[resource.name] = int(answer.result()["max.message.bytes"].value)
            except (KafkaException, KeyError, TypeError, ValueError):
                continue
        return limits


def _say_nothing(event: Event) -> None:
    """For those who only want the error that is raised."""

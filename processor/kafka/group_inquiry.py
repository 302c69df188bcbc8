"""`GroupInquiry`: the coordinator's description of a group, requested over a separate connection."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, GroupMetadata

from processor.errors import ProcessorError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import admin_config, open_client
from processor.runtime.ports import Partition
from processor.settings import Settings
from processor.telemetry.events import Emit

ANSWER_SECONDS: Final = 2.0
"""How long the coordinator may take to name the state of a classic group."""

PATIENCE_SECONDS: Final = 600.0
"""How long the coordinator may take to describe the group. Nothing waits for that.

If the client's request times out before the coordinator has answered, the late answer aborts the process:
`rd_kafka_enq_once_del_source_return: Assertion eonce->refcnt > 0` (confluent-kafka 2.16). Two seconds were too short
where each request takes half a second.
"""

REBALANCING: Final = frozenset(("PreparingRebalance", "CompletingRebalance"))
"""States of a classic group in which its coordinator waits for members (Kafka's `ClassicGroupState`)."""


class GroupInquiry:
    """One admin client, opened by the first request. Belongs to one thread, which it blocks."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._client: AdminClient | None = None

    def describe(self) -> ConsumerGroupDescription | None:
        """Return the group's state and members; None if the coordinator does not answer, or refuses this client."""
        try:
            (answer,) = (
                self._opened()
                .describe_consumer_groups([self._settings.group], request_timeout=PATIENCE_SECONDS)
                .values()
            )
            description: ConsumerGroupDescription = answer.result()
        except (KafkaException, ProcessorError):
            return None
        return description

    def is_rebalancing(self) -> bool:
        """Return whether a classic group is rebalancing; False if the coordinator does not answer.

        It uses the client's older, synchronous request, since it is sent when the broker may be dead, and must end
        soon: see `PATIENCE_SECONDS`.
        """
        try:
            found = self._listed()
        except (KafkaException, ProcessorError):
            return False
        return any(str(group.state) in REBALANCING for group in found)

    def unassigned(self) -> frozenset[Partition] | None:
        """Return the partitions of the topics that no member of a classic group has.

        None if the group rebalances, the coordinator does not answer, or a broker does not know a topic, as may be
        right after its start. The request is that of `is_rebalancing`.
        """
        try:
            groups, client = self._listed(), self._opened()
            topics = {t: client.list_topics(t, timeout=ANSWER_SECONDS).topics[t] for t in self._settings.topics}
        except (KafkaException, ProcessorError):
            return None
        if [str(group.state) for group in groups] != ["Stable"] or any(t.error is not None for t in topics.values()):
            return None
        assigned = {place for group in groups for member in group.members for place in assigned_by(member.assignment)}
        return frozenset(Partition(t, n) for t, topic in topics.items() for n in topic.partitions) - assigned

    def _listed(self) -> list[GroupMetadata]:
        """Return the group, in a list of at most one.

        Raises:
            KafkaException: the coordinator does not answer, or another broker does not.
        """
        client = self._opened()
        try:
            found: list[GroupMetadata] = client.list_groups(self._settings.group, timeout=ANSWER_SECONDS)
        except KafkaException:
            # The client asks every broker that it knows, and fails if one of them is dead, until its metadata are ten
            # seconds old. A new client knows only the brokers that the cluster has now.
            self._client = None
            raise
        return found

    def _opened(self) -> AdminClient:
        if self._client is None:
            config = admin_config(self._settings.bootstrap_servers, self._settings.kafka_config)
            self._client = open_client(AdminClient, {**config, **client_hooks(self._emit)})
        return self._client


def assigned_by(assignment: bytes | None) -> list[Partition]:
    """Return the partitions of a member's assignment, as Kafka's `ConsumerProtocolAssignment.json` lays it out."""
    if not assignment:
        return []
    found = []
    (topics,) = unpack_from(">i", assignment, 2)  # behind the version
    at = 6
    for _ in range(topics):
        (length,) = unpack_from(">h", assignment, at)
        name = assignment[at + 2 : at + 2 + length].decode()
        at += 2 + length
        (count,) = unpack_from(">i", assignment, at)
        found += [Partition(name, number) for number in unpack_from(f">{count}i", assignment, at + 4)]
        at += 4 + 4 * count
    return found

"""Requests that are repeated while a partition's leader or a group's coordinator is elected."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from processor.kafka.admin import NO_LEADER_YET, RETRY_SECONDS
from processor.runtime.ports import Partition

Answer = TypeVar("Answer")

NO_LEADER: Final = NO_LEADER_YET | {KafkaError.NOT_LEADER_FOR_PARTITION}
"""Errors while a partition gets a leader: after the creation or the growth of a topic, or the loss of a broker."""

NO_COORDINATOR: Final = frozenset(
    (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
)
"""Errors while the cluster has just started, or the coordinator of a group moves to another broker."""


def until_elected(ask: Callable[[], Answer], errors: frozenset[int], timeout: float) -> Answer:
    """Return the answer to `ask`, which is called again while it raises one of these errors.

    Args:
        ask: sends the request.
        errors: `NO_LEADER` or `NO_COORDINATOR`.
        timeout: in seconds; after it the error is raised.

    Raises:
        KafkaException: another error, or one of these after the timeout.
    """
    deadline = monotonic() + timeout
    while True:
        try:
            return ask()
        except KafkaException as caught:
            if caught.args[0].code() not in errors or monotonic() >= deadline:
                raise
        sleep(RETRY_SECONDS)


def description_of(
    admin: AdminClient, group: str, timeout: float, *, with_rights: bool = False
) -> ConsumerGroupDescription:
    """Return a group's state and members; `with_rights`, also which operations this client may perform on it.

    Raises:
        KafkaException: there is no such group, or the brokers refuse or do not answer within `timeout` seconds.
    """

    def ask() -> ConsumerGroupDescription:
        asked = admin.describe_consumer_groups(
            [group], include_authorized_operations=with_rights, request_timeout=timeout
        )
        description: ConsumerGroupDescription = asked[group].result()
        return description

    return until_elected(ask, NO_COORDINATOR, timeout)


def watermarks(client: Consumer, partition: Partition, timeout: float) -> tuple[int, int]:
    """Return the partition's first offset, and the one after the last.

    Raises:
        KafkaException: the brokers refuse, or do not answer within `timeout` seconds.
    """
    place = TopicPartition(*partition)
    low, high = until_elected(lambda: client.get_watermark_offsets(place, timeout=timeout), NO_LEADER, timeout)
    return low, high

"""What a group has committed, read and written by a client that is not a member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.admin import RETRY_SECONDS
from processor.kafka.elections import NO_COORDINATOR

Answer = TypeVar("Answer")

SLICE_SECONDS: Final = 1.0
"""Time limit for one request to the client. After it, the client's errors are checked for a denial of access."""

NO_COORDINATOR_YET: Final = NO_COORDINATOR | {KafkaError._WAIT_COORD}
"""`NO_COORDINATOR`, and the client's own error while it still searches for the coordinator."""


def committed_offsets(client: Consumer, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
    """Return the committed offset and metadata of each place; the offset is negative if there is none.

    A client that may not read its group looks for the coordinator until the timeout. The reason is only in what it
    delivers in place of a record.

    Args:
        client: with the `group.id` to ask for; it must have no assignment.
        places: the partitions.
        timeout: in seconds.

    Raises:
        KafkaException: there is no answer in time, or the request is denied, for one partition or for all.
    """
    return _with_coordinator(lambda left: _ask(client, places, left), timeout)


def commit_offsets(client: Consumer, places: Sequence[TopicPartition], timeout: float) -> None:
    """Commit the offset and metadata of each place, in the name of a group without members.

    Raises:
        KafkaException: the brokers refuse, for one partition or for all, or do not answer.
    """
    _with_coordinator(lambda _: _checked(client.commit(offsets=list(places), asynchronous=False) or []), timeout)


def _with_coordinator(call: Callable[[float], Answer | None], timeout: float) -> Answer:
    """Repeat a call, which takes the seconds that are left, while it returns None or there is no coordinator yet."""
    deadline = monotonic() + timeout
    while True:
        left = deadline - monotonic()
        try:
            if (answer := call(left)) is not None:
                return answer
        except KafkaException as caught:
            if caught.args[0].code() not in NO_COORDINATOR_YET or left <= RETRY_SECONDS:
                raise
            sleep(RETRY_SECONDS)


def _ask(client: Consumer, places: Sequence[TopicPartition], left: float) -> list[TopicPartition] | None:
    """Return the answer, or None if there is none yet and time is left."""
    try:
        return _checked(client.committed(list(places), timeout=max(min(left, SLICE_SECONDS), 0.01)))
    except KafkaException as caught:
        delivered = client.poll(0)
        denied = delivered.error() if delivered is not None else None
        if denied is not None and denied.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise KafkaException(denied) from None
        if caught.args[0].code() != KafkaError._TIMED_OUT or left <= SLICE_SECONDS:
            raise
        return None


def _checked(found: list[TopicPartition]) -> list[TopicPartition]:
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found

"""`MemberOffsets`: where a member's group continues and its topics end, requested through the member's own client.

Each request blocks the poller's thread until there is a response, within a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from confluent_kafka import OFFSET_END, OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.access import Access
from processor.kafka.client_errors import end_of
from processor.kafka.elections import NO_LEADER, until_elected
from processor.kafka.errors import NO_TOPIC, error_of, reason_of
from processor.kafka.resets import Resets
from processor.runtime.ports import Partition, Start
from processor.settings import Settings
from processor.telemetry.events import Emit, KafkaClientError

ASK_SECONDS: Final = 5.0
"""Time limit for one request to the broker."""

RESTORE_SECONDS: Final = 30.0
"""How long an assignment waits for the offsets that the group has committed."""

END_SECONDS: Final = 1.0
"""How long an assignment waits for the ends of partitions. A partition without a leader takes all of this time."""


class MemberOffsets:
    """Belongs to the poller's thread."""

    def __init__(self, settings: Settings, access: Access, resets: Resets, emit: Emit) -> None:
        self._settings = settings
        self._access = access
        self._resets = resets
        self._emit = emit

    def ends(self, consumer: Consumer) -> dict[Partition, int]:
        """Return the end offset of every partition of the topics that is not empty.

        Raises:
            BrokerError: no broker responds, or they deny access.
            LoadError: a topic does not exist.
        """
        ends = {}
        for topic in self._settings.topics:
            for number in self._ask(partial(_numbers, consumer), topic):
                low, high = self._ask(consumer.get_watermark_offsets, TopicPartition(topic, number))
                if high > low:
                    ends[Partition(topic, number)] = high
        return ends

    def _ask(self, question: Any, about: Any) -> Any:
        try:
            return question(about, timeout=ASK_SECONDS)
        except KafkaException as caught:
            topic = about if isinstance(about, str) else ""
            raise error_of(caught.args[0], self._settings.bootstrap_servers, about=topic) from None

    def committed(self, consumer: Consumer, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed; none while no broker responds."""
        try:
            found = consumer.committed([TopicPartition(*p) for p in partitions], timeout=ASK_SECONDS)
        except KafkaException as caught:
            self._emit(KafkaClientError(code=caught.args[0].name(), message=reason_of(caught.args[0])))
            return {}
        return {Partition(t.topic, t.partition): t.offset for t in found if t.error is None and t.offset >= 0}

    def restore(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[Start]:
        """Set in each assigned partition the offset at which it begins, and return where the group continues.

        Raises:
            BrokerError: the brokers deny access.
            ProcessorError: no broker responds, and delivery is exactly-once; or a partition has no offset, and none
                may be chosen.
        """
        starts, otherwise = self._starts(consumer, partitions)
        starts = _with_ends(consumer, starts)
        known = {start.partition: start.offset for start in starts}
        for partition in partitions:
            offset = known[Partition(partition.topic, partition.partition)]
            # The offset and the skip map that belongs to it must come from one response.
            partition.offset = offset if offset is not None else otherwise
        return starts

    def _starts(self, consumer: Consumer, partitions: list[TopicPartition]) -> tuple[list[Start], int]:
        """Return where the group continues, and the client's logical offset for partitions without a commit.

        The request is repeated until there is a response, within a limit that keeps this member in the group.
        """
        if not partitions:
            return [], OFFSET_INVALID
        deadline = monotonic() + RESTORE_SECONDS
        while True:
            try:
                asked = [TopicPartition(t.topic, t.partition) for t in partitions]
                starts = [_start(t) for t in consumer.committed(asked, timeout=ASK_SECONDS)]
                return starts, OFFSET_INVALID if all(s.offset is not None for s in starts) else self._resets.first
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
            if self._access.is_denied(error.code()):
                raise self._access.error_of(error)
            if monotonic() >= deadline:
                return self._starts_unknown(partitions, error), OFFSET_INVALID

    def _starts_unknown(self, partitions: list[TopicPartition], error: KafkaError) -> list[Start]:
        if self._settings.is_exactly_once:  # tasks in the skip maps would run twice
            raise end_of(error)
        # With OFFSET_INVALID the client requests the offsets by itself. Only the skip maps are lost.
        message = f"the group's offsets cannot be read: {reason_of(error)}"
        self._emit(KafkaClientError(code=error.name(), message=message))
        return [Start(partition, None, "") for partition in names_of(partitions)]


def _numbers(consumer: Consumer, topic: str, timeout: float) -> Iterable[int]:
    """Return the topic's partitions. A broker that has just started may not know the topic: it is asked again."""

    def ask() -> Iterable[int]:
        metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if metadata.error is not None:  # it has no partitions then
            raise KafkaException(metadata.error)
        numbers: Iterable[int] = metadata.partitions
        return numbers

    return until_elected(ask, NO_LEADER | NO_TOPIC, timeout)


def names_of(partitions: Sequence[TopicPartition]) -> list[Partition]:
    """Return the partitions in the program's form."""
    return [Partition(t.topic, t.partition) for t in partitions]


def _start(found: TopicPartition) -> Start:
    if found.error is not None:
        raise KafkaException(found.error)
    partition = Partition(found.topic, found.partition)
    return Start(partition, found.offset if found.offset >= 0 else None, found.metadata or "")


def _with_ends(consumer: Consumer, starts: list[Start]) -> list[Start]:
    """Return the starts with the ends of those partitions whose commit has metadata, if the brokers respond in time.

    A commit may belong to a former log of the partition, before the topic was recreated. The end is requested after the
    commit was read: then a commit of the present log never lies beyond it.
    """
    asked = [TopicPartition(*start.partition, OFFSET_END) for start in starts if start.metadata]
    if not asked:
        return starts
    try:
        found = consumer.offsets_for_times(asked, timeout=END_SECONDS)
    except KafkaException:
        return starts
    ends = {Partition(at.topic, at.partition): at.offset for at in found if at.error is None and at.offset >= 0}
    return [start._replace(end=ends.get(start.partition)) for start in starts]

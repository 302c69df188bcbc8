"""Events of topics that grow: new partitions that are held and released, and what may break the order meanwhile."""

from __future__ import annotations

from typing import ClassVar

from processor.telemetry.events.event import Event, Level


class ConsumerPartitionHeld(Event):
    """A partition was added to its topic, and its tasks do not begin yet: other partitions may hold earlier tasks of
    its sessions.
    """

    event: ClassVar[str] = "consumer.partition_held"

    topic: str
    partition: int
    partitions: int
    """number of partitions of the topic"""
    partitions_before: int
    """their number before the topic grew, as far as it is known"""
    waits_for: list[str]
    """offsets that must be committed first, at most ten, each as TOPIC[PARTITION]@OFFSET"""
    waits_for_partitions: int
    """number of all partitions that it waits for"""


class ConsumerPartitionReleased(Event):
    """The tasks of a held partition begin: the earlier tasks in the other partitions are settled."""

    event: ClassVar[str] = "consumer.partition_released"

    topic: str
    partition: int
    seconds: float
    """how long it was held"""


class ConsumerGrowthUneven(Event):
    """A topic's number of partitions was not multiplied: sessions also move between the old partitions, and their tasks
    may run out of order. Multiply the number: from 4 to 8 or 12.
    """

    event: ClassVar[str] = "consumer.growth_uneven"
    level: ClassVar[Level] = "warning"

    topic: str
    partitions_before: int
    partitions: int


class ConsumerTopicGrewAgain(Event):
    """A topic has grown again while partitions of an earlier growth are held. The newest partitions wait for these."""

    event: ClassVar[str] = "consumer.topic_grew_again"
    level: ClassVar[Level] = "warning"

    topic: str
    partitions_before: int
    partitions: int


class ConsumerProducerLate(Event):
    """After its topic had grown, a record was written to a partition to which its session no longer belongs.

    Its producer has not noticed the growth (`metadata.max.age.ms`), or does not partition by murmur2. Later tasks of
    the session may overtake it. Logged for the first such record of a partition, by a consumer that also has one of the
    new partitions.
    """

    event: ClassVar[str] = "consumer.producer_late"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    belongs_to: int
    """the partition of its session by murmur2"""
    partitions: int
    """number of partitions of the topic"""


class ConsumerSurveyFailed(Event):
    """A request to the brokers for the topics' and the group's offsets failed. It is sent again.

    Meanwhile new partitions are held, and groups of tasks that are complete hold the commit point.
    """

    event: ClassVar[str] = "consumer.survey_failed"
    level: ClassVar[Level] = "warning"

    error: str

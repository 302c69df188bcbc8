"""`CensusReader`: reads the first unsettled records of partitions, and counts them by session."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, TopicPartition

from processor.engine.record import Record
from processor.kafka.progress_topic import GONE
from processor.kafka.scan import AT_ONCE, SLICE_SECONDS
from processor.operate.census import Census, Share
from processor.operate.partition_view import PartitionView
from processor.runtime.ports import Partition

TASKS: Final = 10_000
"""The most tasks that are counted in one partition."""

TASKS_OF_ALL: Final = 200_000
"""The most tasks that are counted in all partitions together. Their keys are kept in memory."""

SECONDS: Final = 10.0
"""Time limit for all partitions. The counts until then are reported."""


class CensusReader:
    """Belongs to one thread, which it blocks."""

    def __init__(self, reader: Consumer, views: Iterable[PartitionView]) -> None:
        """`reader` joins no group; `views` are the partitions that have tasks left."""
        self._reader = reader
        behind = [view for view in views if view.first_unsettled(0) < view.end]
        most = max(1, min(TASKS, TASKS_OF_ALL // max(1, len(behind))))
        self._open = {view.partition: Census(view, most) for view in behind}
        self._all = dict(self._open)

    def read(self, seconds: float = SECONDS) -> dict[Partition, Share]:
        """Return the session with the most tasks of each partition, without partitions where no task has a key."""
        deadline = monotonic() + seconds
        begins = [TopicPartition(*partition, census.next_offset) for partition, census in self._open.items()]
        if begins:
            self._reader.assign(begins)
        while self._open and monotonic() < deadline:
            for record in cast(list[Record], self._reader.consume(AT_ONCE, SLICE_SECONDS)):
                self._take(record)
        shares = {partition: census.share() for partition, census in self._all.items()}
        return {partition: share for partition, share in shares.items() if share is not None}

    def _take(self, record: Record) -> None:
        partition = Partition(record.topic(), record.partition())
        error = cast(KafkaError | None, record.error())
        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            # an error of a whole topic may name no partition
            for denied in [each for each in self._open if each.topic == partition.topic]:
                self._finish(denied)
        census = self._open.get(partition)
        if census is None:
            return
        if error is None:
            if census.take(record.offset(), record.key()):
                self._reader.seek(TopicPartition(*partition, census.next_offset))
        elif error.code() == KafkaError._PARTITION_EOF:
            # the last records of a partition may be of a transaction that is open
            census.cut(max(record.offset(), census.next_offset))
        if census.is_done or (error is not None and error.code() in GONE):
            self._finish(partition)

    def _finish(self, partition: Partition) -> None:
        del self._open[partition]
        self._reader.incremental_unassign([TopicPartition(*partition)])

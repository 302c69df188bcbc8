"""`LateRecords`: reports records of producers that have not noticed that a topic has grown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

from processor.engine.extents import Extent
from processor.engine.late_producers import LateProducers
from processor.engine.record import Record
from processor.handlers.joins import is_of_join
from processor.runtime.ports import Partition
from processor.telemetry.events import ConsumerProducerLate, Emit

PartitionRun: TypeAlias = tuple[Partition, Sequence[Record]]
"""A partition, and consecutive records of it."""


class LateRecords:
    """Logs the records that `LateProducers` finds. Belongs to the poller's thread."""

    def __init__(self, emit: Emit) -> None:
        self._producers = LateProducers()
        self._emit = emit

    def learn(self, topics: Set[str], found: Mapping[str, Mapping[int, Extent]]) -> None:
        """Look for such records in these topics, and in no others.

        Args:
            topics: those that have partitions which are held or watched.
            found: the extents of the partitions of some topics, by topic and number.
        """
        for topic in topics & found.keys():
            self._producers.note(topic, found[topic])
        self._producers.keep(topics)

    def keep(self, topics: Set[str]) -> None:
        """Look for no such records in other topics any more."""
        self._producers.keep(topics)

    def look_at(self, runs: Sequence[PartitionRun]) -> None:
        """Check one record of each run: the last one, which is the least likely to be from before the growth."""
        for partition, run in runs:
            record = run[-1]
            if is_of_join(record):  # records of joins stay in the partition where their group began
                continue
            stray = self._producers.check(partition, record.offset(), record.key())
            if stray is not None:
                self._emit(
                    ConsumerProducerLate(
                        topic=partition.topic,
                        partition=partition.number,
                        offset=record.offset(),
                        belongs_to=stray.belongs_to,
                        partitions=stray.partitions,
                    )
                )

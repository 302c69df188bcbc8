"""`Redelivery`: drops records that the client delivers a second time after a rebalance.

At the beginning of a rebalance, librdkafka pauses every partition of a member in its main thread, and notes the
position of each as the one to resume at. `consume` advances these positions only once it has put together all of the
records that it returns. A pause at that moment notes a position before these records, so they are fetched and
delivered again after the rebalance (librdkafka, `rd_kafka_q_serve_rkmessages` and `rd_kafka_toppar_pause_resume`).

The client does advance the positions before `consume` returns. Between the rebalance's callback and the next record of
a partition that stays, they are therefore where that record belongs, and each record below is a repeated one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processor.runtime.ports import Partition, Record


class Redelivery:
    """The partitions that stay in a rebalance, until their next records arrive. For the poller's thread only."""

    def __init__(self) -> None:
        self._staying: set[Partition] | None = None
        """The partitions that were assigned before the current call and were not revoked in it; None if the call has
        served no rebalance."""
        self._next: dict[Partition, int] = {}
        """The offset below which each partition's records were delivered before."""
        self._numbers: frozenset[int] = frozenset()
        """The numbers of these partitions, whatever their topics."""

    def on_rebalance(self, assigned: Iterable[Partition]) -> None:
        """Take the partitions that are assigned before the client's callback changes them."""
        if self._staying is None:
            self._staying = set(assigned)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop partitions that are given up, or that begin at another offset: their next records may be lower."""
        for partition in partitions:
            self._next.pop(partition, None)
            if self._staying is not None:
                self._staying.discard(partition)

    def filter(self, consumer: Consumer, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records of the client's last call without those that it had delivered in an earlier one."""
        if self._next and records:
            records = self._without_repeated(records)
        if self._staying is not None:
            self._note_positions(consumer, self._staying)
            self._staying = None
        return records

    def _without_repeated(self, records: Sequence[Record]) -> Sequence[Record]:
        # A partition without new records may be expected for hours, and this must cost those of others next to nothing.
        if self._numbers.isdisjoint(map(type(records[0]).partition, records)):
            return records
        taken = [record for record in records if record.error() is not None or not self._is_repeated(record)]
        self._numbers = frozenset(partition.number for partition in self._next)
        return taken

    def _is_repeated(self, record: Record) -> bool:
        partition = Partition(record.topic(), record.partition())
        if (expected := self._next.get(partition)) is None:
            return False
        if record.offset() < expected:
            return True
        del self._next[partition]
        return False

    def _note_positions(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        with suppress(KafkaException):  # a failed client delivers nothing more
            for at in consumer.position([TopicPartition(*partition) for partition in partitions]):
                if at.error is None and at.offset >= 0:  # it has delivered something since the assignment
                    self._next[Partition(at.topic, at.partition)] = at.offset
        self._numbers = frozenset(partition.number for partition in self._next)

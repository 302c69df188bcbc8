"""`Handover`: partitions that are revoked and not released yet, and how those that stay are read meanwhile.

Until the release, the member's client fetches nothing. A second one, the stand-in, reads on in its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from processor.kafka.aside import Aside
from processor.kafka.config import Config
from processor.kafka.errors import reason_of
from processor.kafka.stand_in import StandIn
from processor.runtime.ports import Partition, Record
from processor.telemetry.events import ConsumerReadingOnFailed, Emit


class Handover:
    """The revoked partitions of one member, and its stand-in. Belongs to the poller's thread."""

    def __init__(self, config: Config, emit: Emit) -> None:
        """`config` is the configuration of the member's client, and `emit` receives log events."""
        self._config = config
        self._emit = emit
        self._aside = Aside("stand-in")
        self._begun_at: dict[Partition, int] = {}
        """Where the member's client began each partition, or sought last; perhaps a logical offset."""
        self._paused: set[Partition] = set()
        self.leaving: list[TopicPartition] = []
        """The partitions that are revoked and not released yet. Until then the client fetches nothing, and a call of
        `incremental_unassign`, even for other partitions, would release them."""
        self.stand_in: StandIn | None = None
        """Reads the other partitions meanwhile, and until the member's client has caught up."""

    def on_begin(self, partition: Partition, offset: int) -> None:
        """Take where the member's client begins a partition, or continues it; perhaps a logical offset."""
        self._begun_at[partition] = offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop the stand-in's delivery of these."""
        self._paused.update(partitions)
        if self.stand_in is not None:
            self.stand_in.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Let the stand-in deliver these again."""
        self._paused.difference_update(partitions)
        if self.stand_in is not None:
            self.stand_in.resume(partitions)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop partitions that are revoked or lost."""
        for partition in partitions:
            self._begun_at.pop(partition, None)
        if self.stand_in is not None:
            self.stand_in.forget(partitions)

    def release(self, consumer: Consumer, partitions: list[TopicPartition]) -> bool:
        """Let other members have these; the client may fetch again. Return False if they were released before."""
        if not self.leaving or self.leaving is not partitions:
            return False
        self.leaving = []
        if self.stand_in is not None:
            self._begun_at.update(self.stand_in.hand_back(consumer))
        consumer.incremental_unassign(partitions)
        return True

    def read_on(self, consumer: Consumer, staying: Sequence[Partition]) -> None:
        """Have the partitions that stay read by another client, from the first offset that was not taken of each."""
        try:
            starts = self._next_offsets(consumer, staying)
        except KafkaException as caught:
            self._emit(ConsumerReadingOnFailed(error=reason_of(caught.args[0])))
            return
        if self.stand_in is not None:
            self.stand_in.close()
            for partition, offset in self.stand_in.next.items():
                # The member's client is ahead if it delivered a record in this call: that is taken, and must not be
                # read again, which would look like a partition whose offsets went back.
                if partition not in starts or offset > max(0, starts[partition]):
                    starts[partition] = offset
        if starts:
            paused = self._paused & starts.keys()
            self.stand_in = StandIn(self._config, starts, paused, self._aside, self._emit)

    def _next_offsets(self, consumer: Consumer, staying: Sequence[Partition]) -> dict[Partition, int]:
        """Return the next offset of each partition, or the logical one of its beginning, where known.

        A partition that begins at its end is left out until it has had a record: two clients may find different ends.
        """
        starts = {}
        for at in consumer.position([TopicPartition(*partition) for partition in staying]):
            partition = Partition(at.topic, at.partition)
            offset = at.offset if at.offset >= 0 else self._begun_at.get(partition, OFFSET_INVALID)
            if offset >= 0 or offset == OFFSET_BEGINNING:
                starts[partition] = offset
        return starts

    def deliver(self) -> None:
        """Take what the stand-in's thread has done."""
        self._aside.deliver()

    def take(self, stand_in: StandIn, own: Sequence[Record], limit: int, seconds: float) -> list[Record]:
        """Return the records of the member's client and of the stand-in: each record once, in order.

        Args:
            stand_in: the one that read when the call began.
            own: what the member's client has delivered.
            limit: how many records are returned at most.
            seconds: how long the stand-in waits for a first record if there is none.
        """
        records = stand_in.filter(own)
        if limit > len(records):
            records += stand_in.take(limit - len(records), 0.0 if records else seconds)
        if stand_in.is_over:
            stand_in.close()
            if self.stand_in is stand_in:  # a rebalance in the same call may have put another one in its place
                self.stand_in = None
        return records

    def close(self) -> None:
        """End the stand-in, and wait for its thread a moment."""
        if self.stand_in is not None:
            self.stand_in.close()
            self.stand_in = None
        self._aside.close(lambda: None)

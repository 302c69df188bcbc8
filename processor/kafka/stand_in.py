"""`StandIn`: reads the partitions that stay while the member's client fetches nothing, because others of it drain.

From a revoke until the release, librdkafka pauses every partition of a member, even those that stay, and no call
resumes them. So a second client, which joins no group, continues from the next offset of each. Before the release, the
member's client seeks to where the second one is, and the second one reads until the member's client has caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.engine.splice import Splice
from processor.kafka.aside import Aside
from processor.kafka.client_log import client_hooks
from processor.kafka.config import MEMBERSHIP, Config, open_client, without
from processor.kafka.errors import reason_of
from processor.kafka.reader import polled
from processor.runtime.ports import Partition, Record
from processor.telemetry.events import ConsumerReadingOn, ConsumerReadingOnFailed, Emit

HAND_BACK_SECONDS: Final = 5.0
"""The longest time for which both clients read after the release. The member's client takes a second to catch up."""


class StandIn:
    """Belongs to the poller's thread. Its client is opened and closed in the thread of `Aside`, since that may take
    seconds.

    An error of its client only ends the stand-in: the member's client reads the rest after the release.
    """

    def __init__(
        self, member: Config, starts: Mapping[Partition, int], paused: Collection[Partition], aside: Aside, emit: Emit
    ) -> None:
        """Open the client, in the background.

        Args:
            member: the configuration of the member's client.
            starts: the first offset of each partition that was not taken from that client, or `OFFSET_BEGINNING`.
            paused: the partitions that are not to be delivered.
            aside: where the client is opened and closed.
            emit: receives log events.
        """
        self._config = stand_in_config(member, emit)
        self._starts = starts
        self._splice = Splice({partition: max(0, offset) for partition, offset in starts.items()})
        self._begins = dict(self._splice.next)
        self._paused = set(paused)
        self._aside = aside
        self._emit = emit
        self._opened: Consumer | None = None
        """The client. Belongs to the thread of `aside`, which lends it to the poller's."""
        self._client: Consumer | None = None
        """The client while it is open and used; None before and after."""
        self._is_closed = False
        self._until: float | None = None
        """When the client is closed, even if the member's client has not caught up; None before the release."""
        self._aside.run(self._open, self._begin)

    @property
    def is_open(self) -> bool:
        """Whether its client reads."""
        return self._client is not None

    @property
    def is_over(self) -> bool:
        """Whether the member's client has caught up in every partition."""
        return not self._splice

    @property
    def next(self) -> Mapping[Partition, int]:
        """The next offset of each partition for which the member's client has not caught up."""
        return self._splice.next

    def take(self, limit: int, seconds: float) -> list[Record]:
        """Return at most `limit` records that the member's client has not delivered; waits for the first one."""
        if self._until is not None and monotonic() >= self._until:
            self.close()
        if self._client is None:
            return []
        try:
            records = polled(self._client, limit, seconds)
        except KafkaException as caught:
            self._fail(reason_of(caught.args[0]))
            return []
        errors = [error for record in records if (error := _error_of(record)) is not None]
        if errors:
            self._fail(reason_of(errors[0]))
        return _taken([record for record in records if _error_of(record) is None], self._splice.is_taken_from_second)

    def filter(self, records: Sequence[Record]) -> list[Record]:
        """Return what the member's client has delivered without the records that were taken before."""
        for record in records:
            error = _error_of(record)
            if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                self.forget([Partition(record.topic(), record.partition())])
        return _taken(records, self._splice.is_taken_from_member)

    def hand_back(self, consumer: Consumer) -> dict[Partition, int]:
        """Let the member's client continue where this one is. Return its new positions. Call this before the release.

        Without the seek, the member's client would fetch records again only for `filter` to drop them.
        """
        sought = {}
        for partition, offset in self._splice.next.items():
            if offset != self._begins[partition]:
                with suppress(KafkaException):
                    consumer.seek(TopicPartition(*partition, offset))
                    sought[partition] = offset
        self._splice.end()
        self._splice.forget(self._paused & sought.keys())  # neither client delivers these until they are resumed
        self._until = monotonic() + HAND_BACK_SECONDS
        return sought

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Delivers none of these."""
        self._paused.update(partitions)
        if self._client is not None:
            self._client.pause(self._positions(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Delivers these again."""
        self._paused.difference_update(partitions)
        if self._client is not None:
            self._client.resume(self._positions(partitions))

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Drop partitions that the member has given up, or that it begins again at another offset."""
        self._splice.forget(partitions)

    def high_watermark(self, partition: Partition) -> int:
        """Return the last end offset that a fetch has reported; negative if none has."""
        if self._client is None or partition not in self._starts:
            return -1
        high: int = self._client.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
        return high

    def close(self) -> None:
        """Stop reading. What the member's client delivers must still pass `filter`."""
        if not self._is_closed:
            self._is_closed, self._client, self._until = True, None, None
            self._aside.run(self._close, lambda _: None)

    def _positions(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        return [TopicPartition(*partition) for partition in partitions if partition in self._starts]

    def _begin(self, error: str | None) -> None:
        if error is not None:
            self._fail(error)
        elif not self._is_closed:
            self._client = self._opened
            self.pause(list(self._paused))
            self._emit(ConsumerReadingOn(partitions=sorted(map(str, self._starts))))

    def _fail(self, error: str) -> None:
        if not self._is_closed:
            self._emit(ConsumerReadingOnFailed(error=error))
            self.close()

    # --- in the thread of `Aside` ----------------------------------------------------------------------

    def _open(self) -> str | None:
        try:
            client: Consumer = open_client(Consumer, self._config)
            self._opened = client
            client.assign([TopicPartition(*partition, offset) for partition, offset in self._starts.items()])
        except KafkaException as caught:
            return reason_of(caught.args[0])
        except Exception as error:  # noqa: BLE001 — a call aside must not raise
            return str(error)
        return None

    def _close(self) -> None:
        client, self._opened = self._opened, None
        if client is not None:
            client.close()


def stand_in_config(member: Config, emit: Emit) -> Config:
    """The configuration of a stand-in: it fetches as the member's client does, and joins no group.

    It keeps the group's ID, to which the member has access.
    """
    return {
        **without(member, MEMBERSHIP | {"on_commit"}),
        **client_hooks(emit),
        "client.id": f"{member['client.id']}-stand-in",
    }


def _error_of(record: Record) -> KafkaError | None:
    """Return the error that a record reports; None for the end of a partition too."""
    error = cast(KafkaError | None, record.error())
    return None if error is None or error.code() == KafkaError._PARTITION_EOF else error


def _taken(records: Sequence[Record], is_taken: Callable[..., bool]) -> list[Record]:
    """Return the records and ends of partitions that are taken, and any error."""
    taken = []
    for record in records:
        if _error_of(record) is None:
            offset = record.offset()
            after = offset + 1 if record.error() is None else offset  # an end is the offset of the next record
            if not is_taken(Partition(record.topic(), record.partition()), offset, after=after):
                continue
        taken.append(record)
    return taken

"""`Scan`: reads partitions from given offsets to given ends, without a group and with little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from types import TracebackType
from typing import Final, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.engine.record import Record
from processor.errors import BrokerError
from processor.kafka.admin import ANSWER_SECONDS
from processor.kafka.client_log import client_hooks, discard
from processor.kafka.config import open_client, reader_config
from processor.kafka.elections import watermarks
from processor.kafka.errors import ACCESS_DENIED, error_of
from processor.options.connection import ConnectionOptions
from processor.runtime.ports import Partition

SLICE_SECONDS: Final = 0.1
"""How long a wait inside the client may delay a signal."""

AT_ONCE: Final = 500
"""Records that are taken from the client at once."""

MEMORY: Final = {
    "queued.min.messages": "1000",
    "queued.max.messages.kbytes": "8192",
    "max.partition.fetch.bytes": "262144",
    # With the default of one second, the client idles too long after its queue was full.
    "fetch.queue.backoff.ms": "20",
    "fetch.wait.max.ms": "50",
}
"""Settings that bound what the client holds, to some 8 MB and one response."""


class Scan:
    """Belongs to one thread. Its methods raise BrokerError if no broker responds or access is denied."""

    def __init__(self, connection: ConnectionOptions, about: str) -> None:
        """Opens the client.

        Args:
            connection: the brokers.
            about: what is read, for errors.

        Raises:
            SettingsError, LoadError: the client cannot be opened.
        """
        self._servers = connection.bootstrap_servers
        self._about = about
        config = reader_config(self._servers, {**MEMORY, **connection.kafka_config})
        self._client: Consumer = open_client(Consumer, {**config, **client_hooks(discard)})

    def bounds(self, topic: str, partitions: int) -> dict[Partition, tuple[int, int]]:
        """Return the lowest offset and the end of each partition."""
        places = [Partition(topic, number) for number in range(partitions)]
        try:
            return {place: watermarks(self._client, place, ANSWER_SECONDS) for place in places}
        except KafkaException as caught:
            raise self._error(caught.args[0]) from None

    def records(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record | None]:
        """Yield the records of each partition in their order, and None whenever the client has none at the moment.

        A partition ends at the end that is given, or at its present end, whichever comes first.

        Args:
            ranges: the first offset to read of each partition, and the one after the last.
        """
        unfinished = {place: end for place, (low, end) in ranges.items() if low < end}
        self._client.assign([TopicPartition(*place, ranges[place][0]) for place in unfinished])
        deadline = monotonic() + ANSWER_SECONDS
        while unfinished:
            taken = self._take()
            if not taken:
                if monotonic() >= deadline:
                    raise BrokerError(f"no broker at {self._servers} has sent more of {self._about}")
                yield None
                continue
            for record in taken:
                if self._belongs(record, unfinished):
                    yield record
            deadline = monotonic() + ANSWER_SECONDS  # what the caller did with them took time

    def follow(self, begins: Mapping[Partition, int]) -> Iterator[Record | None]:
        """Yield records from these offsets on, without end, and None whenever there are none at the moment."""
        self._client.assign([TopicPartition(*place, offset) for place, offset in begins.items()])
        while True:
            taken = self._take()
            for record in taken:
                if self._error_in(record) is None:
                    yield record
            if not taken:
                yield None

    def close(self) -> None:
        """Closes the client."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> list[Record]:
        first = self._client.poll(SLICE_SECONDS)
        if first is None:
            return []
        return cast(list[Record], [first, *self._client.consume(AT_ONCE, 0)])

    def _belongs(self, record: Record, unfinished: dict[Partition, int]) -> bool:
        """Return whether the record is one to yield. Removes partitions that are finished."""
        place = Partition(record.topic(), record.partition())
        error = self._error_in(record)
        end = unfinished.get(place)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                unfinished.pop(place, None)
            return False
        if end is None or record.offset() >= end:
            self._finish(place, unfinished)
            return False
        if record.offset() == end - 1:
            self._finish(place, unfinished)
        return True

    def _finish(self, place: Partition, unfinished: dict[Partition, int]) -> None:
        if unfinished.pop(place, None) is not None:
            self._client.incremental_unassign([TopicPartition(*place)])

    def _error_in(self, record: Record) -> KafkaError | None:
        """Return the error that a record without content reports; None if it has none. Raise if reading must end."""
        error = cast(KafkaError | None, record.error())
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return error
        # The client looks up the group, which reading does not need.
        if error.code() in ACCESS_DENIED and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise self._error(error)
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise BrokerError(f"{self._about}: records were deleted while they were read; run the command again")
        return error

    def _error(self, error: KafkaError) -> Exception:
        return error_of(error, self._servers, about=self._about)

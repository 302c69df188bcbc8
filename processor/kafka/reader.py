"""`KafkaReader`: reads records of any partition once more, with a client that joins no group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.client_log import client_hooks
from processor.kafka.config import open_client, reader_config
from processor.kafka.errors import ACCESS_DENIED, NO_TOPIC, error_of
from processor.kafka.scan import MEMORY
from processor.options.connection import ConnectionOptions
from processor.runtime.ports import End, Lost, Partition, Record
from processor.telemetry.events import Emit

ASK_SECONDS: Final = 3.0
"""Time limit for the request that finds where a log begins."""


class KafkaReader:
    """The `Reader` port. Belongs to one thread."""

    def __init__(self, connection: ConnectionOptions, emit: Emit) -> None:
        """Opens the client, which connects in the background.

        Raises:
            SettingsError, LoadError: the client rejects a setting, or cannot read a file.
        """
        self._servers = connection.bootstrap_servers
        config = reader_config(self._servers, {**MEMORY, **connection.kafka_config})
        self._client: Consumer = open_client(Consumer, {**config, **client_hooks(emit)})
        self._begun: set[Partition] = set()

    def begin(self, partition: Partition, offset: int) -> None:
        """Delivers the partition from this offset on. A new assignment drops what was fetched at another offset.

        Raises:
            ProcessorError: the client cannot continue.
        """
        if partition in self._begun:
            self.end(partition)
        try:
            self._client.incremental_assign([TopicPartition(*partition, offset)])
        except KafkaException as caught:
            raise error_of(caught.args[0], self._servers, about=str(partition)) from None
        self._begun.add(partition)

    def end(self, partition: Partition) -> None:
        """Stops delivering the partition."""
        self._client.incremental_unassign([TopicPartition(*partition)])
        self._begun.discard(partition)

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Return the first record as soon as it arrives, and those that the client has already.

        Raises:
            ProcessorError: the client cannot continue.
        """
        try:
            return polled(self._client, limit, seconds)
        except KafkaException as caught:
            raise error_of(caught.args[0], self._servers) from None

    def interpret(self, record: Record) -> End | Lost | None:
        """Return the end of a partition, or where its log begins.

        Raises:
            BrokerError: the brokers deny access, or do not say where the log begins.
            LoadError: the topic no longer exists.
        """
        error = cast(KafkaError, record.error())
        if error.code() == KafkaError._PARTITION_EOF:
            return End(Partition(record.topic(), record.partition()), record.offset())
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            partition = Partition(record.topic(), record.partition())
            return Lost(partition, self._start_of(partition))
        if error.code() in NO_TOPIC:
            raise error_of(error, self._servers, about=str(record.topic()))
        # The client looks up the group, which reading does not need. Other errors are temporary.
        if error.code() in ACCESS_DENIED and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise error_of(error, self._servers, about=f"topic {record.topic()}")
        return None

    def close(self) -> None:
        """Closes the client."""
        self._client.close()

    def _start_of(self, partition: Partition) -> int:
        try:
            low, _ = self._client.get_watermark_offsets(TopicPartition(*partition), timeout=ASK_SECONDS)
        except KafkaException as caught:
            raise error_of(caught.args[0], self._servers, about=str(partition)) from None
        return int(low)


def polled(client: Consumer, limit: int, seconds: float) -> list[Record]:
    """Return at most `limit` records: the first one as soon as it arrives, then those that the client has already."""
    first = cast(Record | None, client.poll(seconds))
    if first is None:
        return []
    return [first, *cast(list[Record], client.consume(limit - 1, 0))] if limit > 1 else [first]

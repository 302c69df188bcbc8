"""Reads the records of a topic and the offsets that a group has committed, without joining a group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import BrokerError, LoadError
from processor.kafka.admin import ANSWER_SECONDS, TopicAdmin, check_topics
from processor.kafka.client_log import client_hooks
from processor.kafka.committed import committed_offsets
from processor.kafka.config import admin_config, open_client, reader_config
from processor.kafka.elections import watermarks
from processor.kafka.errors import error_of
from processor.runtime.ports import Partition, Record

SLICE_SECONDS = 0.2
"""Time for which one call of the client may delay a signal."""

_AT_ONCE: Final = 1000
"""Records that are requested from the client at once."""


def record_at(
    bootstrap_servers: str,
    kafka_config: Mapping[str, Any],
    partition: Partition,
    offset: int,
    timeout: float = ANSWER_SECONDS,
) -> Record:
    """Return the record with this offset.

    Args:
        bootstrap_servers: HOST:PORT, or several separated by commas.
        kafka_config: the settings of `-X`.
        partition: its partition.
        offset: its offset.
        timeout: time limit in seconds for each request.

    Raises:
        BrokerError: no broker responds, or the brokers deny access.
        LoadError: the topic, the partition or the record does not exist; the message names the offsets that do.
        SettingsError: the client rejects a setting.
    """
    count = check_topics(TopicAdmin(admin_config(bootstrap_servers, kafka_config)), [partition.topic], timeout)[
        partition.topic
    ]
    if partition.number >= count:
        raise LoadError(f"{partition.topic} has no partition {partition.number}: they are 0 to {count - 1}")
    with _reader(bootstrap_servers, kafka_config, str(partition)) as consumer:
        return _found(consumer, partition, offset, timeout)


def records_of(
    bootstrap_servers: str, kafka_config: Mapping[str, Any], topic: str, timeout: float = ANSWER_SECONDS
) -> list[Record]:
    """Return all records that `topic` has now, those of each partition in order.

    Args:
        bootstrap_servers: HOST:PORT, or several separated by commas.
        kafka_config: the settings of `-X`.
        topic: its name.
        timeout: time limit in seconds for each request, and for reading all records.

    Raises:
        BrokerError: no broker responds in time, or the brokers deny access.
        LoadError: the topic does not exist.
        SettingsError: the client rejects a setting.
    """
    with _reader(bootstrap_servers, kafka_config, topic) as consumer:
        extents = _extents(consumer, bootstrap_servers, topic, timeout)
        consumer.assign([TopicPartition(*partition, low) for partition, (low, _) in extents.items()])
        return list(_until_the_end(consumer, set(extents), timeout))


def lag_of(
    bootstrap_servers: str, kafka_config: Mapping[str, Any], group: str, topic: str, timeout: float = ANSWER_SECONDS
) -> dict[Partition, int]:
    """Return the number of offsets that the group has not committed, for each partition of `topic` that is not empty.

    The other arguments and the errors are those of `records_of`.
    """
    with _reader(bootstrap_servers, kafka_config, topic, **{"group.id": group}) as consumer:
        extents = _extents(consumer, bootstrap_servers, topic, timeout)
        found = committed_offsets(consumer, [TopicPartition(*partition) for partition in extents], timeout)
        committed = {place.partition: place.offset for place in found}
        return {partition: high - max(low, committed[partition.number]) for partition, (low, high) in extents.items()}


@contextmanager
def _reader(bootstrap_servers: str, kafka_config: Mapping[str, Any], about: str, **more: str) -> Iterator[Consumer]:
    """Open a client for the duration of the context, and convert its errors to those of `processor.errors`."""
    config = {**reader_config(bootstrap_servers, kafka_config), **more, **client_hooks(lambda _: None)}
    consumer: Consumer = open_client(Consumer, config)
    try:
        yield consumer
    except KafkaException as caught:
        raise error_of(caught.args[0], bootstrap_servers, about=about) from None
    finally:
        consumer.close()


def _extents(consumer: Consumer, servers: str, topic: str, timeout: float) -> dict[Partition, tuple[int, int]]:
    """Return the first offset of each partition that has records, and the one after the last."""
    metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
    if metadata.error is not None:
        raise error_of(metadata.error, servers, about=topic)
    extents = {}
    for number in metadata.partitions:
        partition = Partition(topic, number)
        low, high = watermarks(consumer, partition, timeout)
        if high > low:
            extents[partition] = (low, high)
    return extents


def _until_the_end(consumer: Consumer, unfinished: set[Partition], timeout: float) -> Iterator[Record]:
    deadline = time.monotonic() + timeout
    while unfinished:
        if time.monotonic() >= deadline:
            names = ", ".join(sorted(map(str, unfinished)))
            raise BrokerError(f"not read to the end within {timeout:g} s: {names}")
        for record in cast(list[Record], consumer.consume(_AT_ONCE, SLICE_SECONDS)):
            error = cast(KafkaError | None, record.error())
            if error is None:
                yield record
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard(Partition(record.topic(), record.partition()))
            elif not _is_of_the_group(error):
                raise KafkaException(error)


def _is_of_the_group(error: KafkaError | None) -> bool:
    """Return whether access to the group is denied. The client requests it, and reading does not need it."""
    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def _found(consumer: Consumer, partition: Partition, offset: int, timeout: float) -> Record:
    low, high = watermarks(consumer, partition, timeout)
    if offset >= high:
        raise LoadError(f"{partition} has no offset {offset} yet: {_extent(low, high)}")
    if offset < low:
        raise LoadError(f"{partition} has no offset {offset} any more: {_extent(low, high)}")
    consumer.assign([TopicPartition(*partition, offset)])
    record = _next(consumer, partition, timeout)
    if record is not None and record.offset() == offset:
        return record
    after = "nothing follows it" if record is None else f"the next record is {record.offset()}"
    raise LoadError(f"{partition} has no record at {offset}: compacted, aborted or a transaction's marker; {after}")


def _next(consumer: Consumer, partition: Partition, timeout: float) -> Record | None:
    """Return the next record that the broker delivers; None at the end of the partition."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        record = consumer.poll(SLICE_SECONDS)
        if record is None or _is_of_the_group(record.error()):
            continue
        if (error := record.error()) is None:
            return cast(Record, record)
        if error.code() == KafkaError._PARTITION_EOF:
            return None
        raise KafkaException(error)
    raise BrokerError(f"no broker responds for {partition} within {timeout:g} s")


def _extent(low: int, high: int) -> str:
    return "it is empty" if low == high else f"there are {low} to {high - 1}"

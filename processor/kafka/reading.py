"""One record by its place, looked up without joining a group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import BrokerError, LoadError
from processor.kafka.admin import ANSWER_SECONDS, check_topics
from processor.kafka.client_log import client_hooks
from processor.kafka.config import admin_config, error_of, lookup_config, open_client
from processor.runtime.ports import Partition, Record

SLICE_SECONDS = 0.2
"""How long a wait inside the client may keep a signal waiting."""


def record_at(
    bootstrap_servers: str,
    kafka_config: Mapping[str, str],
    partition: Partition,
    offset: int,
    timeout: float = ANSWER_SECONDS,
) -> Record:
    """The record with this offset.

    Args:
        bootstrap_servers: HOST:PORT, several with commas.
        kafka_config: what `-X` gave.
        partition: where it is.
        offset: its number there.
        timeout: seconds that each question to the brokers may take.

    Raises:
        BrokerError: no broker answers, or this client is not let in.
        LoadError: there is no such topic, partition or record; what there is instead is told.
        SettingsError: the client refuses a setting.
    """
    count = check_topics(admin_config(bootstrap_servers, kafka_config), [partition.topic], timeout)[partition.topic]
    if partition.number >= count:
        raise LoadError(f"{partition.topic} has no partition {partition.number}: they are 0 to {count - 1}")
    config = {**lookup_config(bootstrap_servers, kafka_config), **client_hooks(lambda _: None)}
    consumer: Consumer = open_client(Consumer, config)
    try:
        return _found(consumer, partition, offset, timeout)
    except KafkaException as caught:
        raise error_of(caught.args[0], bootstrap_servers, about=str(partition)) from None
    finally:
        consumer.close()


def _found(consumer: Consumer, partition: Partition, offset: int, timeout: float) -> Record:
    low, high = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=timeout)
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
    """The next record that the broker delivers; None at the partition's end."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        record = consumer.poll(SLICE_SECONDS)
        if record is None:
            continue
        if (error := record.error()) is None:
            return cast(Record, record)
        if error.code() == KafkaError._PARTITION_EOF:
            return None
        raise KafkaException(error)
    raise BrokerError(f"no broker answers for {partition} within {timeout:g} s")


def _extent(low: int, high: int) -> str:
    return "it is empty" if low == high else f"there are {low} to {high - 1}"

"""Partitions without a valid offset, if their offsets cannot be looked up for a while."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processor.kafka.resets import Resets
from processor.runtime.ports import Partition
from processor.telemetry.events import Event, KafkaClientError

PARTITION = Partition("t", 3)


class Client:
    """Raises these errors in turn, and then answers."""

    def __init__(self, *codes: int) -> None:
        self._errors = [KafkaException(KafkaError(code)) for code in codes]

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        if self._errors:
            raise self._errors.pop(0)
        return 7, 9

    def incremental_unassign(self, _: object) -> None: ...

    def incremental_assign(self, _: object) -> None: ...


def test_offsets_that_cannot_be_looked_up_are_logged_once_for_each_cause_until_they_can() -> None:
    """Otherwise a partition without a leader would remain so without a log line."""
    events, lost, late = list[Event](), KafkaError.LEADER_NOT_AVAILABLE, KafkaError._TIMED_OUT
    resets = Resets({}, events.append)
    client: Any = Client(lost, lost, late)
    resets.lose(PARTITION)
    found: list[tuple[Partition, int]] = []
    for _ in range(4):
        assert found == []
        resets.look_up(client)
        found += resets.found(client)
    assert found == [(PARTITION, 7)]
    assert not resets
    logged = [event for event in events if isinstance(event, KafkaClientError)]
    assert [event.code for event in logged] == ["LEADER_NOT_AVAILABLE", "_TIMED_OUT"]
    assert all(event.message.startswith("the offsets of t[3] cannot be looked up: ") for event in logged)

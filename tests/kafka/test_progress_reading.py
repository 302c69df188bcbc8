"""Skip maps are read from the progress topic while its brokers are in one state or another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processor.kafka import progress_topic as module
from processor.kafka.progress_topic import read_places
from processor.runtime.ports import MapRecord, Partition, Place
from tests.runtime.fakes import TOPIC, FakeRecord

PLACE = Place(Partition(TOPIC, 0), 7)


class End(FakeRecord):
    """Reports that the partition ends in front of its offset."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._PARTITION_EOF)


class ScriptedReader:
    """A client that returns the given records, and then none."""

    def __init__(self, records: list[FakeRecord]) -> None:
        self._records = records

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def poll(self, seconds: float) -> FakeRecord | None:
        return self._records.pop(0) if self._records else None

    def close(self) -> None: ...


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    def read_from(records: list[FakeRecord], seconds: float = 30.0) -> MapRecord | str:
        monkeypatch.setattr(module, "open_client", lambda *_: ScriptedReader(records))
        return read_places("nowhere:1", {}, [PLACE], seconds)[PLACE]

    return read_from


def test_a_record_that_a_new_leader_does_not_know_as_committed_yet_is_waited_for(read: Any) -> None:
    """It ends the partition in front of the record until its followers have fetched."""
    assert read([End(7, None), FakeRecord(7, b"key", b"map")]) == MapRecord(b"key", b"map")


def test_an_end_is_believed_after_a_while(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.02)
    assert read([End(7, None)]) == "there is no record"


def test_an_end_is_believed_when_the_time_is_over(read: Any) -> None:
    assert read([End(7, None)], 0.05) == "there is no record"

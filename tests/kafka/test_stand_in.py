"""How a stand-in handles its own client, and a member's client that delivers the same records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from processor.errors import SettingsError
from processor.kafka import stand_in as module
from processor.kafka.aside import Aside
from processor.kafka.config import Config, consumer_config
from processor.kafka.stand_in import StandIn, stand_in_config
from processor.runtime.ports import Partition, Record
from processor.settings import Settings
from processor.telemetry.events import ConsumerReadingOn, ConsumerReadingOnFailed, Event
from tests.runtime.fakes import FakeRecord

ONE, OTHER = Partition("t", 0), Partition("t", 1)


class ErrorRecord(FakeRecord):
    """What a client reports between records."""

    def __init__(self, offset: int, code: int, partition: int = 0) -> None:
        super().__init__(offset, None, partition=partition)
        self._code = code

    def error(self) -> KafkaError:
        return KafkaError(self._code)


class Client:
    """A consumer client that delivers what the test gives it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.assigned: list[TopicPartition] = []
        self.paused: set[int] = set()
        self.sought: dict[int, int] = {}
        self.refuses_to_seek = False
        self.is_closed = False

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {at.partition for at in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {at.partition for at in partitions}

    def seek(self, at: TopicPartition) -> None:
        if self.refuses_to_seek:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sought[at.partition] = at.offset

    def poll(self, seconds: float) -> Record | None:
        return self.records.pop(0) if self.records else None

    def consume(self, limit: int, seconds: float) -> list[Record]:
        taken, self.records = self.records[:limit], self.records[limit:]
        return taken

    def close(self) -> None:
        self.is_closed = True


class Reading:
    """A stand-in with a client that the test controls."""

    def __init__(self, starts: dict[Partition, int], paused: set[Partition], opened: Client | Exception) -> None:
        self.events: list[Event] = []
        self.client = opened if isinstance(opened, Client) else Client()
        self.aside = Aside("test")
        member = consumer_config(Settings(topics=("t",), group="g"), 0)
        self.stand_in = StandIn(member, starts, paused, self.aside, self.events.append)
        self.aside.deliver(10.0)

    def take(self, *records: Record, limit: int = 100) -> list[int]:
        """Return the offsets that are taken of these."""
        self.client.records += records
        return [record.offset() for record in self.stand_in.take(limit, 0.0)]

    def filter(self, *records: Record) -> list[int]:
        """Return the offsets that are taken of these from the member's client."""
        return [record.offset() for record in self.stand_in.filter(records)]

    def until_closed(self) -> None:
        self.aside.run(lambda: None, lambda _: None)
        self.aside.deliver(10.0)

    @property
    def failures(self) -> list[str]:
        return [event.error for event in self.events if isinstance(event, ConsumerReadingOnFailed)]


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    readings: list[Reading] = []

    def read(
        starts: dict[Partition, int], paused: set[Partition] | None = None, opened: Client | Exception | None = None
    ) -> Reading:
        client = opened or Client()

        def open_client(kind: object, config: Config) -> Client:
            if isinstance(client, Exception):
                raise client
            return client

        monkeypatch.setattr(module, "open_client", open_client)
        readings.append(Reading(starts, paused or set(), client))
        return readings[-1]

    yield read
    for reading in readings:
        reading.aside.close(lambda: None)


def records(first: int, end: int, partition: int = 0) -> list[FakeRecord]:
    return [FakeRecord(offset, b"k", partition=partition) for offset in range(first, end)]


def test_a_stand_in_reads_from_the_first_offset_that_was_not_taken(opening: Any) -> None:
    reading = opening({ONE: 5, OTHER: OFFSET_BEGINNING})
    assert {at.partition: at.offset for at in reading.client.assigned} == {0: 5, 1: OFFSET_BEGINNING}
    assert reading.stand_in.is_open
    assert [event.partitions for event in reading.events if isinstance(event, ConsumerReadingOn)] == [["t[0]", "t[1]"]]
    assert reading.take(*records(5, 8), *records(0, 2, partition=1), limit=4) == [5, 6, 7, 0]
    assert reading.take() == [1]
    assert reading.stand_in.next == {ONE: 8, OTHER: 2}


def test_the_members_client_continues_at_the_stand_ins_offset_and_no_record_comes_twice(opening: Any) -> None:
    reading = opening({ONE: 5, OTHER: OFFSET_BEGINNING})
    reading.take(*records(5, 8))
    member = Client()
    assert reading.stand_in.hand_back(member) == {ONE: 8} == {ONE: member.sought[0]}  # of the other one nothing came
    assert reading.take(*records(8, 10)) == [8, 9]
    assert reading.filter(*records(8, 12)) == [10, 11]
    assert reading.take(*records(10, 12)) == []
    assert not reading.stand_in.is_over
    assert reading.filter(ErrorRecord(0, KafkaError._PARTITION_EOF, partition=1)) == [0]
    assert reading.stand_in.is_over


def test_records_that_the_member_delivers_again_after_a_failed_seek_are_dropped(opening: Any) -> None:
    reading = opening({ONE: 5})
    reading.take(*records(5, 8))
    member = Client()
    member.refuses_to_seek = True
    assert reading.stand_in.hand_back(member) == {}
    assert reading.filter(*records(5, 7), ErrorRecord(7, KafkaError._PARTITION_EOF)) == []
    assert reading.filter(*records(7, 9)) == [8]
    assert reading.stand_in.is_over


def test_a_stand_in_pauses_the_members_paused_partitions_and_hands_them_back_at_once(opening: Any) -> None:
    reading = opening({ONE: 0, OTHER: 0}, {ONE})
    assert reading.client.paused == {0}
    reading.stand_in.resume([ONE])
    reading.stand_in.pause([OTHER, Partition("another", 7)])
    assert reading.client.paused == {1}
    reading.take(*records(0, 3), *records(0, 3, partition=1))
    reading.stand_in.hand_back(Client())
    assert reading.stand_in.next == {ONE: 3}


def test_a_client_that_cannot_be_opened_is_logged_and_reads_nothing(opening: Any) -> None:
    reading = opening({ONE: 5}, opened=SettingsError("no such setting"))
    assert not reading.stand_in.is_open
    assert reading.failures == ["no such setting"]
    assert reading.take() == []
    reading.stand_in.hand_back(Client())
    assert reading.filter(*records(5, 7)) == [5, 6]
    assert reading.stand_in.is_over


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_an_error_of_its_client_ends_the_stand_in_and_is_logged_once(opening: Any, code: int) -> None:
    reading = opening({ONE: 5, OTHER: 5})
    assert reading.take(*records(5, 7), ErrorRecord(0, code, 1), ErrorRecord(0, code)) == [5, 6]
    assert len(reading.failures) == 1
    assert not reading.stand_in.is_open
    reading.until_closed()
    assert reading.client.is_closed
    assert reading.filter(*records(5, 9)) == [7, 8]


def test_the_client_of_a_stand_in_is_closed_even_if_the_member_has_not_caught_up(
    opening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may be unavailable. What the member delivers is still filtered."""
    monkeypatch.setattr(module, "HAND_BACK_SECONDS", 0.0)
    reading = opening({ONE: 5})
    reading.take(*records(5, 8))
    reading.stand_in.hand_back(Client())
    assert reading.take(*records(8, 9)) == []
    reading.until_closed()
    assert reading.client.is_closed
    assert not reading.failures
    assert reading.filter(*records(7, 9)) == [8]
    assert reading.stand_in.is_over


def test_a_partition_with_an_offset_reset_is_delivered_by_the_member_only(opening: Any) -> None:
    """The topic may have been recreated: then lower offsets are delivered again."""
    reading = opening({ONE: 5})
    reading.take(*records(5, 8))
    lost = ErrorRecord(8, KafkaError._AUTO_OFFSET_RESET)
    assert reading.stand_in.filter([lost]) == [lost]
    assert reading.filter(*records(0, 2)) == [0, 1]
    assert reading.take(*records(8, 9)) == []


def test_a_client_that_is_opened_after_the_end_is_closed_and_not_used(opening: Any) -> None:
    reading = opening({ONE: 5})
    late = StandIn({"client.id": "c"}, {ONE: 5}, set(), reading.aside, reading.events.append)
    late.close()
    reading.until_closed()
    assert not late.is_open
    assert reading.client.is_closed


def test_a_stand_in_fetches_with_the_members_configuration_and_without_membership() -> None:
    kafka_config = {"isolation.level": "read_committed", "session.timeout.ms": "9000", "max.partition.fetch.bytes": "7"}
    settings = Settings(topics=("t",), group="g", kafka_config=kafka_config)
    member = consumer_config(settings, 3, "fleet")
    config = stand_in_config({**member, "on_commit": print}, lambda event: None)
    own = {"logger", "error_cb", "client.id"}
    assert {key: value for key, value in config.items() if key not in own} == {
        key: member[key]
        for key in member.keys() - own
        - {"group.instance.id", "group.protocol", "heartbeat.interval.ms", "max.poll.interval.ms"}
        - {"partition.assignment.strategy", "session.timeout.ms"}
    }  # fmt: skip
    assert config["client.id"] == "processor-3-stand-in"
    assert (config["group.id"], config["isolation.level"]) == ("g", "read_committed")

"""How a source handles rebalances that the client serves in the middle of a call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processor.kafka import source as module
from processor.kafka.redelivery import Redelivery
from processor.kafka.source import KafkaSource
from processor.runtime.ports import Commit, Partition, Record, Start
from processor.settings import Settings
from processor.telemetry.events import ConsumerLeaveUnanswered, Event
from tests.runtime.fakes import FakeRecord

PLACE = TopicPartition("t", 0, 0)


class ScriptedClient:
    """A consumer client whose calls serve a rebalance when the test asks for it, as librdkafka's may."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.in_poll: list[Callable[[], object]] = []
        self.in_consume: list[Callable[[], object]] = []
        self.in_close: list[Callable[[], object]] = []
        self.asked = 0
        self.assigned: list[TopicPartition] = []
        self.unassigned: list[TopicPartition] = []
        self.record: FakeRecord | None = FakeRecord(0, b"k")
        self.fetched: list[FakeRecord] = []
        """What `consume` returns next."""
        self.positions: dict[int, int] = {}

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.assign = lambda: on_assign(self, [TopicPartition("t", 0)])
        self.assign_none = lambda: on_assign(self, [])
        self.assign_other = lambda: on_assign(self, [TopicPartition("t", 1)])
        self.revoke = lambda: on_revoke(self, [PLACE])
        self.lose = lambda: on_lost(self, [PLACE])

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked += 1
        return partitions

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(at.topic, at.partition, self.positions.get(at.partition, -1001)) for at in partitions]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned += partitions

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.unassigned += partitions

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return 7, 9

    def poll(self, seconds: float) -> FakeRecord | None:
        for happens in self.in_poll:
            happens()
        return self.record

    def consume(self, limit: int, seconds: float) -> list[Record]:
        for happens in self.in_consume:
            happens()
        fetched, self.fetched = self.fetched, []
        return list(fetched)

    def close(self) -> None:
        for happens in self.in_close:
            happens()


class NoOffset(FakeRecord):
    """Reports that the broker does not have the next offset of partition 1."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)


class Listener:
    def on_assign(self, starts: list[Start]) -> None: ...

    def on_revoke(self, partitions: list[Partition], release: Callable[[], None]) -> None:
        release()

    def on_lose(self, partitions: list[Partition]) -> None: ...

    def on_reset(self, partition: Partition, offset: int) -> None: ...

    def on_committed(self, commits: list[Commit], error: str | None) -> None: ...


class Draining(Listener):
    """Releases partitions only when the test asks for it, since tasks of them run for long."""

    def on_revoke(self, partitions: list[Partition], release: Callable[[], None]) -> None:
        self.release = release


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> tuple[KafkaSource, ScriptedClient]:
    clients: list[ScriptedClient] = []

    def open_client(kind: object, config: dict[str, Any]) -> ScriptedClient:
        clients.append(ScriptedClient(config))
        return clients[-1]

    monkeypatch.setattr(module, "open_client", open_client)
    source = KafkaSource(Settings(topics=("t",), group="g"), 0, lambda event: None)
    source.open(Listener())  # type: ignore[arg-type]
    return source, clients[0]


@pytest.mark.parametrize("end", ["revoke", "lose"])
def test_a_record_that_arrives_after_its_partition_was_released_and_assigned_again_is_kept(
    opened: tuple[KafkaSource, ScriptedClient], end: str
) -> None:
    """All in one poll: the record is the first of the new assignment, and the client will not deliver it again."""
    source, client = opened
    client.in_poll = [client.assign, getattr(client, end), client.assign]
    assert source.take(10, 0.0) == [client.record]


@pytest.mark.parametrize("end", ["revoke", "lose"])
def test_a_record_whose_partition_is_released_before_it_is_returned_is_dropped(
    opened: tuple[KafkaSource, ScriptedClient], end: str
) -> None:
    """The record came before the release: if the partition is assigned again, it is delivered again."""
    source, client = opened
    client.in_poll = [client.assign]
    client.in_consume = [getattr(client, end), client.assign]
    assert source.take(10, 0.0) == []


def test_records_that_come_again_after_a_rebalance_are_dropped_up_to_the_first_new_one(
    opened: tuple[KafkaSource, ScriptedClient],
) -> None:
    """The client notes where to resume before it counts what it is about to return."""
    source, client = opened

    def offsets(*fetched: int) -> list[int]:
        first, *rest = (FakeRecord(offset, b"k") for offset in fetched)
        client.record, client.fetched = first, rest
        return [record.offset() for record in source.take(10, 0.0)]

    client.in_poll = [client.assign]
    assert offsets(0, 1) == [0, 1]
    client.in_poll, client.in_consume, client.positions = [], [client.assign_none], {0: 4}
    assert offsets(2, 3) == [2, 3]
    client.in_consume = []
    assert offsets(2) == []
    assert offsets(2, 3, 4, 5) == [4, 5]
    assert offsets(3) == [3]  # what is lower later is not the rebalance's: the offsets have moved back


@pytest.mark.parametrize("end", ["revoke", "lose"])
def test_records_of_a_new_assignment_are_kept_although_the_client_had_delivered_later_ones(
    opened: tuple[KafkaSource, ScriptedClient], end: str
) -> None:
    """Its position may still be that of the assignment before."""
    source, client = opened
    client.in_poll = [client.assign]
    client.positions = {0: 1}
    assert list(source.take(10, 0.0)) == [client.record]
    client.in_poll = [getattr(client, end), client.assign]
    assert list(source.take(10, 0.0)) == [client.record]
    client.in_poll = []
    assert list(source.take(10, 0.0)) == [client.record]


def test_an_assignment_begins_at_any_offset_although_nothing_was_revoked_before(
    opened: tuple[KafkaSource, ScriptedClient],
) -> None:
    """A client that has failed is replaced, and its partitions are assigned again from their committed offsets."""
    source, client = opened
    client.in_poll = [client.assign]
    assert list(source.take(10, 0.0)) == [client.record]
    client.positions, client.in_poll = {0: 9}, [client.assign_none]
    client.record = FakeRecord(8, b"k")
    assert list(source.take(10, 0.0)) == [client.record]
    client.in_poll = [client.assign]
    client.record = FakeRecord(4, b"k")
    assert list(source.take(10, 0.0)) == [client.record]


def test_a_partition_that_is_reset_may_begin_at_any_offset() -> None:
    redelivery, client = Redelivery(), ScriptedClient({})
    client.positions = {0: 7}
    redelivery.on_rebalance([Partition("t", 0)])
    redelivery.filter(client, [])  # type: ignore[arg-type]
    redelivery.forget([Partition("t", 0)])
    record = FakeRecord(0, b"k")
    assert list(redelivery.filter(client, [record])) == [record]  # type: ignore[arg-type]


@pytest.fixture
def astray(opened: tuple[KafkaSource, ScriptedClient]) -> tuple[KafkaSource, ScriptedClient]:
    """A source that has two partitions, and whose broker does not have the next offset of the second one."""
    source, client = opened
    client.in_poll, client.record = [client.assign, client.assign_other], None
    source.take(10, 0.0)
    client.in_poll = []
    assert source.interpret(NoOffset(0, None, partition=1)) is None
    return source, client


def test_a_partition_is_not_reset_while_a_revoke_waits_in_the_client(
    astray: tuple[KafkaSource, ScriptedClient],
) -> None:
    """The reset would release the revoked partition, and another member would begin it while its tasks run here."""
    source, client = astray
    source._listener = listener = Draining()  # type: ignore[assignment]
    client.in_poll = [client.revoke]
    source.take(10, 0.0)
    client.in_poll = []
    source.take(10, 0.0)
    assert client.unassigned == []
    listener.release()
    source.take(10, 0.0)
    assert [at.partition for at in client.unassigned] == [0, 1]
    source.close()


def test_a_partition_is_reset_only_once_nothing_is_left_in_the_client(
    astray: tuple[KafkaSource, ScriptedClient],
) -> None:
    """A revoke might wait behind the records."""
    source, client = astray
    client.record = FakeRecord(0, b"k")
    assert [record.offset() for record in source.take(1, 0.0)] == [0]
    client.fetched = [FakeRecord(1, b"k"), FakeRecord(2, b"k")]
    assert len(source.take(3, 0.0)) == 3
    assert client.unassigned == []
    client.fetched = [FakeRecord(3, b"k")]
    assert len(source.take(3, 0.0)) == 2
    assert [at.partition for at in client.unassigned] == [1]
    assert (client.assigned[-1].partition, client.assigned[-1].offset) == (1, 7)


def test_a_reset_continues_after_partitions_were_lost_while_they_drained(
    astray: tuple[KafkaSource, ScriptedClient],
) -> None:
    """A reset waits while partitions leave; those that are lost have left."""
    source, client = astray
    source._listener = Draining()  # type: ignore[assignment]
    client.in_poll = [client.revoke, client.lose]
    source.take(10, 0.0)
    client.in_poll = []
    source.take(10, 0.0)
    assert [at.partition for at in client.unassigned] == [0, 1]


def test_an_assignment_during_the_close_of_the_client_sends_no_query(
    opened: tuple[KafkaSource, ScriptedClient],
) -> None:
    """A client that is closing answers no request: the stop would wait until the request times out."""
    source, client = opened
    source._listener = None  # the consumer has forgotten everything
    client.in_close = [client.assign]
    source.close()
    assert (client.asked, client.assigned) == (0, [TopicPartition("t", 0)])


def test_a_coordinator_that_does_not_answer_does_not_hold_up_the_end(
    opened: tuple[KafkaSource, ScriptedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, client = opened
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.1)
    events: list[Event] = []
    source._emit = events.append
    answers = threading.Event()
    client.in_close = [answers.wait]
    try:
        source.close()
        assert [type(event) for event in events] == [ConsumerLeaveUnanswered]
    finally:
        answers.set()


def test_an_error_while_the_client_leaves_the_group_is_raised(opened: tuple[KafkaSource, ScriptedClient]) -> None:
    source, client = opened

    def fail() -> None:
        raise RuntimeError("in a callback")

    client.in_close = [fail]
    with pytest.raises(RuntimeError, match="in a callback"):
        source.close()

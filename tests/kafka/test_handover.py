"""What is read while partitions leave, if rebalances follow each other closely."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, TopicPartition

from processor.kafka import handover as module
from processor.kafka.config import consumer_config
from processor.kafka.handover import Handover
from processor.runtime.ports import Partition, Record
from processor.settings import Settings

ONE, OTHER = Partition("t", 0), Partition("t", 1)


class Member:
    """The member's client: its positions, and the partitions that it has released."""

    def __init__(self, **positions: int) -> None:
        self.positions = {Partition("t", int(name.removeprefix("p"))): offset for name, offset in positions.items()}
        self.released: list[list[TopicPartition]] = []

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(t.topic, t.partition, self.positions[Partition(t.topic, t.partition)]) for t in partitions
        ]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.released.append(partitions)


class FakeStandIn:
    """A stand-in whose progress the test sets."""

    def __init__(self, _config: object, starts: dict[Partition, int], paused: set[Partition], *_: object) -> None:
        self.starts, self.paused = starts, set(paused)
        self.next: dict[Partition, int] = {}
        self.is_over = self.is_closed = False

    def filter(self, own: list[Record]) -> list[Record]:
        return list(own)

    def take(self, limit: int, seconds: float) -> list[Record]:
        return []

    def hand_back(self, consumer: Member) -> dict[Partition, int]:
        return dict(self.starts)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def handover(monkeypatch: pytest.MonkeyPatch) -> Handover:
    monkeypatch.setattr(module, "StandIn", FakeStandIn)
    return Handover(consumer_config(Settings(topics=("t",), group="g"), 0), lambda event: None)


def read_on(handover: Handover, member: Member) -> Any:
    handover.read_on(member, list(member.positions))  # type: ignore[arg-type]
    return handover.stand_in


def test_a_partition_continues_at_its_next_offset_or_at_its_start(handover: Handover) -> None:
    handover.on_begin(ONE, 7)
    handover.on_begin(OTHER, OFFSET_BEGINNING)
    stand_in = read_on(handover, Member(p0=9, p1=OFFSET_INVALID))
    assert stand_in.starts == {ONE: 9, OTHER: OFFSET_BEGINNING}


def test_a_partition_that_begins_at_its_end_is_left_out_until_it_has_had_a_record(handover: Handover) -> None:
    handover.on_begin(ONE, OFFSET_END)
    assert read_on(handover, Member(p0=OFFSET_INVALID)) is None


def test_the_next_stand_in_continues_partitions_that_the_last_one_has_not_handed_back(handover: Handover) -> None:
    first = read_on(handover, Member(p0=9))
    first.next = {ONE: 12}
    second = read_on(handover, Member(p0=9))
    assert first.is_closed
    assert second.starts == {ONE: 12}


def test_records_delivered_in_the_call_of_the_next_rebalance_are_not_read_again(
    handover: Handover,
) -> None:
    """The client is ahead of the stand-in then. If the record were read again, offsets would seem to move back."""
    handover.on_begin(OTHER, OFFSET_BEGINNING)
    first = read_on(handover, Member(p0=9, p1=OFFSET_INVALID))
    first.next = {ONE: 9, OTHER: 0}
    second = read_on(handover, Member(p0=10, p1=OFFSET_INVALID))
    assert second.starts == {ONE: 10, OTHER: OFFSET_BEGINNING}


def test_a_pause_outlasts_a_change_of_the_stand_in(handover: Handover) -> None:
    handover.pause([ONE])
    assert read_on(handover, Member(p0=9, p1=2)).paused == {ONE}


def test_partitions_are_released_once(handover: Handover) -> None:
    member, leaving = Member(), [TopicPartition("t", 0)]
    handover.leaving = leaving
    handover.release(member, leaving)  # type: ignore[arg-type]
    handover.release(member, leaving)  # type: ignore[arg-type]
    assert member.released == [leaving]


def test_a_release_of_an_earlier_revoke_does_not_release_those_of_a_later_one(handover: Handover) -> None:
    member = Member()
    handover.leaving = [TopicPartition("t", 1)]
    handover.release(member, [TopicPartition("t", 1)])  # type: ignore[arg-type]
    assert member.released == []
    assert handover.leaving


def test_a_stand_in_that_is_done_ends(handover: Handover) -> None:
    stand_in = read_on(handover, Member(p0=9))
    stand_in.is_over = True
    assert handover.take(stand_in, [], 10, 0.0) == []
    assert stand_in.is_closed
    assert handover.stand_in is None


def test_a_stand_in_that_is_done_leaves_the_one_that_a_rebalance_has_put_in_its_place(handover: Handover) -> None:
    """The rebalance came in the same call in which the member's client caught up with the first stand-in."""
    first = read_on(handover, Member(p0=9))
    second = read_on(handover, Member(p0=9))
    first.is_over = True
    handover.take(first, [], 10, 0.0)
    assert (handover.stand_in, second.is_closed) == (second, False)

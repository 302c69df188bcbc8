"""Partitions that no member of a classic group has, after a static member was replaced.

What a coordinator does is in tests/chaos/test_instants.py: a member dies between the two rounds of a rebalance.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError

from processor.kafka import unassigned as module
from processor.kafka.aside import Aside
from processor.kafka.group_inquiry import GroupInquiry, assigned_by
from processor.kafka.unassigned import UnassignedWatch
from processor.runtime.ports import Partition
from processor.settings import Settings
from tests.support.until import until

A, B = Partition("t", 0), Partition("t", 1)

Answers = list[frozenset[Partition] | None]


def test_an_assignment_names_each_partition_of_each_topic() -> None:
    encoded = pack(">hih1sii", 3, 2, 1, b"t", 1, 4) + pack(">h2siii", 2, b"uv", 2, 0, 7) + pack(">i", -1)
    assert assigned_by(encoded) == [("t", 4), ("uv", 0), ("uv", 7)]


@pytest.mark.parametrize("empty", [None, b"", pack(">hii", 0, 0, -1)])
def test_a_member_without_partitions_has_an_assignment_without_any(empty: bytes | None) -> None:
    assert assigned_by(empty) == []


class Admin:
    """A client of a group that has a member for partition 0, of a broker that may not know the topic."""

    def __init__(self, error: KafkaError | None) -> None:
        self.topic = SimpleNamespace(error=error, partitions={} if error is not None else {0: None, 1: None})

    def list_groups(self, group: str, timeout: float) -> list[object]:
        assignment = pack(">hih1sii", 0, 1, 1, b"t", 1, 0) + pack(">i", -1)
        return [SimpleNamespace(state="Stable", members=[SimpleNamespace(assignment=assignment)])]

    def list_topics(self, topic: str, timeout: float) -> object:
        return SimpleNamespace(topics={topic: self.topic})


@pytest.mark.parametrize(
    ("error", "unassigned"), [(None, frozenset({B})), (KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), None)]
)
def test_a_broker_that_does_not_know_the_topic_yet_does_not_answer_which_partitions_have_a_member(
    monkeypatch: pytest.MonkeyPatch, error: KafkaError | None, unassigned: frozenset[Partition] | None
) -> None:
    """Without the topic's partitions, none would be missing, and the watch would end."""
    inquiry = GroupInquiry(Settings(topics=("t",), group="g"), print)
    monkeypatch.setattr(inquiry, "_opened", lambda: Admin(error))
    assert inquiry.unassigned() == unassigned


class Watched:
    """A watch, and the answers of the coordinator, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: Answers = []
        monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)
        monkeypatch.setattr(GroupInquiry, "unassigned", lambda _: self.answers.pop(0))
        self.aside = Aside("test")
        self.watch = UnassignedWatch(self.aside, GroupInquiry(Settings(topics=("t",), group="g"), print))

    def check(self, *answers: frozenset[Partition] | None, own: frozenset[Partition] = frozenset()) -> None:
        for answer in answers:
            assert self.watch.is_due()
            self.answers.append(answer)
            self.watch.check("member", own)
            assert not self.watch.is_due()
            self._wait()

    def _wait(self) -> None:
        """Waits until the watch has its answer: results come in the order of the requests."""
        answered: list[bool] = []

        def has_answered() -> bool:
            self.aside.deliver()
            return bool(answered)

        self.aside.run(lambda: True, answered.append)
        until(has_answered)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(monkeypatch)
    yield made
    made.aside.close(lambda: None)


def test_no_query_is_sent_before_the_first_assignment(watched: Watched) -> None:
    assert not watched.watch.is_due()


def test_partitions_that_are_missing_in_two_checks_are_unserved_once(watched: Watched) -> None:
    watched.watch.on_rebalanced()
    watched.check(frozenset({A, B}))
    assert not watched.watch.unserved()
    watched.check(frozenset({A, B}))
    assert watched.watch.unserved() == {A, B}
    assert not watched.watch.unserved()


@pytest.mark.parametrize("between", [None, frozenset({B})])
def test_partitions_must_be_missing_in_consecutive_checks(
    watched: Watched, between: frozenset[Partition] | None
) -> None:
    watched.watch.on_rebalanced()
    watched.check(frozenset({A}), between, frozenset({A}))
    assert not watched.watch.unserved()


def test_a_rebalance_makes_the_checks_begin_again(watched: Watched) -> None:
    watched.watch.on_rebalanced()
    watched.check(frozenset({A}))
    watched.watch.on_rebalanced()
    watched.check(frozenset({A}))
    assert not watched.watch.unserved()


def test_the_checks_end_when_every_partition_has_a_member(watched: Watched) -> None:
    watched.watch.on_rebalanced()
    watched.check(frozenset())
    watched.watch.on_rebalanced()
    assert not watched.watch.is_due()


def test_a_partition_of_its_own_is_not_missing(watched: Watched) -> None:
    watched.watch.on_rebalanced()
    watched.check(frozenset({A}), own=frozenset({A}))
    assert not watched.watch.unserved()

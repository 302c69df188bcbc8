"""What `--stop-at-end` takes for the ends of the topics, if a broker does not know a topic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processor.errors import LoadError
from processor.kafka import member_offsets as module
from processor.kafka.access import Access
from processor.kafka.member_offsets import MemberOffsets
from processor.kafka.resets import Resets
from processor.runtime.ports import Partition
from processor.settings import Settings

KNOWN = SimpleNamespace(error=None, partitions={0: None, 1: None})
UNKNOWN = SimpleNamespace(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), partitions={})


class Client:
    """A client whose requests for the topic get these answers; the last one is repeated."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def list_topics(self, topic: str, timeout: float) -> object:
        return SimpleNamespace(topics={topic: self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]})

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return (2, 2 + place.partition)


def ends(client: Any) -> dict[Partition, int]:
    settings = Settings(topics=("t",), group="g")
    return MemberOffsets(settings, Access(settings, {}), Resets({}, print), print).ends(client)


def test_the_ends_are_those_of_partitions_that_are_not_empty() -> None:
    assert ends(Client(KNOWN)) == {Partition("t", 1): 3}


def test_a_broker_that_does_not_know_the_topic_yet_is_asked_again() -> None:
    """Right after its start, a broker may not know a topic. Taken for an empty one, it would be done."""
    assert ends(Client(UNKNOWN, UNKNOWN, KNOWN)) == {Partition("t", 1): 3}


def test_a_topic_that_no_broker_knows_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.2)
    with pytest.raises(LoadError, match="topic t cannot be used: Unknown topic or partition"):
        ends(Client(UNKNOWN))

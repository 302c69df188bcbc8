"""Names that a real broker takes or refuses, from one end of a fleet to the other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import cluster
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario

SOON = 120.0
"""Seconds for the start of a fleet and its refusal on a busy machine."""

QUICK = ("--max-attempts", "1", "--stop-at-end")


@pytest.fixture
def on_topic(broker: Broker, tmp_path: Path, start_fleet: Callable[..., Fleet]) -> Callable[[str], Scenario]:
    """A scenario on a topic of that name, with one task that fails."""

    def make(name: str) -> Scenario:
        topic = cluster.create_topic(broker.bootstrap_servers, name, 1)
        work = Scenario(broker, topic, f"g-{uuid.uuid4().hex}", tmp_path, start_fleet)
        work.produce([(b"s", b"fails always")])
        return work

    return make


def long_name(length: int) -> str:
    return uuid.uuid4().hex.ljust(length, "x")


@pytest.mark.parametrize("length", [246, 249])
def test_a_topic_with_a_long_name_requires_the_dead_letter_topic_option(
    on_topic: Callable[[str], Scenario], length: int
) -> None:
    work = on_topic(long_name(length))
    refused = work.run("fail", *QUICK)
    assert refused.wait(SOON) == 5
    (line,) = refused.lines
    assert line.endswith(f"would have {length + 4} characters, and Kafka allows 249: set --dead-letter-topic")
    letters = f"letters-{uuid.uuid4().hex}"
    assert work.run("fail", *QUICK, "--dead-letter-topic", letters).wait() == 0
    assert [letter.key() for letter in cluster.read_all(work.servers, letters)] == [b"s"]
    work.wait_lag(0)


def test_the_longest_topic_name_with_a_default_dead_letter_topic_is_served(on_topic: Callable[[str], Scenario]) -> None:
    work = on_topic(long_name(245))
    assert work.run("fail", *QUICK).wait() == 0
    assert [letter.key() for letter in cluster.read_all(work.servers, f"{work.topic}.dlq")] == [b"s"]


def test_a_dead_letter_topic_that_collides_with_an_existing_topic_is_refused_at_the_start(
    scenario: MakeScenario,
) -> None:
    work = scenario(1)
    other = cluster.create_topic(work.servers, f"{work.topic}_dlq", 1)
    refused = work.run("fail", *QUICK)
    assert refused.wait(SOON) == 5
    (line,) = [line for line in refused.lines if line.startswith("processor: ")]
    assert f"topic {work.topic}.dlq cannot be created: Topic '{work.topic}.dlq' collides" in line
    assert other in line
    assert line.endswith("set another --dead-letter-topic or --results-topic")


@pytest.mark.parametrize("group", ["a b\nü", "g" * 32_767])
def test_a_group_may_have_any_name_of_a_length_that_the_protocol_allows(scenario: MakeScenario, group: str) -> None:
    work = scenario(1)
    work.group = f"{uuid.uuid4().hex}{group}"[: len(group.encode()) if len(group) > 32 else None]
    work.produce([(b"s", b"works")])
    began = time.monotonic()
    assert work.run("fail", *QUICK).wait() == 0
    assert time.monotonic() - began < SOON
    work.wait_lag(0)

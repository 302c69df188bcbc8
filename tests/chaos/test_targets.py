"""Dead-letter and results topics that refuse records for a while.

A test cannot fill a broker's disk or take away its other replicas, so a wire answers with the errors of such a broker.
Topics that are missing, or whose limit is too small for the record, are real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.conftest import Wired
from tests.support import cluster
from tests.support.scenario import MakeScenario, Scenario

Obstacle = Callable[[Wired, list[str]], Iterator[None]]

QUICK = (
    *("--max-attempts", "1", "--commit-interval", "0.1", "-X", "delivery.timeout.ms=4000"),
    *("-X", "topic.metadata.propagation.max.ms=1000"),
)


def absent(wired: Wired, topics: list[str]) -> Iterator[None]:
    """The topics do not exist."""
    yield
    for topic in topics:
        cluster.create_topic(wired.broker.bootstrap_servers, topic, 1)


def too_small(wired: Wired, topics: list[str]) -> Iterator[None]:
    """The topics accept no record of more than a hundred bytes."""
    servers = wired.broker.bootstrap_servers
    for topic in topics:
        cluster.create_topic(servers, topic, 1, max_message_bytes=100)
    yield
    admin = cluster.admin_of(servers)
    entry = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    for altered in admin.incremental_alter_configs(resources).values():
        altered.result(30)


def refusing(code: int) -> Obstacle:
    """Return an obstacle in which each record is answered with this error."""

    def obstacle(wired: Wired, topics: list[str]) -> Iterator[None]:
        for topic in topics:
            cluster.create_topic(wired.broker.bootstrap_servers, topic, 1)
        wired.wire.refused_topics.update(dict.fromkeys(topics, code))
        yield
        wired.wire.refused_topics.clear()

    return obstacle


OBSTACLES = {
    "absent": absent,
    "too small": too_small,
    "read-only": refusing(KafkaError.NOT_ENOUGH_REPLICAS),
    "full": refusing(KafkaError.KAFKA_STORAGE_ERROR),
    "against its policy": refusing(KafkaError.POLICY_VIOLATION),
    "out of order": refusing(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER),
}


@contextmanager
def in_the_way(obstacle: str, wired: Wired, *topics: str) -> Iterator[None]:
    """The topics refuse records inside the `with` block, and accept them afterwards."""
    yield from OBSTACLES[obstacle](wired, list(topics))


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_target_topic_that_rejects_writes_blocks_only_its_sessions_and_receives_all_records_later(
    wired: Wired, wired_scenario: MakeScenario, obstacle: str
) -> None:
    work = wired_scenario(partitions=2)
    letters, results = f"{work.topic}.dlq", f"{work.topic}.results"
    work.produce([(b"bad", b"fails"), (b"bad", b"after it"), (b"asker", b"asks"), (b"asker", b"after it")])
    work.produce_sessions(50, 5)
    with in_the_way(obstacle, wired, letters, results):
        fleet = work.run("answer", "--no-create-topics", "--results-topic", results, *QUICK)
        for topic in (letters, results):
            fleet.wait_for("task.delivery_failed", target_topic=topic)
            if obstacle == "absent":
                fleet.wait_for("consumer.topic_missing", topic=topic, reason="it does not exist")
            if obstacle == "too small":
                told = fleet.wait_for("consumer.output_too_large", topic=topic)
                assert "raise max.message.bytes" in told["error"]
        entries = work.wait_done(51)  # the handler with an answer has succeeded
        assert sum(entry.kind == "start" for entry in entries) == 52
    work.wait_done(53)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults(work.given_up()) == {}
    assert work.repeated() == []
    assert contents(work, letters) == [(b"bad", b"fails")]
    assert contents(work, results) == [(b"asker", b"an answer" * 20)]


def contents(work: Scenario, topic: str) -> list[tuple[object, object]]:
    """Return the keys and values of all records in the topic."""
    return [(record.key(), record.value()) for record in cluster.read_all(work.servers, topic)]


def test_a_stop_while_a_target_topic_rejects_writes_leaves_the_task_to_the_next_consumer(
    wired: Wired, wired_scenario: MakeScenario
) -> None:
    """A task whose output is not acknowledged is not settled, and runs again."""
    work = wired_scenario(partitions=1)
    letters, results = f"{work.topic}.dlq", f"{work.topic}.results"
    work.produce([(b"bad", b"fails"), (b"asker", b"asks")])
    work.produce_sessions(20, 5)
    options = ("--no-create-topics", "--results-topic", results, *QUICK)
    with in_the_way("full", wired, letters, results):
        fleet = work.run("answer", *options, "--drain-timeout", "0.5")
        for topic in (letters, results):
            fleet.wait_for("task.delivery_failed", target_topic=topic)
        work.wait_done(21)
        assert fleet.stop() == 3
    assert work.run("answer", *options, "--stop-at-end").wait() == 0
    work.wait_lag(0)
    assert contents(work, letters) == [(b"bad", b"fails")]
    assert contents(work, results) == [(b"asker", b"an answer" * 20)]
    held = {entry.place for entry in work.ledger.entries() if entry.session in ("bad", "asker")}
    assert {finding.place for finding in work.repeated()} <= held


def test_the_largest_record_that_a_topic_accepts_can_be_dead_lettered(
    wired: Wired, wired_scenario: MakeScenario
) -> None:
    """With its headers, the dead letter exceeds the limit of the task's topic; the dead-letter topic allows it."""
    work = wired_scenario(partitions=1, max_message_bytes=3_000_000)
    value = b"x" * (3_000_000 - 120)
    work.produce([(b"s", value)], message_max_bytes=4_000_000)
    fleet = work.run("refuse", "--stop-at-end", "--max-attempts", "1")
    assert fleet.wait() == 0
    assert contents(work, f"{work.topic}.dlq") == [(b"s", value)]


def test_a_record_accepted_only_compressed_can_be_a_dead_letter_and_a_result(
    wired: Wired, wired_scenario: MakeScenario
) -> None:
    """All three topics have the broker's default limit, a third of the value's size."""
    work = wired_scenario(partitions=1)
    results = f"{work.topic}.results"
    work.produce([(b"s", b"x" * 3_000_000)], compression_type="gzip", message_max_bytes=4_000_000)
    for topic in (f"{work.topic}.dlq", results):
        cluster.create_topic(work.servers, topic, 1)
    work.produce([(b"s", b"after it")])
    answering = work.run("upper", "--stop-at-end", "--results-topic", results)
    assert answering.wait() == 0
    assert contents(work, results) == [(b"s", b"X" * 3_000_000), (b"s", b"AFTER IT")]
    work.group += "-again"
    assert work.run("refuse", "--stop-at-end", "--max-attempts", "1").wait() == 0
    assert contents(work, f"{work.topic}.dlq") == [(b"s", b"x" * 3_000_000), (b"s", b"after it")]
    assert not answering.heard("task.delivery_failed")

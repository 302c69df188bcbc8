"""`--progress-topic` on a real broker: what is done past an interleaved session is known, however much it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from processor.cli.main import main
from tests.conftest import MakeBroker
from tests.support import cluster
from tests.support.operating_schema import checked
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

DONE = 20_000
SLOW = 10_000
"""More offsets together than metadata reaches over, see docs/PERFORMANCE.md."""


def interleaved(done: int, slow: int, sessions: int = 200) -> list[cluster.Row]:
    """Tasks of one slow session, at random among those of others: no metadata has room for so many gaps."""
    behind = set(random.Random(1).sample(range(1, done + slow), slow - 1)) | {0}
    return [(b"slow" if n in behind else b"s%d" % (n % sessions), b"") for n in range(done + slow)]


def lag_of(work: Scenario, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["lag", "-b", work.servers, "-g", work.group, "--samples", "1", "-o", "json"]) == 0
    document: dict[str, Any] = checked("lag", capsys.readouterr().out)
    return document


@pytest.mark.parametrize(("delivery", "protocol"), [("at-least-once", "classic"), ("exactly-once", "consumer")])
def test_a_kill_repeats_nothing_that_was_done_before_the_last_commit(
    scenario: MakeScenario, capsys: pytest.CaptureFixture[str], delivery: str, protocol: str
) -> None:
    work = scenario(partitions=1)
    work.produce(interleaved(DONE, SLOW))
    progress = f"{work.topic}.progress"
    options: tuple[str, ...] = ("-w", "8", "--commit-interval", "0.5", "--progress-topic", progress)
    options += ("--delivery", delivery, "--group-protocol", protocol, "--max-in-flight", "50000", "--timeout", "600")
    options += ("-X", "session.timeout.ms=6000") if protocol == "classic" else ()
    fleet = work.run("wait_if_slow", *options)
    work.wait_done(DONE, 120)
    until(lambda: len(work.known_done()) == DONE, "the group knows what is done", 60, pause=0.2)
    assert not fleet.heard("consumer.skip_map_cut")
    (row,) = lag_of(work, capsys)["partitions"]
    assert (row["lag"], row["done_ahead"], row["left"]) == (DONE + SLOW, DONE, SLOW)
    assert policy_of(work.servers, progress) == "compact"
    work.kill(fleet)
    work.go()
    again = work.run("wait_if_slow", *options, "--stop-at-end")
    assert again.wait(180) == 0
    assert work.faults() == {}
    assert {finding.place for finding in work.repeated()} <= {work.places[0]}
    assert again.wait_for_partitions()["settled_ahead"] == DONE
    assert not again.heard("consumer.skip_map_ignored")


def policy_of(servers: str, topic: str) -> str:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": servers})
    (answer,) = admin.describe_configs([resource]).values()
    return str(answer.result()["cleanup.policy"].value)


def test_an_unavailable_progress_topic_delays_no_commit(
    own_broker: MakeBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """It does not exist and is not created: maps are cut, and a reference to it leads nowhere."""
    broker = own_broker({"offset.metadata.max.bytes": "256"})
    topic = cluster.create_topic(broker.bootstrap_servers, group, 1)
    work = Scenario(broker, topic, group, tmp_path, start_fleet)
    work.produce(interleaved(2_000, 700))
    options = ("-w", "8", "--commit-interval", "0.2", "--progress-topic", f"{topic}.progress", "--timeout", "600")
    fleet = work.run("wait_if_slow", *options, "--no-create-topics", "--drain-timeout", "1")
    work.wait_done(2_000)
    assert fleet.wait_for("consumer.topic_missing", topic=f"{topic}.progress")
    failed = fleet.wait_for("consumer.progress_topic_failed")
    assert failed["topic"] == f"{topic}.progress"
    until(lambda: 0 < len(work.known_done()) < 2_000, "a shorter map is committed", 60, pause=0.1)
    known = len(work.known_done())
    assert fleet.stop() == 3  # one task still ran
    work.go()
    again = work.run("nothing", *options, "--stop-at-end")  # it creates the topic
    assert again.wait() == 0
    assert again.heard("consumer.stats")[-1]["skipped"] >= known
    assert not fleet.heard("consumer.commit_failed")

"""`processor lag`: what it reports of groups that work, stop, and do not exist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.cli.main import main
from processor.engine.progress_record import reference_to
from processor.engine.skipmap import encode, encode_record
from processor.handlers.joins import Join, write_join
from processor.handlers.links import Planned
from processor.kafka.embedded import EmbeddedBroker
from processor.telemetry.redaction import hashed
from tests.cli.refusal import refused
from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.addresses import free_ports
from tests.support.broker import Broker
from tests.support.lifeline import die_with_parent
from tests.support.operating_schema import checked
from tests.support.scenario import MakeScenario, Scenario
from tests.support.until import until

Capture = pytest.CaptureFixture[str]
STUCK = ("--timeout", "600", "--drain-timeout", "1")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


def report(capsys: Capture, servers: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The document that `processor lag -o json` prints, checked against its schema."""
    assert main(["lag", "-b", servers, "-o", "json", *arguments]) == code
    document: dict[str, Any] = checked("lag", capsys.readouterr().out)
    return document


def commit(servers: str, group: str, topic: str, *offsets: int) -> None:
    """Commits the offsets of the partitions 0, 1, … in the group's name."""
    cluster.commit(servers, group, *(TopicPartition(topic, n, offset) for n, offset in enumerate(offsets)))


def with_a_stuck_session(work: Scenario) -> None:
    """300 tasks in one partition; the tenth is of a session that gets stuck."""
    work.produce([(b"stuck" if n == 9 else b"s%d" % (n % 20), b"%d" % n) for n in range(300)])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_fleet_whose_commit_point_is_held_has_done_the_rest(
    scenario: MakeScenario, capsys: Capture, protocol: str
) -> None:
    work = scenario(partitions=1)
    with_a_stuck_session(work)
    work.run("stick", *STUCK, "--group-protocol", protocol)
    until(lambda: len(work.known_done()) == 299, "everything but the stuck task is noted as done", 60, pause=0.1)
    found = report(capsys, work.servers, "-g", work.group)
    assert (found["state"], found["members"]) == ("stable", 1)
    (one,) = found["partitions"]
    assert (one["committed"], one["lag"], one["done_ahead"], one["left"]) == (9, 291, 290, 1)
    assert (one["client_id"], one["host"], one["verdict"]) == ("processor-0", "127.0.0.1", "stalled")
    assert 0 < one["oldest_age_seconds"] < 120
    assert main(["lag", "-b", work.servers, "-g", work.group, "--samples", "1", "--max-lag", "290"]) == 1
    out, err = capsys.readouterr()
    assert f"group {work.group}, stable, 1 member: 291 behind, 290 of them done, 1 left; the oldest is " in out
    assert err == f"processor: the lag of group {work.group} is 291, above --max-lag 290\n"
    assert main(["lag", "-b", work.servers, "-g", work.group, "--samples", "1", "--max-lag", "291"]) == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_skip_map_in_a_record_that_cannot_be_read_counts_nothing_and_is_reported(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture, there: bool
) -> None:
    tasks, progress = topic(1), topic(1)
    produce(tasks, [(b"s", b"")] * 10)
    produce(progress, [(b"of another group", b"p2:")] if there else [])
    metadata = str(reference_to(progress, 0, 0, 2, encode_record(2, [(4, 8)])[0]))
    cluster.commit(broker.bootstrap_servers, group, TopicPartition(tasks, 0, 2, metadata))
    assert main(["lag", "-b", broker.bootstrap_servers, "-g", group, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    (one,) = checked("lag", out)["partitions"]
    assert (one["committed"], one["lag"], one["done_ahead"]) == (2, 8, 0)
    where = f"the skip map of {tasks}[0] at {progress}[0]@0"
    reason = "is ignored: it refers to the place of another record" if there else "cannot be read: there is no record"
    warning = f"processor: {where} {reason}; what it lists counts as not done\n"
    assert err == warning
    assert main(["offsets", "show", "-b", broker.bootstrap_servers, "-g", group, "-o", "json"]) == 0
    assert capsys.readouterr().err == warning


def test_a_group_without_members_is_reported_with_what_is_left(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture
) -> None:
    name = topic(partitions=3)
    produce(name, [(b"a", b"1")] * 10, partition=0)
    produce(name, [(b"a", b"1")] * 4, partition=1)
    commit(broker.bootstrap_servers, group, name, 7, 4)
    found = report(capsys, broker.bootstrap_servers, "-g", group)
    assert (found["state"], found["members"]) == ("empty", 0)
    rows = {
        one["partition"]: (one["committed"], one["lag"], one["left"], one["verdict"]) for one in found["partitions"]
    }
    assert rows == {0: (7, 3, 3, "no-member"), 1: (4, 0, 0, "ok"), 2: (None, 0, 0, "waits")}
    assert found["totals"]["lag"] == 3


def test_an_aborted_tail_is_lag_for_other_tools_and_nothing_that_is_left(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture
) -> None:
    name = topic(partitions=1)
    produce(name, [(b"a", b"1")] * 3)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": group, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, key=b"a", value=b"2")
    producer.flush(30)
    producer.abort_transaction(30)
    cluster.wait_for_markers(broker.bootstrap_servers, name)
    commit(broker.bootstrap_servers, group, name, 3)
    found = report(capsys, broker.bootstrap_servers, "-g", group, "-t", name)
    (one,) = found["partitions"]
    assert (one["end"], one["lag"], one["left"], one["oldest_at"]) == (5, 2, 0, None)


def test_a_new_partition_names_those_that_it_waits_for(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture
) -> None:
    name = topic(partitions=2)
    produce(name, [(b"a", b"1")] * 10, partition=0)
    commit(broker.bootstrap_servers, group, name, 7, 0)
    cluster.grow(broker.bootstrap_servers, name, 4)
    produce(name, [(b"b", b"1")], partition=2)
    found = report(capsys, broker.bootstrap_servers, "-g", group, "-t", name, "--samples", "1")
    assert [one["waits_for"] for one in found["partitions"]] == [[], [], [f"{name}[0]"], [f"{name}[0]"]]


@contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "processor", "lag", "--watch", "--every", "0.5", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent()
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_watch_on_a_pipe_is_a_document_a_line_and_survives_a_topic_that_is_deleted(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, admin: AdminClient
) -> None:
    kept, gone = topic(partitions=1), topic(partitions=1)
    for name in (kept, gone):
        produce(name, [(b"a", b"1")] * 3)
        commit(broker.bootstrap_servers, group, name, 1)
    with watching("-b", broker.bootstrap_servers, "-g", group, "-o", "json") as process:
        assert process.stdout is not None
        first = checked("lag", process.stdout.readline())
        assert {one["topic"] for one in first["partitions"]} == {kept, gone}
        admin.delete_topics([gone])[gone].result(30)
        until(
            lambda: {one["topic"] for one in json.loads(process.stdout.readline())["partitions"]} == {kept},  # type: ignore[union-attr]
            "the deleted topic is left out",
            60,
        )
        process.terminate()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_closed_output_pipe_ends_a_watch_quietly(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str
) -> None:
    name = topic(partitions=1)
    produce(name, [(b"a", b"1")])
    commit(broker.bootstrap_servers, group, name, 1)
    with watching("-b", broker.bootstrap_servers, "-g", group) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""
        process.stdout = None


def test_the_embedded_broker_does_not_report_members(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], 1)
        cluster.produce(embedded.bootstrap_servers, "tasks", [(b"a", b"1")] * 3)
        commit(embedded.bootstrap_servers, "g", "tasks", 1)
        found = report(capsys, embedded.bootstrap_servers, "-g", "g", "--samples", "1")
    assert (found["state"], found["members"], found["totals"]["lag"]) == (None, None, 2)
    assert found["partitions"][0]["verdict"] == "early"


def test_a_task_that_must_not_begin_yet_is_named_as_what_it_is(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], 1)
        row: cluster.Row = (b"a", b"1", [("task-not-before", b"2100-01-01T00:00:00Z")])
        cluster.produce(embedded.bootstrap_servers, "tasks", [row])
        commit(embedded.bootstrap_servers, "g", "tasks", 0)
        (one,) = report(capsys, embedded.bootstrap_servers, "-g", "g", "--samples", "1")["partitions"]
        assert (one["verdict"], one["delayed_until"], one["left"]) == ("delayed", 4_102_444_800_000, 1)
        assert main(["lag", "-b", embedded.bootstrap_servers, "-g", "g", "--samples", "1"]) == 0
    assert " delayed until 2100-01-01T00:00:00.000Z " in capsys.readouterr().out


def test_an_arrival_that_waits_for_other_branches_is_named_with_its_join(capsys: Capture) -> None:
    join = write_join(Join("order-7/then", "tasks-0-0", "tasks", 2, [Planned("s")]))
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], 1)
        row: cluster.Row = (b"order-7/then", b"{}", [("task-join", join), ("task-arrival", b"{}")])
        cluster.produce(embedded.bootstrap_servers, "tasks", [row])
        commit(embedded.bootstrap_servers, "g", "tasks", 0)
        (one,) = report(capsys, embedded.bootstrap_servers, "-g", "g", "--samples", "1")["partitions"]
        assert (one["verdict"], one["join"], one["left"]) == ("joining", "order-7/then", 1)
        assert main(["lag", "-b", embedded.bootstrap_servers, "-g", "g", "--samples", "1"]) == 0
    assert " joining order-7/then " in capsys.readouterr().out


def test_what_is_paused_is_named_with_since_when_if_the_control_topic_is_given(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        servers = embedded.bootstrap_servers
        embedded.create_topics(["tasks"], 1)
        cluster.produce(servers, "tasks", [(b"a", b"1", [("task-name", b"charge")])])
        commit(servers, "g", "tasks", 0)
        target = ("-b", servers, "-g", "g", "--control-topic", "c")
        assert main(["control", "pause", *target, "--session", "another"]) == 0
        assert main(["control", "pause", *target, "--name", "charge"]) == 0
        capsys.readouterr()
        found = report(capsys, servers, "-g", "g", "--samples", "1", "--control-topic", "c")
        (one,) = found["partitions"]
        assert (one["verdict"], one["paused"]["kind"], one["paused"]["what"]) == ("paused", "name", "charge")
        assert (found["pauses"], found["paused_since"] <= one["paused"]["since"]) == (2, True)
        assert main(["lag", *target, "--samples", "1"]) == 0
        _, pauses, _, row = capsys.readouterr().out.splitlines()
        assert pauses.startswith("2 pauses in force, the oldest since 20")
        assert "  paused since 20" in row
        (one,) = report(capsys, servers, "-g", "g", "--samples", "1")["partitions"]
        assert (one["verdict"], one["paused"]) == ("early", None)


def test_the_busiest_session_of_each_partition_is_named_as_in_the_log_or_plain(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        servers = embedded.bootstrap_servers
        embedded.create_topics(["tasks"], 2)
        keys = [b"hot" if n % 4 else b"s%d" % n for n in range(400)]
        cluster.produce(servers, "tasks", [(key, b"") for key in keys], partition=0)
        cluster.produce(servers, "tasks", [(None, b"")] * 3, partition=1)
        commit(servers, "g", "tasks", 100, 0)
        found = report(capsys, servers, "-g", "g", "--samples", "1", "--sessions", "hashed")
        hot = {"session_id": hashed("hot"), "tasks": 225, "read": 300, "share": 0.75, "is_all": True}
        assert [one["busiest_session"] for one in found["partitions"]] == [hot, None]
        assert main(["lag", "-b", servers, "-g", "g", "--samples", "1", "--sessions", "plain"]) == 0
        _, headings, first, second = capsys.readouterr().out.splitlines()
        assert headings.endswith("  busiest session")
        assert first.endswith("  hot, 225 of 300")
        assert second.endswith("  –")
        (one, _) = report(capsys, servers, "-g", "g", "--samples", "1")["partitions"]
        assert one["busiest_session"] is None


def test_the_busiest_session_among_the_first_ten_thousand_that_are_not_done(
    broker: Broker, topic: MakeTopic, produce: Produce, group: str, capsys: Capture
) -> None:
    """What is done ahead is not counted, and jumped over; a transaction that was aborted is not counted either."""
    name = topic(partitions=1)
    produce(name, [(b"hot", b"")] * 100 + [(b"done", b"")] * 20_000)
    aborted = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": group, "log_level": 0})
    aborted.init_transactions(30)
    aborted.begin_transaction()
    for _ in range(200):
        aborted.produce(name, key=b"never", value=b"")
    aborted.flush(30)
    aborted.abort_transaction(30)
    cluster.wait_for_markers(broker.bootstrap_servers, name)
    produce(name, [(b"hot" if n % 3 else b"s%d" % n, b"") for n in range(12_000)])
    metadata, _ = encode(0, [(100, 20_100)])
    cluster.commit(broker.bootstrap_servers, group, TopicPartition(name, 0, 0, metadata))
    (one,) = report(capsys, broker.bootstrap_servers, "-g", group, "--sessions", "plain")["partitions"]
    busiest = one["busiest_session"]
    assert (busiest["session_id"], busiest["read"], busiest["is_all"]) == ("hot", 10_000, False)
    assert busiest["tasks"] == 100 + 6_600
    assert main(["lag", "-b", broker.bootstrap_servers, "-g", group, "--sessions", "hashed"]) == 0
    assert f"  {hashed('hot')}, 6,700 of the first 10,000" in capsys.readouterr().out


def test_a_missing_group_or_topic_is_named(broker: Broker, topic: MakeTopic, group: str, capsys: Capture) -> None:
    servers = broker.bootstrap_servers
    told = f"group {group} does not exist at {servers}: it has no members and has committed nothing"
    assert refused(capsys, "lag", "-b", servers, "-g", group, code=5) == told
    name = topic()
    assert refused(capsys, "lag", "-b", servers, "-g", group, "-t", name, code=5) == f"{told} of {name}"
    assert "topic no-such-topic does not exist" in refused(
        capsys, "lag", "-b", servers, "-g", group, "-t", "no-such-topic", code=5
    )


def test_a_group_that_has_nothing_to_do_with_a_topic_is_not_called_missing(
    broker: Broker, topic: MakeTopic, group: str, capsys: Capture
) -> None:
    servers, name, other = broker.bootstrap_servers, topic(), topic()
    commit(servers, group, name, 0)
    told = f"group {group} at {servers} has no members and has committed nothing of {other}"
    assert refused(capsys, "lag", "-b", servers, "-g", group, "-t", other, code=5) == told


def test_wrong_usage_and_an_unavailable_broker_are_one_line(capsys: Capture) -> None:
    away = f"127.0.0.1:{free_ports(1)[0]}"
    assert f"no broker responds at {away}" in refused(capsys, "lag", "-b", away, "-g", "g", code=4)
    assert refused(capsys, "lag", "-g", "g", "--watch", "--max-lag", "3").startswith("--max-lag is for a single report")
    assert refused(capsys, "lag", "-g", "g", "-o", "xml") == "--output must be table or json, not 'xml'"
    assert refused(capsys, "lag").startswith("--group is missing")

"""`processor control` on a real broker: pauses under load and over a restart, and topics that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from processor.cli.main import main
from processor.kafka.embedded import EmbeddedBroker
from tests.cli.refusal import refused
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.operating_schema import checked
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario
from tests.support.until import until

Capture = pytest.CaptureFixture[str]

TASKS, SESSIONS = 400, 8
"""In each of two waves."""

OF_S3 = TASKS // SESSIONS


def test_a_session_paused_under_load_stays_paused_across_a_restart_until_it_is_resumed(
    scenario: MakeScenario, capsys: Capture
) -> None:
    work = scenario()
    topic = f"{work.topic}.control"
    target = ("-b", work.servers, "-g", work.group, "--control-topic", topic)
    options = ("-w", "4", "--control-topic", topic, "--commit-interval", "0.2")

    def begun_of_s3() -> int:
        return len({entry.place for entry in work.ledger.entries() if entry.session == "s3"})

    work.produce_sessions(TASKS, SESSIONS)
    fleet = work.run("note", *options, "-p", "2", seconds=0.02)
    work.wait_done(50)
    assert main(["control", "pause", *target, "--session", "s3"]) == 0
    fleet.wait_for("control.paused", count=2)  # both consumers obey
    work.produce_sessions(TASKS, SESSIONS)
    work.wait_done(TASKS)
    assert fleet.stop() == 0
    begun = begun_of_s3()
    assert begun <= OF_S3
    second = work.run("note", *options, "-p", "2", seconds=0.001)
    work.wait_done(2 * (TASKS - OF_S3) + begun)
    assert begun_of_s3() == begun
    capsys.readouterr()
    assert main(["control", "list", *target, "-o", "json"]) == 0
    (paused,) = checked("control list", capsys.readouterr().out)["paused"]
    assert (paused["kind"], paused["what"]) == ("session", "s3")
    assert main(["control", "resume", *target, "--session", "s3"]) == 0
    work.wait_done(2 * TASKS)
    work.wait_lag(0)
    assert second.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    assert main(["control", "list", *target]) == 0
    assert capsys.readouterr().out.splitlines() == ["command  what  since  by  until"]


def moves(fleet: Fleet) -> list[dict[str, Any]]:
    """What the log has of partitions that consumers got or gave up."""
    kinds = ("consumer.assigned", "consumer.revoked", "consumer.lost")
    return [event for event in list(fleet.events) if event["event"] in kinds and event["partitions"]]


def test_the_number_of_workers_changes_under_load_without_a_rebalance_and_survives_a_restart(
    scenario: MakeScenario, capsys: Capture
) -> None:
    work = scenario()
    topic = f"{work.topic}.control"
    target = ("-b", work.servers, "-g", work.group, "--control-topic", topic)
    options = ("-w", "2", "--control-topic", topic, "--commit-interval", "0.2", "-p", "2")
    work.produce_sessions(TASKS, SESSIONS)
    fleet = work.run("note", *options, seconds=0.03)
    until(lambda: {event["consumer"] for event in moves(fleet)} == {0, 1}, "both consumers have partitions", 60)
    moves_before = len(moves(fleet))
    for count in (6, 1):
        assert main(["control", "workers", *target, str(count)]) == 0
        fleet.wait_for("consumer.workers_changed", count=2, workers=count)
    assert main(["control", "workers", *target, "5"]) == 0
    work.wait_done(TASKS)
    work.wait_lag(0)
    assert len(moves(fleet)) == moves_before
    assert fleet.stop() == 0
    second = work.run("note", *options, seconds=0.001)
    second.wait_for("consumer.workers_changed", count=2, workers=5)
    assert main(["control", "workers", *target, "--off"]) == 0
    second.wait_for("consumer.workers_changed", count=2, workers=2)
    assert second.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []


@pytest.mark.parametrize("options", [(), ("4", "--off")])
def test_the_workers_command_takes_either_a_number_or_off(options: tuple[str, ...], capsys: Capture) -> None:
    refusal = refused(capsys, "control", "workers", "-b", "h:1", "-g", "g", "--control-topic", "c", *options)
    assert refusal == "give either N, the number of workers, or --off"


def test_the_number_of_workers_is_at_least_one(capsys: Capture) -> None:
    refusal = refused(capsys, "control", "workers", "-b", "h:1", "-g", "g", "--control-topic", "c", "0")
    assert refusal == "N must be at least 1, not 0"


def test_a_session_cancelled_under_load_starts_no_further_task_even_after_a_restart(
    scenario: MakeScenario, capsys: Capture
) -> None:
    work = scenario()
    topic = f"{work.topic}.control"
    target = ("-b", work.servers, "-g", work.group, "--control-topic", topic)
    options = ("-w", "4", "--control-topic", topic, "--commit-interval", "0.2")

    def begun_of(session: str) -> int:
        return len({entry.place for entry in work.ledger.entries() if entry.session == session})

    def ended_of(session: str) -> int:
        entries = work.ledger.entries()
        return len({entry.place for entry in entries if entry.session == session and entry.kind == "end"})

    work.produce_sessions(TASKS, SESSIONS)
    fleet = work.run("note", *options, "-p", "2", seconds=0.4)  # s3 has work for 20 s: longer than a command takes
    work.wait_done(50)
    assert main(["control", "pause", *target, "--session", "s3"]) == 0
    fleet.wait_for("control.paused", count=2)
    until(lambda: begun_of("s3") == ended_of("s3"), "the task of the session that ran at the pause has ended")
    assert main(["control", "cancel", *target, "--session", "s3", "--dead-letter"]) == 0
    fleet.wait_for("control.cancelled", count=2)
    begun = begun_of("s3")
    assert begun < OF_S3
    assert fleet.stop() == 0
    second = work.run("note", *options, "-p", "2", seconds=0.001)
    work.wait_lag(0)
    assert begun_of("s3") == begun
    assert main(["control", "resume", *target, "--session", "s3"]) == 0
    work.produce_sessions(TASKS, SESSIONS)  # those of s3 are newer than the command, and run
    work.wait_lag(0)
    assert begun_of("s3") == begun + OF_S3
    assert second.stop() == 0
    letters = cluster.read_all(work.servers, f"{work.topic}.dlq")
    assert {letter.key() for letter in letters} == {b"s3"}
    assert len(letters) == OF_S3 - begun
    assert {dict(letter.headers() or ())["dlq-error-type"] for letter in letters} == {b"processor.Cancelled"}
    capsys.readouterr()
    assert main(["control", "list", *target, "-o", "json"]) == 0
    (cancelled,) = checked("control list", capsys.readouterr().out)["cancelled"]
    assert (cancelled["kind"], cancelled["what"], cancelled["dead_letter"]) == ("session", "s3", True)
    assert cancelled["until"] - cancelled["since"] == 24 * 3600 * 1000


def test_a_control_topic_is_created_compacted_and_a_missing_one_is_refused_if_it_may_not_be_created(
    scenario: MakeScenario,
) -> None:
    work = scenario(partitions=1)
    topic = f"{work.topic}.control"
    refusing = work.run("note", "--control-topic", topic, "--no-create-topics")
    assert refusing.wait() == 5
    assert f"topic {topic} does not exist" in refusing.last_words
    work.produce_sessions(10, 2)
    fleet = work.run("note", "--control-topic", topic)
    work.wait_done(10)
    admin = cluster.admin_of(work.servers)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    assert admin.describe_configs([resource])[resource].result()["cleanup.policy"].value == "compact"
    assert fleet.stop() == 0


def test_list_shows_only_the_commands_of_the_group_that_are_in_force(
    broker: Broker, topic: MakeTopic, capsys: Capture
) -> None:
    control = topic(partitions=2)
    target = ("-b", broker.bootstrap_servers, "--control-topic", control)
    cluster.produce(broker.bootstrap_servers, control, [(b"not a command", b"1"), (None, b"2")])
    for options in (("--all",), ("--name", "charge"), ("--partition", "orders:3"), ("--session", "s\n3")):
        assert main(["control", "pause", *target, "-g", "g", *options]) == 0
    assert main(["control", "pause", *target, "-g", "another", "--all"]) == 0
    assert main(["control", "workers", *target, "-g", "another", "7"]) == 0
    assert main(["control", "workers", *target, "-g", "g", "12"]) == 0
    assert main(["control", "resume", *target, "-g", "g", "--name", "charge"]) == 0
    capsys.readouterr()
    assert main(["control", "resume", *target, "-g", "g", "--name", "charge"]) == 0
    assert capsys.readouterr().err == "was not paused for group g: name charge\n"
    assert main(["control", "list", *target, "-g", "g", "-o", "json"]) == 0
    listed = checked("control list", capsys.readouterr().out)
    paused = listed["paused"]
    assert listed["workers"]["workers"] == 12
    assert [(one["kind"], one["what"]) for one in paused] == [
        ("all", ""),
        ("partition", "orders:3"),
        ("session", "s\n3"),
    ]
    assert main(["control", "list", *target, "-g", "g"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["command", "what"],
        ["pause", "all"],
        ["pause", "partition"],
        ["pause", "session"],
        ["workers", "12"],
    ]
    assert main(["control", "workers", *target, "-g", "g", "--off"]) == 0
    assert main(["control", "workers", *target, "-g", "g", "--off"]) == 0
    assert capsys.readouterr().err == (
        "ended for group g: each consumer has its own number of workers again\ngroup g has no number of workers set\n"
    )
    assert main(["control", "list", *target, "-g", "g", "-o", "json"]) == 0
    assert checked("control list", capsys.readouterr().out)["workers"] is None


def test_list_reports_that_nothing_is_in_force_and_rejects_a_group_that_does_not_exist(
    broker: Broker, topic: MakeTopic, group: str, capsys: Capture
) -> None:
    control = topic(partitions=1, cleanup_policy="compact")
    target = ("-b", broker.bootstrap_servers, "--control-topic", control)
    refusal = f"group {group} does not exist at {broker.bootstrap_servers}, and {control} has no command for it"
    assert main(["control", "list", *target, "-g", group]) == 5
    assert capsys.readouterr() == ("", f"processor: {refusal}\n")
    assert main(["control", "pause", *target, "-g", "another", "--all"]) == 0
    capsys.readouterr()
    assert main(["control", "list", *target, "-g", group, "-o", "json"]) == 5
    assert capsys.readouterr() == ("", f"processor: {refusal}, only for another\n")
    cluster.commit(broker.bootstrap_servers, group, TopicPartition(control, 0, 0))
    assert main(["control", "list", *target, "-g", group]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["command  what  since  by  until"]
    assert err == f"nothing is in force for group {group}\n"
    assert main(["control", "resume", *target, "-g", "another", "--all"]) == 0
    capsys.readouterr()
    assert main(["control", "list", *target, "-g", "another"]) == 0
    assert capsys.readouterr().err == "nothing is in force for group another\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give exactly one of --session, --name, --partition and --all"),
        (("--all", "--name", "charge"), "give exactly one of --session, --name, --partition and --all"),
        (("--partition", "orders"), "--partition 'orders' must be TOPIC:PARTITION"),
    ],
)
def test_a_pause_has_exactly_one_target(options: tuple[str, ...], sentence: str, capsys: Capture) -> None:
    refusal = refused(capsys, "control", "pause", "-b", "h:1", "-g", "g", "--control-topic", "c", *options)
    assert refusal == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give either --task or --session"),
        (("--task", "a", "--session", "s"), "give either --task or --session"),
        (("--task", "a", "--name", "charge"), "--name needs --session: it selects among the tasks of a session"),
        (
            ("--task", "a", "--off", "--dead-letter"),
            "--off ends a cancellation, and --dead-letter begins one: give one of them",
        ),
        (
            ("--task", "a", "--for", "2 days"),
            "--for must be a duration such as 90s, 15m, 2h or 7d, not '2 days'",
        ),
        (("--task", "a", "--for", "0s"), "--for must be a duration such as 90s, 15m, 2h or 7d, not '0s'"),
    ],
)
def test_a_cancellation_has_exactly_one_target(options: tuple[str, ...], sentence: str, capsys: Capture) -> None:
    refusal = refused(capsys, "control", "cancel", "-b", "h:1", "-g", "g", "--control-topic", "c", *options)
    assert refusal == sentence


def test_cancellations_are_listed_until_they_end_and_their_records_are_removed(
    broker: Broker, topic: MakeTopic, capsys: Capture
) -> None:
    control = topic(partitions=1)
    target = ("-b", broker.bootstrap_servers, "--control-topic", control, "-g", "g")
    assert main(["control", "cancel", *target, "--task", "t-1", "--for", "0.001s"]) == 0
    assert main(["control", "cancel", *target, "--task", "t-2"]) == 0
    assert main(["control", "cancel", *target, "--session", "s", "--name", "charge", "--for", "7d"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "cancelled for group g, for 0.001s: task t-1",
        "cancelled for group g, for 24h: task t-2",
        "cancelled for group g, for 7d: session s, only tasks named 'charge'",
    ]
    values = {record.key(): record.value() for record in cluster.read_all(broker.bootstrap_servers, control)}
    assert values[b'["g","cancel","task","t-1"]'] is None
    assert values[b'["g","cancel","task","t-2"]'] is not None
    assert main(["control", "list", *target]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(row[0].strip(), next(filter(None, row[1:])).strip()) for row in rows] == [
        ("cancel task", "t-2"),
        ("cancel session", "s, name charge"),
    ]
    assert main(["control", "cancel", *target, "--task", "t-2", "--off"]) == 0
    assert main(["control", "cancel", *target, "--task", "t-2", "--off"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "ended for group g: cancellation of task t-2",
        "there was none for group g: cancellation of task t-2",
    ]
    assert main(["control", "list", *target, "-o", "json"]) == 0
    (listed,) = checked("control list", capsys.readouterr().out)["cancelled"]
    assert (listed["what"], listed["name"]) == ("s", "charge")


def test_list_and_resume_fail_without_a_control_topic(broker: Broker, group: str, capsys: Capture) -> None:
    target = ("-b", broker.bootstrap_servers, "-g", group, "--control-topic", f"{group}.missing")
    for command in (("list",), ("resume", "--all")):
        refusal = refused(capsys, "control", *command, *target, code=5)
        assert refusal.startswith(f"topic {group}.missing does not exist at ")


def test_the_embedded_development_broker_supports_control_topics(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        target = ("-b", embedded.bootstrap_servers, "-g", "g", "--control-topic", "c")
        assert main(["control", "pause", *target, "--all"]) == 0
        assert main(["control", "list", *target]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("pause all ")

"""`processor doctor`: what it finds of brokers that are there, half there and away, and that it changes nothing."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from processor.cli.main import main
from processor.kafka.embedded import EmbeddedBroker
from tests.cli.refusal import refused
from tests.conftest import MakeTopic
from tests.support.addresses import free_ports
from tests.support.broker import Broker
from tests.support.operating_schema import checked
from tests.support.run import Fleet

Capture = pytest.CaptureFixture[str]
Levels = dict[str, list[tuple[str, str]]]

pytestmark = pytest.mark.usefixtures("clean")

APP = """
from processor import Processor
print("imported")
app = Processor()
@app.task("charge")
def charge(task): ...
@app.default
async def others(task): ...
"""


def report(capsys: Capture, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The document that `processor doctor -o json` prints, checked against its schema."""
    assert main(["doctor", "-o", "json", *arguments]) == code
    document: dict[str, Any] = checked("doctor", capsys.readouterr().out)
    return document


def levels(document: dict[str, Any]) -> Levels:
    """By check, the level and the text of each finding."""
    found: Levels = {}
    for finding in document["findings"]:
        found.setdefault(finding["check"], []).append((finding["level"], finding["found"]))
    return found


def wrote(name: str, text: str) -> None:
    """A module in the current folder, which is the test's own."""
    Path(f"{name}.py").write_text(text)


def test_all_that_run_needs_is_found_and_nothing_is_changed(
    broker: Broker, topic: MakeTopic, group: str, admin: AdminClient, capsys: Capture
) -> None:
    """Replicas apart, of which the broker of the tests has one."""
    wrote("doctor_shop", APP)
    orders = topic(partitions=3)
    known = set(admin.list_topics(timeout=10).topics)
    at = ("-b", broker.bootstrap_servers, "-t", orders, "-g", group)
    document = report(capsys, *at, "--results-topic", f"{orders}.results", "doctor_shop:app")
    found = levels(document)
    assert list(found) == [
        *("names", "servers", "login", "listeners", "topics", "rights", "group", "clock", "schemas", "app", "files"),
    ]
    assert document["failures"] == 0
    assert found["topics"] == [
        ("warning", f"{orders}: 3 partitions, a single replica"),
        ("ok", f"{orders}.dlq does not exist: run creates it"),
        ("ok", f"{orders}.results does not exist: run creates it"),
    ]
    assert found["group"] == [("ok", f"{group}: new, 0 members")]
    assert found["login"] == [("ok", "accepted, with PLAINTEXT")]
    assert found["app"] == [("ok", "doctor_shop:app: 2 handlers: charge, default")]
    internal = {"__consumer_offsets"}  # the broker creates it when it is first asked for a group
    after = set(admin.list_topics(timeout=10).topics)
    assert after - known - internal == set()
    assert orders in after
    assert group not in {listed.group_id for listed in admin.list_consumer_groups().result().valid}


def test_a_variable_that_is_an_option_of_no_command_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PROCESSOR_WORKRES", "8")
    monkeypatch.setenv("PROCESSOR_MAX_AGE", "1h")  # of `health`
    found = levels(report(capsys, "-b", f"127.0.0.1:{free_ports(1)[0]}", "-t", "orders", "-g", "shop", code=1))
    assert found["variables"] == [("warning", "no option has the variable PROCESSOR_WORKRES")]


def test_a_progress_topic_is_checked_for_its_policy_and_both_rights(
    broker: Broker, topic: MakeTopic, group: str, capsys: Capture
) -> None:
    wrote("doctor_progress", APP)
    orders, progress = topic(1), topic(1)  # one that deletes
    at = ("-b", broker.bootstrap_servers, "-t", orders, "-g", group)
    found = levels(report(capsys, *at, "--progress-topic", progress, "doctor_progress:app"))
    deletes = f"{progress}: cleanup.policy is delete, so retention may delete a skip map that a commit refers to"
    assert ("warning", deletes) in found["topics"]
    assert found["rights"] == [("ok", f"READ on {orders}, {progress}; WRITE on {progress}")]
    found = levels(report(capsys, *at, "--progress-topic", f"{progress}-not", "doctor_progress:app"))
    assert ("ok", f"{progress}-not does not exist: run creates it") in found["topics"]
    found = levels(
        report(capsys, *at, "--progress-topic", f"{progress}-not", "--no-create-topics", "doctor_progress:app")
    )
    cut = (
        f"{progress}-not does not exist, and --no-create-topics is set: skip maps that do not fit into commits are cut"
    )
    assert ("warning", cut) in found["topics"]


def test_the_control_topic_is_checked_for_what_would_lose_its_commands(
    broker: Broker, topic: MakeTopic, group: str, capsys: Capture
) -> None:
    orders, kept, lost = topic(partitions=1), topic(partitions=1, **{"cleanup.policy": "compact"}), topic(partitions=1)
    at = ("-b", broker.bootstrap_servers, "-t", orders, "-g", group)
    found = levels(report(capsys, *at, "--control-topic", kept))
    assert found["control"] == [("ok", f"{kept}: compacted")]
    assert found["rights"] == [("ok", f"READ on {orders}, {kept}")]
    found = levels(report(capsys, *at, "--control-topic", lost))
    assert found["control"] == [
        ("warning", f"{lost}: cleanup.policy is delete, so retention may delete commands that are in force"),
    ]
    missing = f"{orders}.control"
    found = levels(report(capsys, *at, "--control-topic", missing))
    assert ("ok", f"{missing} does not exist: run creates it") in found["topics"]
    found = levels(report(capsys, *at, "--control-topic", missing, "--no-create-topics", code=1))
    assert found["control"] == [
        ("failure", f"{missing} does not exist, and --no-create-topics is set: run does not start without it"),
    ]


def test_what_is_missing_is_named_with_its_remedy_and_stops_no_other_check(
    broker: Broker, topic: MakeTopic, group: str, capsys: Capture
) -> None:
    """A topic, a handler's module, a bootstrap server of two, partitions for all consumers, dead letters."""
    wrote("doctor_broken", "import a_module_that_does_not_exist")
    orders = topic(partitions=1)
    (dead,) = free_ports(1)
    servers = f"{broker.bootstrap_servers},127.0.0.1:{dead}"
    at = ("-b", servers, "-t", orders, "-t", f"{orders}-not", "-g", group, "-p", "2", "--no-create-topics")
    document = report(capsys, *at, "doctor_broken:app", code=1)
    found = levels(document)
    assert document["failures"] == 2
    assert found["servers"] == [("warning", f"1 of 2 not reachable: 127.0.0.1:{dead} (connection refused)")]
    assert ("failure", f"{orders}-not does not exist") in found["topics"]
    assert ("warning", "2 consumers for 1 partition: 1 of them get none") in found["topics"]
    missing = f"{orders}.dlq does not exist, and --no-create-topics is set: what goes there waits with its session"
    assert ("warning", missing) in found["topics"]
    assert found["rights"] == [("ok", f"READ on {orders}")]
    ((level, text),) = found["app"]
    assert (level, "a_module_that_does_not_exist" in text) == ("failure", True)
    assert all((finding["remedy"] is None) == (finding["level"] == "ok") for finding in document["findings"])
    assert main(["doctor", *at, "doctor_broken:app"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert f"failure  topics     {orders}-not does not exist\n" + " " * 20 + "→ create it, or correct --topic\n" in out
    assert out.splitlines()[-1] == "2 failures, 5 warnings"


def test_without_a_broker_the_rest_is_checked_in_bounded_time(capsys: Capture) -> None:
    wrote("doctor_alone", APP)
    (port,) = free_ports(1)
    begin = time.monotonic()
    document = report(capsys, "-b", f"127.0.0.1:{port}", "-t", "t", "-g", "g", "doctor_alone:app", code=1)
    assert time.monotonic() - begin < 30
    found = levels(document)
    assert list(found) == ["names", "servers", "schemas", "app", "files"]
    assert found["servers"] == [("failure", f"not reachable: 127.0.0.1:{port} (connection refused)")]
    assert found["app"][0][0] == "ok"


def test_an_extra_that_an_option_needs_is_missing_or_installed(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    (port,) = free_ports(1)
    at = ("-b", f"127.0.0.1:{port}", "-t", "t", "-g", "g", "--reload", "--metrics-port", "9100")
    document = report(capsys, *at, code=1)
    assert [finding for finding in document["findings"] if finding["check"] == "extras"] == [
        {
            "check": "extras",
            "level": "failure",
            "found": "--reload: the module watchfiles is not installed",
            "remedy": "pip install 'session-processor[reload]'",
        },
        {"check": "extras", "level": "ok", "found": "--metrics-port: metrics is installed", "remedy": None},
    ]


def test_a_group_that_works_and_a_record_from_the_future_are_reported(
    broker: Broker, topic: MakeTopic, group: str, start_fleet: Callable[..., Fleet], capsys: Capture
) -> None:
    orders = topic(partitions=2)
    at = ("-b", broker.bootstrap_servers, "-t", orders, "-g", group)
    fleet = start_fleet("h:h", *at, modules={"h": "def h(task): pass"})
    fleet.wait_for("consumer.assigned")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    producer.produce(orders, b"1", b"a", timestamp=int((time.time() + 1800) * 1000))
    assert producer.flush(30) == 0
    found = levels(report(capsys, *at, "--group-protocol", "consumer"))
    assert found["group"] == [("warning", f"{group}: stable, 1 member, which use the protocol classic, not consumer")]
    assert found["protocol"] == [("ok", "the cluster supports KIP-848")]
    ((level, text),) = found["clock"]
    assert level == "warning"
    assert re.match("the newest record is dated (30|2[0-9]) m ", text)


def test_wrong_usage_and_a_refused_kafka_setting_are_one_line(capsys: Capture) -> None:
    at = ("doctor", "-t", "t", "-g", "g", "-b", "127.0.0.1:1")
    assert refused(capsys, *at, "-w", "many") == "--workers must be an integer, or a range such as 8..64, not 'many'"
    assert "session.timeout.ms" in refused(capsys, *at, "-X", "session.timeout.ms=soon")
    assert "--topic is missing" in refused(capsys, "doctor", "-g", "g")


def test_an_import_that_hangs_is_a_failure(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.boot.checkup.APP_SECONDS", 0.3)
    wrote("doctor_hangs", "import threading\nthreading.Event().wait()\n")
    at = ("-b", "127.0.0.1:1", "-t", "t", "-g", "g")
    ((level, text),) = levels(report(capsys, *at, "doctor_hangs:app", code=1))["app"]
    assert level == "failure"
    assert "it takes longer than 0.3 s" in text


def test_an_embedded_broker_reports_no_rights_and_no_group(capsys: Capture) -> None:
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks"], 1)
        found = levels(report(capsys, "-b", embedded.bootstrap_servers, "-t", "tasks", "-g", "g"))
    assert list(found) == ["names", "servers", "login", "listeners", "topics", "schemas", "files"]
    assert [text for _, text in found["topics"]][-1] == "tasks.dlq does not exist: run creates it"


def test_an_unresponsive_server_and_an_unavailable_registry_are_failures(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.kafka.cluster_facts.LOGIN_SECONDS", 1.0)
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        registry = f"http://me:hunter2@127.0.0.1:{port}"
        assert main(["doctor", "-b", server, "-t", "t", "-g", "g", "--schema-registry", registry, "-o", "json"]) == 1
    out, err = capsys.readouterr()
    found = levels(checked("doctor", out))
    assert found["servers"] == [("ok", f"{server}: connected")]
    ((level, text),) = found["login"]
    assert level == "failure"
    assert text.startswith(f"no broker responds at {server}: ")
    assert text.endswith("; listeners, topics, rights, group and clock are not checked")
    ((level, text),) = found["registry"]
    assert (level, f"127.0.0.1:{port}" in text) == ("failure", True)
    assert "hunter2" not in out + err

"""`processor tail`: the newest tasks of all partitions, filtered, and followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from processor.cli.main import main
from processor.kafka.embedded import EmbeddedBroker
from tests.cli.refusal import refused
from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.lifeline import die_with_parent
from tests.support.operating_schema import checked
from tests.support.run import environment

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """An embedded broker with 30 tasks of 3 sessions in the topic `tasks`; each fifth is called `refund`."""
    with EmbeddedBroker() as embedded:
        embedded.create_topics(["tasks", "more"], 3)
        for n in range(30):
            name = b"refund" if n % 5 == 0 else b"charge"
            row: cluster.Row = (f"s{n % 3}", json.dumps({"n": n}), [("task-name", name)])
            cluster.produce(embedded.bootstrap_servers, "tasks", [row])
        yield embedded.bootstrap_servers


def lines(capsys: Capture, servers: str, *options: str, topic: str = "tasks") -> list[dict[str, Any]]:
    """The documents that `processor tail -o json` prints, each checked against its schema."""
    assert main(["tail", "-b", servers, "-t", topic, "--value-format", "json", "-o", "json", *options]) == 0
    return [checked("tail", line) for line in capsys.readouterr().out.splitlines()]


def numbers(tasks: list[dict[str, Any]]) -> list[int]:
    return [task["payload"]["n"] for task in tasks]


def test_the_newest_of_all_partitions_come_in_the_order_of_time(capsys: Capture, servers: str) -> None:
    """Those that were produced within one millisecond may change places."""
    found = lines(capsys, servers)
    assert sorted(numbers(found)) == list(range(20, 30))
    assert [task["timestamp"] for task in found] == sorted(task["timestamp"] for task in found)
    assert {task["partition"] for task in found} == {task["partition"] for task in lines(capsys, servers, "-n", "30")}


def test_tasks_are_chosen_by_session_name_and_time(capsys: Capture, servers: str) -> None:
    assert numbers(lines(capsys, servers, "--session", "s1", "-n", "3")) == [22, 25, 28]
    assert sorted(numbers(lines(capsys, servers, "--name", "refund"))) == [0, 5, 10, 15, 20, 25]
    assert numbers(lines(capsys, servers, "--session", "s1", "--name", "refund")) == [10, 25]
    assert len(lines(capsys, servers, "--since", "1h")) == 30
    assert lines(capsys, servers, "--since", "2100-01-01") == []
    assert lines(capsys, servers, "-n", "0") == []


def test_a_text_line_has_the_place_the_session_the_name_and_the_payload(capsys: Capture, servers: str) -> None:
    arguments = ["tail", "-b", servers, "-t", "tasks", "-n", "1", "--session", "s2"]
    assert main([*arguments, "--value-format", "json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    when, place, session, name, task_id, payload = line.split(" ", 5)
    assert when.endswith("Z")
    assert place.startswith("tasks[")
    assert (session, name, json.loads(payload)) == ("s2", "charge", {"n": 29})
    assert task_id.startswith("tasks-")
    assert main(arguments) == 0
    assert " s2 charge " in (shown := capsys.readouterr().out)
    assert " cannot be decoded (9 bytes): the value begins with 7b 22, which is neither" in shown


@contextmanager
def following(folder: Path, servers: str, topic: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "processor", "tail", "-b", servers, "-t", topic, "-f", "--value-format", "bytes"]
    process = subprocess.Popen(
        [*command, *options],
        env=environment(folder, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_new_tasks_are_followed_once_each_and_aborted_ones_are_not_tasks(
    broker: Broker, topic: MakeTopic, produce: Produce, tmp_path: Path
) -> None:
    name = topic(partitions=2)
    produce(name, [(b"a", b"before")])
    with following(tmp_path, broker.bootstrap_servers, name, "-o", "json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert checked("tail", process.stdout.readline())["payload"] == "before"
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": name, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(name, key=b"a", value=b"aborted")
        producer.flush(30)
        producer.abort_transaction(30)
        produce(name, [(b"a", b"after"), (b"b", b"after")])
        assert [checked("tail", process.stdout.readline())["payload"] for _ in range(2)] == ["after", "after"]
        process.terminate()
        assert process.wait(60) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_a_closed_output_pipe_ends_tail_quietly(servers: str, tmp_path: Path) -> None:
    """In a topic of its own: the other tests know what `tasks` has."""
    cluster.produce(servers, "more", [(b"s0", b"first")])
    with following(tmp_path, servers, "more", "-n", "1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith('"first"\n')
        process.stdout.close()
        cluster.produce(servers, "more", [(b"s0", b"second")])
        assert process.wait(60) == 1
        assert process.stderr.read() == ""
        process.stdout = None


def test_a_closed_output_pipe_ends_tail_without_another_task(servers: str, tmp_path: Path) -> None:
    with following(tmp_path, servers, "tasks", "-n", "1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""
        process.stdout = None


def test_wrong_usage_of_tail_is_one_line(capsys: Capture, servers: str) -> None:
    assert "topic missing does not exist" in refused(capsys, "tail", "-b", servers, "-t", "missing", code=5)
    assert refused(capsys, "tail", "-t", "t", "--since", "noon").startswith("--since must be a time such as")
    assert refused(capsys, "tail", "-t", "t", "-n", "-1") == "--lines must be from 0 to 100000, not -1"

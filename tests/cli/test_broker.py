"""`processor broker`: one line that other commands can use, until it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processor.cli.main import main
from processor.kafka.admin import TopicAdmin, check_topics
from processor.kafka.config import admin_config
from tests.cli.conftest import Start

SECONDS = 60.0

LINE = re.compile(r"PROCESSOR_BOOTSTRAP_SERVERS=(127\.0\.0\.1:\d+)\n")


def environment(**variables: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PROCESSOR_")}, **variables}


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    first = process.stdout.readline()
    match = LINE.fullmatch(first)
    assert match is not None, first
    return match[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_broker_prints_its_address_and_runs_until_it_is_stopped(start: Start, number: signal.Signals) -> None:
    process = start("broker", "--topic", "orders", "-t", "events:6")
    address = address_of(process)
    assert check_topics(TopicAdmin(admin_config(address, {})), ["orders", "events"]) == {"orders": 4, "events": 6}
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, "")
    assert f"export PROCESSOR_BOOTSTRAP_SERVERS={address}\n" in err
    assert "--group-protocol consumer" in err


def test_a_stop_during_the_start_is_clean(start: Start, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    process = start("broker", PYTHONPATH=str(tmp_path))
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 0


def test_its_topics_may_come_from_the_environment(start: Start) -> None:
    process = start("broker", PROCESSOR_TOPIC="orders:2,events")
    assert check_topics(TopicAdmin(admin_config(address_of(process), {})), ["orders", "events"]) == {
        "orders": 2,
        "events": 4,
    }


def test_other_commands_find_it_by_the_variable(start: Start, tmp_path: Path) -> None:
    """Among them a consumer whose dead-letter and results topics do not exist yet."""
    process = start("broker", "--topic", "orders")
    (tmp_path / "shop.py").write_text("def handle(task):\n    print(task.payload['n'])\n    return task.payload\n")
    variables = environment(PROCESSOR_BOOTSTRAP_SERVERS=address_of(process))

    def run(*arguments: str, sent: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "processor", *arguments],
            env=variables,
            cwd=tmp_path,
            input=sent,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    sent = run("produce", "-t", "orders", sent='{"session_id": "a", "payload": {"n": 1}}\n')
    assert sent.returncode == 0, sent.stderr
    options = ("-t", "orders", "-g", "shop", "--group-protocol", "consumer", "--results-topic", "results")
    worked = run("run", "shop:handle", *options, "--stop-at-end")
    assert (worked.returncode, worked.stdout) == (0, "1\n"), worked.stderr
    assert "consumer.topic_missing" not in worked.stderr


@pytest.mark.parametrize(
    ("topics", "sentence"),
    [
        (("a:0",), "--topic 'a:0' must be NAME or NAME:PARTITIONS, with 1 to 1,000 partitions"),
        (("a:1001",), "--topic 'a:1001' must be NAME or NAME:PARTITIONS, with 1 to 1,000 partitions"),
        (("a:",), "--topic 'a:' must be NAME or NAME:PARTITIONS, with 1 to 1,000 partitions"),
        (("a:2:3",), "--topic 'a:2:3' must be NAME or NAME:PARTITIONS, with 1 to 1,000 partitions"),
        ((":3",), "--topic '' is not a valid topic name: use letters, digits, '.', '_' and '-', at most 249 of them"),
        (("a", "a:3"), "--topic names 'a' twice"),
    ],
)
def test_a_topic_that_it_cannot_create_is_refused(
    capsys: pytest.CaptureFixture[str], topics: tuple[str, ...], sentence: str
) -> None:
    assert main(["broker", *(part for topic in topics for part in ("-t", topic))]) == 2
    assert capsys.readouterr() == ("", f"processor: {sentence}\n")

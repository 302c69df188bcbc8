"""docs/operating.schema.json describes what the operating commands print, and docs/OPERATING.md can be followed."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from confluent_kafka import TopicPartition

from processor.cli.main import main
from tests.cli.test_dlq import added
from tests.conftest import MakeTopic, Produce
from tests.support import cluster, operating_schema
from tests.support.broker import Broker

PAGE = (Path(__file__).parents[1] / "docs" / "OPERATING.md").read_text()
LOG = Path(__file__).parent / "observe" / "recorded" / "shop.jsonl.gz"
RULES = (Path(__file__).parents[1] / "deploy" / "monitoring" / "rules" / "processor.yaml").read_text()
GUIDE = PAGE.split("## From an alert to a command", 1)[1].split("\n## ", 1)[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = list(dict.fromkeys([*"".join(BLOCKS).splitlines(), *re.findall(r"`(processor [^`]+)`", GUIDE)]))


def test_the_schema_is_that_of_the_code_and_a_schema() -> None:
    assert operating_schema.SCHEMA.read_text() == operating_schema.text(), (
        "run: python -m tests.support.operating_schema"
    )
    jsonschema.Draft202012Validator.check_schema(operating_schema.schema())


def test_every_alert_is_in_the_guide() -> None:
    assert set(re.findall(r"`(Processor\w+)`", GUIDE)) == set(re.findall(r"- alert: (\w+)", RULES))


@pytest.fixture
def shop(broker: Broker, topic: MakeTopic, produce: Produce, group: str) -> dict[str, str]:
    """A topic and a group without members, by the names that the page gives them."""
    orders = topic(partitions=4)
    produce(orders, [(b"s%d" % (n % 7), b"{}") for n in range(40)])
    cluster.commit(broker.bootstrap_servers, group, *(TopicPartition(orders, number, 1) for number in range(4)))
    dead = cluster.create_topic(broker.bootstrap_servers, f"{orders}.dlq", 1)
    produce(dead, [(b"s1", b"{}", [("task-name", b"charge"), *added(orders, n)]) for n in range(3)])
    return {"orders": orders, "shop": group}


def test_every_command_of_the_page_runs(
    broker: Broker,
    shop: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, but for those in a pipe, since starting Python takes longer than most of them."""
    (tmp_path / "shop.jsonl").write_bytes(gzip.decompress(LOG.read_bytes()))
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PROCESSOR_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        for name, real in shop.items():
            command = re.sub(rf"\b{name}\b(?![.]jsonl)", real, command)  # noqa: PLW2901 — the same, by its real names
        if "|" in command:
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100, check=False)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        else:
            assert main(shlex.split(command, comments=True)[1:]) == 0, f"{command}\n{capsys.readouterr().err}"

"""docs/operating.schema.json describes what the operating commands print, and docs/OPERATING.md can be followed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.cli.test_dlq import added
from tests.conftest import MakeTopic, Produce
from tests.support import cluster, operating_schema
from tests.support.broker import Broker
from tests.support.run import environment

PAGE = (Path(__file__).parents[1] / "docs" / "OPERATING.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_schema_is_that_of_the_code_and_a_schema() -> None:
    assert operating_schema.SCHEMA.read_text() == operating_schema.text(), (
        "run: python -m tests.support.operating_schema"
    )
    jsonschema.Draft202012Validator.check_schema(operating_schema.schema())


@pytest.fixture
def shop(broker: Broker, topic: MakeTopic, produce: Produce, group: str) -> dict[str, str]:
    """A topic and a group without members, by the names that the page gives them."""
    orders = topic(partitions=4)
    produce(orders, [(b"s%d" % (n % 7), b"{}") for n in range(40)])
    member = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 0})
    member.commit(offsets=[TopicPartition(orders, number, 1) for number in range(4)], asynchronous=False)
    member.close()
    dead = cluster.create_topic(broker.bootstrap_servers, f"{orders}.dlq", 1)
    produce(dead, [(b"s1", b"{}", [("task-name", b"charge"), *added(orders, n)]) for n in range(3)])
    return {"orders": orders, "shop": group}


def test_every_command_of_the_page_runs(broker: Broker, shop: dict[str, str], tmp_path: Path) -> None:
    assert len(BLOCKS) >= 3
    script = "\n".join(["set -ex", *BLOCKS])
    for name, real in shop.items():
        script = re.sub(rf"\b{name}\b", real, script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(tmp_path, {"PROCESSOR_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "PATH": path})
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

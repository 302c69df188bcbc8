"""What docs/DEPENDENCIES.md shows runs as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processor import Group, Step
from processor.cli.produce.task_lines import TaskLine, TaskLines, step_of
from processor.codec.plans import group_headers, step_headers
from processor.codec.select import codec_for
from processor.handlers.links import MOST_BYTES, read_plan
from processor.kafka.embedded import EmbeddedBroker
from tests.support import cluster
from tests.support.pages import Page

PAGE = Page("DEPENDENCIES.md")


def test_a_program_sends_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"], partitions=1)
        monkeypatch.setenv("PROCESSOR_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        PAGE.run(PAGE.block("python", "# order.py"))
        (record,) = cluster.read_all(broker.bootstrap_servers, "tasks")
    headers: dict[str, Any] = dict(record.headers() or ())
    plan = read_plan(headers["task-then"])
    assert record.key() == b"customer-17"
    assert [(planned.key, planned.delay) for planned in plan] == [("warehouse-2", None), ("customer-17", 86_400.0)]


def test_a_program_sends_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"], partitions=1)
        monkeypatch.setenv("PROCESSOR_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        PAGE.run(PAGE.block("python", "# fan_out.py"))
        (record,) = cluster.read_all(broker.bootstrap_servers, "tasks")
    headers: dict[str, Any] = dict(record.headers() or ())
    branches, ship = read_plan(headers["task-then"])
    assert (record.key(), headers["task-id"], ship.key) == (b"order-8", b"order-8", "customer-17")
    assert [branch[0].key for branch in branches.group or ()] == ["article-5", "customer-17", "warehouse-2"]
    assert branches.expires_in == 86_400.0


def test_a_line_has_what_follows(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text(PAGE.block("json", '{"session_id"'))
    with (tmp_path / "tasks").open("rb") as stream:
        (task,) = TaskLines(stream, "json")
    assert isinstance(task, TaskLine)
    step = step_of(task)
    assert isinstance(step, Step)
    (planned,) = read_plan(dict(step_headers(step, codec_for("json")))["task-then"])
    assert (step.id, planned.key) == ("order-7", "warehouse-2")


def test_a_line_is_a_group(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text(PAGE.block("json", '{"group"'))
    with (tmp_path / "tasks").open("rb") as stream:
        (task,) = TaskLines(stream, "json")
    assert isinstance(task, TaskLine)
    given = step_of(task)
    assert isinstance(given, Group)
    headers = dict(group_headers(given, codec_for("json")))
    branches, ship = read_plan(headers["task-then"])
    assert (headers["task-id"], len(branches.group or ()), ship.key) == (b"order-8", 2, "customer-17")


def test_the_test_of_a_chain_passes() -> None:
    test = PAGE.run(PAGE.block("python", "# test_order.py"))["test_an_order_is_packed_with_its_receipt"]
    assert callable(test)
    test()


def test_the_limit_is_the_one_that_the_page_names() -> None:
    assert f"at most {MOST_BYTES // 1024} KiB each" in PAGE.text

"""What docs/TASKS.md shows runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.cli.produce.task_lines import TaskLine, TaskLines
from processor.handlers.terms import headers_for_terms, terms_of
from processor.kafka.embedded import EmbeddedBroker
from tests.support import cluster
from tests.support.pages import Page

PAGE = Page("TASKS.md")


def test_a_program_asks_for_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topics(["tasks"], partitions=1)
        monkeypatch.setenv("PROCESSOR_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        PAGE.run(PAGE.block("python", "# ask.py"))
        records = cluster.read_all(broker.bootstrap_servers, "tasks")
    names = [{name for name in dict(record.headers() or ()) if name.startswith("task-")} for record in records]
    assert [record.key() for record in records] == [b"anna", b"ben", b"carl"]
    assert [found - {"task-id", "task-name"} for found in names] == [
        {"task-priority"}, {"task-not-before"}, {"task-expires"},
    ]  # fmt: skip


def test_a_file_asks_for_terms(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text(PAGE.block("json", '{"session_id"'))
    with (tmp_path / "tasks").open("rb") as stream:
        tasks = list(TaskLines(stream, "json"))
    for task in tasks:
        assert isinstance(task, TaskLine)
        headers = headers_for_terms(task.priority, task.not_before, task.delay, task.expires, task.expires_in)
        assert (terms := terms_of(headers)) is not None
        assert terms.fault is None
    assert len(tasks) == 3


def test_a_test_of_terms_passes() -> None:
    names = PAGE.run(PAGE.block("python", "# test_shop.py"))
    test = names["test_a_late_code_is_not_sent"]
    assert callable(test)
    test()

"""Hostile keys, headers, names and errors: they can forge no log line and control no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import MakeTopic, Produce
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.run import Fleet

FORGED = '{"event":"forged"}'
HOSTILE = (
    f"a\r\n2026-01-01T00:00:00Z [error    ] forged\x1b[2J\x9b31m\u2028\u2029\u202e\u2066\u200f\u061c\x00\n{FORGED}\n"
)
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
SECRET = "value-that-nobody-logs"
KEY = "key-that-nobody-logs"
HANDLERS = f"""
from processor import Processor

app = Processor()

@app.task("raise")
def hostile(task):
    raise type("E" * 5_000 + {HOSTILE!r}, (Exception,), {{}})({HOSTILE!r})

@app.task("endless")
def endless(task):
    raise ValueError("m" * 1_000_000)

@app.task("half a pair")
def half_a_pair(task):
    raise ValueError("\\ud800" * 1_000_000)
"""


def put(produce: Produce, topic: str) -> None:
    hostile = HOSTILE.encode()
    named = [("raise", hostile), ("endless", KEY.encode()), ("half a pair", b"\xff\xfe\x00"), (HOSTILE, hostile)]
    for name, key in named:
        headers = [("task-name", name.encode()), ("task-id", hostile), ("traceparent", hostile), (HOSTILE, hostile)]
        produce(topic, [(key, SECRET, headers)])


@pytest.fixture
def topic_with_them(topic: MakeTopic, produce: Produce) -> str:
    name = topic(1)
    put(produce, name)
    return name


@pytest.fixture
def run(
    broker: Broker, topic_with_them: str, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> Callable[..., Fleet]:
    def start(*options: str) -> Fleet:
        where = ("-b", broker.bootstrap_servers, "-t", topic_with_them, "-g", group, "--value-format", "bytes")
        quick = ("--max-attempts", "2", "--backoff", "0.01", "--stop-at-end", "--stats-interval", "0.2")
        fleet = start_fleet("hostile:app", *where, *quick, *options, folder=tmp_path, modules={"hostile": HANDLERS})
        assert fleet.wait() == 0
        return fleet

    return start


def test_text_from_a_producer_neither_starts_a_console_line_nor_moves_the_cursor(
    run: Callable[..., Fleet],
) -> None:
    fleet = run("--log-format", "console", "--log-level", "debug", "--log-sessions", "plain")
    said = fleet.log.read_bytes().decode()
    assert "task.dead_lettered" in said
    assert FORBIDDEN.findall(said) == []
    lines = said.splitlines()
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\dT\S+Z \[\w+ *\] \w+\.\w+|    \| ", line)] == []
    assert max(map(len, lines)) < 8_000
    assert SECRET not in said


def test_each_line_of_json_is_one_event_and_contains_neither_keys_nor_values(run: Callable[..., Fleet]) -> None:
    fleet = run("--log-level", "debug")
    said = fleet.log.read_bytes().decode()
    assert fleet.lines == []
    assert FORBIDDEN.findall(said) == []
    assert len(fleet.heard("task.dead_lettered")) == 4
    assert fleet.heard("forged") == []
    assert SECRET not in said
    assert KEY not in said
    assert "forged" not in {event["session_id"] for event in fleet.heard("task.dead_lettered")}


def test_a_dead_letter_exceeds_its_record_by_a_bounded_size(
    run: Callable[..., Fleet], broker: Broker, topic_with_them: str
) -> None:
    """An error's text of a megabyte, one that is no Unicode, and a type's name of five thousand letters."""
    run()
    letters = cluster.read_all(broker.bootstrap_servers, f"{topic_with_them}.dlq")
    assert len(letters) == 4
    for letter in letters:
        headers = cast(list[tuple[str, bytes]], letter.headers())
        added = {name: value for name, value in headers if name.startswith("dlq-")}
        assert len(added["dlq-error-message"]) <= 6_000
        assert len(added["dlq-error-type"]) <= 1_200
        assert sum(len(name) + len(value) for name, value in added.items()) < 8_000

"""Log lines and what they tell, made for a test."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from processor.observe.lines import Heard, Passed, events
from processor.observe.watch import Watch

BEGAN = 1_800_000_000.0
"""Seconds since the epoch: when every test's log begins."""


def line(event: str, at: float = 0.0, **fields: Any) -> bytes:
    """One line, `at` seconds after the log began."""
    timestamp = datetime.fromtimestamp(BEGAN + at, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"timestamp": timestamp, "level": "info", "event": event, "pid": 7, **fields}).encode()


def heard(*lines: bytes, name: str = "") -> list[Heard]:
    """What they tell; every one of them must tell something."""
    passed = Passed()
    told = list(events(list(lines), name, passed))
    assert len(told) == len(lines), passed
    return told


def watching(*lines: bytes, window: int = 10) -> Watch:
    """A watch that has heard them."""
    watch = Watch(window)
    for event in heard(*lines):
        watch.hear(event)
    return watch


def partition(at: float = 0.0, number: int = 0, **fields: Any) -> bytes:
    """The statistics of one partition."""
    usual = {"topic": "orders", "partition": number, "consumer": 0, "commit_point": 100, "committed": 100, "lag": 5}
    return line("partition.stats", at, **{**usual, **fields})


def consumer(at: float = 0.0, **fields: Any) -> bytes:
    """The statistics of one consumer."""
    usual = {
        "consumer": 0,
        "uptime_seconds": at + 10,
        "assigned_partitions": 1,
        "running": 1,
        "in_flight": 1,
        "succeeded": 10,
    }
    return line("consumer.stats", at, **{**usual, **fields})


def head(**fields: Any) -> dict[str, Any]:
    """The head of a partition's line."""
    usual = {"session_id": "anna", "offset": 100, "attempt": 2, "state": "running", "state_seconds": 1.0}
    return {**usual, "age_seconds": 30.0, "error_type": "builtins.OSError", "error": "no answer", **fields}

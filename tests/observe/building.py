"""Log lines and their events, built for a test."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from processor.observe.lines import ReadStats, SourcedEvent, events
from processor.observe.watch import Watch

BEGAN = 1_800_000_000.0
"""Start of every test's log, in seconds since the epoch."""


def line(event: str, at: float = 0.0, **fields: Any) -> bytes:
    """Return one line, `at` seconds after the start of the log."""
    timestamp = datetime.fromtimestamp(BEGAN + at, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"timestamp": timestamp, "level": "info", "event": event, "pid": 7, **fields}).encode()


def sourced(*lines: bytes, name: str = "") -> list[SourcedEvent]:
    """Return the events of `lines`, each of which must have one."""
    stats = ReadStats()
    found = list(events(list(lines), name, stats))
    assert len(found) == len(lines), stats
    return found


def watching(*lines: bytes, window: int = 10) -> Watch:
    """Return a watch that has taken the events of `lines`."""
    watch = Watch(window)
    for event in sourced(*lines):
        watch.handle(event)
    return watch


def partition(at: float = 0.0, number: int = 0, **fields: Any) -> bytes:
    """Return a report of one partition."""
    usual = {"topic": "orders", "partition": number, "consumer": 0, "commit_point": 100, "committed": 100, "lag": 5}
    return line("partition.stats", at, **{**usual, **fields})


def consumer(at: float = 0.0, **fields: Any) -> bytes:
    """Return a report of one consumer."""
    usual = {"consumer": 0, "uptime_seconds": at + 10, "assigned_partitions": 1}
    usual |= {"running": 1, "in_flight": 1, "succeeded": 10}
    return line("consumer.stats", at, **{**usual, **fields})


def head(**fields: Any) -> dict[str, Any]:
    """Return the head of a partition, for its report."""
    usual = {"session_id": "anna", "offset": 100, "attempt": 2, "state": "running", "state_seconds": 1.0}
    return {**usual, "age_seconds": 30.0, "error_type": "builtins.OSError", "error": "no answer", **fields}

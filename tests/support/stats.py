"""Statistics with made-up values, for tests."""

from __future__ import annotations

from typing import Any

from processor.telemetry.events import ConsumerStats, HeadOfLine, PartitionStats


def consumer_stats(**changed: Any) -> ConsumerStats:
    """Return a consumer's statistics with the fields in `changed` replaced."""
    values: dict[str, Any] = {
        "uptime_seconds": 1.0, "overdue_after_seconds": 0.0,
        "in_flight": 3, "in_flight_bytes": 10, "waiting": 2, "running": 1, "workers": 8, "used_cores": 0.1,
        "ready_sessions": 2, "active_sessions": 4,
        "succeeded": 5, "failed_attempts": 6, "retried": 7, "timed_out": 2, "stuck": 1, "dead_lettered": 8,
        "skipped": 9, "results": 0, "abandoned": 3, "missed_offsets": 5, "handler_seconds": 0.5,
        "handler_seconds_buckets": {"0.001": 5, "+Inf": 5}, "handler_p50_seconds": 0.0002,
        "handler_p90_seconds": 0.0003, "handler_p99_seconds": 0.0004, "handler_max_seconds": 0.0004,
        "tasks_per_second": 5.5, "commits": 1, "commit_failures": 4, "rebalances": 1, "assigned_partitions": 1,
        "busiest_session_waiting": 2, "lag": 10, "oldest_unsettled_seconds": 0.25, "oldest_running_seconds": 0.1,
        "suppressed_warnings": 0, "busiest_sessions": [], "urgent_sessions": 0, "delayed_sessions": 0,
        "next_delayed_seconds": None, "expired": 0, "cancelled": 0,
        "set_aside": 0, "delayed_set_aside": 0, "records_read_again": 0, "tasks_read_again": 0, "open_joins": 0,
        "suspensions": 0, "suspended_handlers": 0, "held": 0, "held_handlers": [],
        "paused": 0, "pauses": 0, "longest_pause_seconds": 0.0, "paused_by": [],
    }  # fmt: skip
    return ConsumerStats(**(values | changed))


def partition_stats(**changed: Any) -> PartitionStats:
    """Return a partition's statistics with the fields in `changed` replaced."""
    values: dict[str, Any] = {
        "topic": "t", "partition": 3, "in_flight": 1, "in_flight_bytes": 10, "waiting": 0, "running": 1, "parked": 0,
        "active_sessions": 1, "succeeded": 5, "failed_attempts": 0, "dead_lettered": 0, "skipped": 0,
        "delayed": 0, "paused": 0, "fetched_ahead": 4, "oldest_ready_seconds": 0.5,
        "commit_point": 7, "committed": None, "highest_settled": 9, "gap": 3, "oldest_unsettled_seconds": 0.25,
        "set_aside": 0, "set_aside_sessions": 0, "delayed_set_aside": 0, "next_set_aside_seconds": None,
        "lag": 4, "fetch_paused": False, "waits_for": [], "head": head_of_line(),
        "head_paused": False,
    }  # fmt: skip
    return PartitionStats(**(values | changed))


def head_of_line(**changed: Any) -> HeadOfLine:
    """Return the head of a partition with the fields in `changed` replaced."""
    values: dict[str, Any] = {
        "session_id": "anna", "offset": 7, "attempt": 2, "state": "parked", "state_seconds": 0.2, "age_seconds": 0.25,
        "produced_at": 1234, "retry_in_seconds": 0.5, "session_waiting": 2, "error_type": "builtins.OSError",
        "error": "no route",
    }  # fmt: skip
    return HeadOfLine(**(values | changed))

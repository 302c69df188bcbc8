"""The metrics, each a field of a logged event. The Collector's configuration is generated from this table.

A counter is logged as its total since the start, never as a difference. So a lost line causes no error, and `rate()`
and `increase()` handle a restart as for any counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from processor.telemetry.events import ConsumerStats, Event, FleetStats, PartitionStats

Kind = Literal["counter", "gauge"]

HISTOGRAM = "processor_handler_seconds"
HISTOGRAM_HELP = "Duration of attempts in seconds, decoding included."


class Metric(NamedTuple):
    """One metric of one event."""

    name: str
    field: str
    """Name of the event's field. `head.attempt` is a field of the event's part `head`, which may be None."""
    kind: Kind
    help: str

    def value_of(self, event: Event) -> float | None:
        """Return the value in `event`; None if the event has none, 0 for a field of a part that is None."""
        value: Any = event
        for name in self.field.split("."):
            value = getattr(value, name) if value is not None else 0
        return None if value is None else float(value)


class Family(NamedTuple):
    """The metrics of one event, and their labels."""

    event: type[Event]
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]


CONSUMER = Family(
    ConsumerStats,
    ("group", "host", "fleet", "consumer"),
    (
        Metric("processor_uptime_seconds", "uptime_seconds", "gauge", "Time since the consumer started, in seconds."),
        Metric("processor_in_flight_tasks", "in_flight", "gauge", "Tasks fetched and not settled."),
        Metric(
            "processor_in_flight_bytes",
            "in_flight_bytes",
            "gauge",
            "Bytes of keys, values and headers of the tasks in flight.",
        ),
        Metric("processor_waiting_tasks", "waiting", "gauge", "Tasks in flight that no worker has taken."),
        Metric("processor_running_sessions", "running", "gauge", "Sessions that a worker has taken."),
        Metric("processor_ready_sessions", "ready_sessions", "gauge", "Sessions and batches that wait for a worker."),
        Metric("processor_workers", "workers", "gauge", "Worker threads, or coroutines that may run at once."),
        Metric(
            "processor_used_cores",
            "used_cores",
            "gauge",
            "Processor cores that the consumer's process used over the last interval.",
        ),
        Metric("processor_active_sessions", "active_sessions", "gauge", "Sessions that have tasks in flight."),
        Metric(
            "processor_urgent_sessions",
            "urgent_sessions",
            "gauge",
            "Sessions that wait for a worker with a task of a priority above 0.",
        ),
        Metric(
            "processor_delayed_sessions",
            "delayed_sessions",
            "gauge",
            "Sessions in memory whose next task waits for its earliest start time.",
        ),
        Metric(
            "processor_busiest_session_waiting",
            "busiest_session_waiting",
            "gauge",
            "Waiting tasks of the session that has the most.",
        ),
        Metric("processor_assigned_partitions", "assigned_partitions", "gauge", "Partitions assigned to the consumer."),
        Metric(
            "processor_lag_records", "lag", "gauge", "Records from the commit points to the ends of the partitions."
        ),
        Metric(
            "processor_oldest_unsettled_seconds",
            "oldest_unsettled_seconds",
            "gauge",
            "Age of the oldest unsettled task, in seconds.",
        ),
        Metric(
            "processor_oldest_running_seconds",
            "oldest_running_seconds",
            "gauge",
            "Age of the longest-running attempt, in seconds.",
        ),
        Metric("processor_succeeded_tasks_total", "succeeded", "counter", "Tasks that succeeded."),
        Metric("processor_failed_attempts_total", "failed_attempts", "counter", "Attempts that failed."),
        Metric("processor_retried_attempts_total", "retried", "counter", "Attempts that are followed by another."),
        Metric("processor_timed_out_attempts_total", "timed_out", "counter", "Attempts that reached their time limit."),
        Metric(
            "processor_stuck_handlers_total",
            "stuck",
            "counter",
            "Handlers that kept running past their time limit and the grace period.",
        ),
        Metric(
            "processor_dead_lettered_tasks_total", "dead_lettered", "counter", "Tasks sent to the dead-letter topic."
        ),
        Metric(
            "processor_expired_tasks_total",
            "expired",
            "counter",
            "Tasks dead-lettered because they expired before they began.",
        ),
        Metric(
            "processor_cancelled_tasks_total",
            "cancelled",
            "counter",
            "Tasks that an operator cancelled, including those that became dead letters.",
        ),
        Metric(
            "processor_skipped_tasks_total",
            "skipped",
            "counter",
            "Tasks settled before an assignment, which were not run again.",
        ),
        Metric("processor_results_total", "results", "counter", "Return values written to the results topic."),
        Metric(
            "processor_abandoned_tasks_total",
            "abandoned",
            "counter",
            "Tasks that were still running when a drain timed out.",
        ),
        Metric(
            "processor_missed_offsets_total",
            "missed_offsets",
            "counter",
            "Offsets that retention deleted before they were read.",
        ),
        Metric(
            "processor_set_aside_tasks",
            "set_aside",
            "gauge",
            "Tasks of sessions with very many of them, of which only the offset is kept. They are not in flight.",
        ),
        Metric(
            "processor_delayed_set_aside_tasks",
            "delayed_set_aside",
            "gauge",
            "Tasks with long delays, and those behind them, of which only the offset is kept. They are not in flight.",
        ),
        Metric(
            "processor_records_read_again_total",
            "records_read_again",
            "counter",
            "Records that were read a second time for tasks that were set aside.",
        ),
        Metric(
            "processor_tasks_read_again_total",
            "tasks_read_again",
            "counter",
            "Tasks that were set aside and have been read again.",
        ),
        Metric("processor_commits_total", "commits", "counter", "Commits that the broker accepted."),
        Metric("processor_commit_failures_total", "commit_failures", "counter", "Commits that the broker refused."),
        Metric(
            "processor_rebalances_total",
            "rebalances",
            "counter",
            "Times that partitions were assigned to or taken from the consumer.",
        ),
        Metric(
            "processor_suspended_handlers",
            "suspended_handlers",
            "gauge",
            "Suspended handlers: their tasks wait for the end of an outage.",
        ),
        Metric("processor_handler_suspensions_total", "suspensions", "counter", "Times that a handler was suspended."),
        Metric(
            "processor_held_tasks",
            "held",
            "gauge",
            "Tasks that wait because of a limit of their handler, one of each session.",
        ),
        Metric("processor_open_joins", "open_joins", "gauge", "Groups that wait for some of their branches."),
        Metric("processor_paused_tasks", "paused", "gauge", "Tasks that wait for the end of a pause."),
        Metric("processor_pauses", "pauses", "gauge", "Pauses in force (`processor control pause`)."),
        Metric(
            "processor_longest_pause_seconds",
            "longest_pause_seconds",
            "gauge",
            "Time since the oldest pause in force was given, in seconds.",
        ),
        Metric(
            "processor_suppressed_warnings_total",
            "suppressed_warnings",
            "counter",
            "Warnings about single tasks that the rate limit kept out of the log.",
        ),
    ),
)

PARTITION = Family(
    PartitionStats,
    ("group", "topic", "partition"),
    (
        Metric(
            "processor_partition_lag_records",
            "lag",
            "gauge",
            "Records from the commit point to the end of the partition.",
        ),
        Metric(
            "processor_partition_gap_offsets",
            "gap",
            "gauge",
            "Offsets from the commit point to the highest settled one: what the oldest unsettled task holds back.",
        ),
        Metric(
            "processor_partition_commit_point", "commit_point", "gauge", "Every record below this offset is settled."
        ),
        Metric("processor_partition_committed_offset", "committed", "gauge", "Committed offset of the group."),
        Metric("processor_partition_in_flight_tasks", "in_flight", "gauge", "Tasks fetched and not settled."),
        Metric(
            "processor_partition_fetched_ahead_records",
            "fetched_ahead",
            "gauge",
            "Records fetched that are not in flight yet.",
        ),
        Metric(
            "processor_partition_active_sessions", "active_sessions", "gauge", "Sessions that have tasks in flight."
        ),
        Metric(
            "processor_partition_parked_sessions",
            "parked",
            "gauge",
            "Sessions that wait for the next attempt of a task, or for its schema.",
        ),
        Metric(
            "processor_partition_paused_tasks",
            "paused",
            "gauge",
            "Tasks that wait for the end of a pause.",
        ),
        Metric(
            "processor_partition_fetch_paused",
            "fetch_paused",
            "gauge",
            "1 while fetching is paused, because the partition holds more than its share.",
        ),
        Metric(
            "processor_partition_oldest_unsettled_seconds",
            "oldest_unsettled_seconds",
            "gauge",
            "Age of the oldest unsettled task, in seconds.",
        ),
        Metric(
            "processor_partition_oldest_ready_seconds",
            "oldest_ready_seconds",
            "gauge",
            "Longest time that a runnable task has waited for a worker, in seconds.",
        ),
        Metric(
            "processor_partition_head_attempt",
            "head.attempt",
            "gauge",
            "Current or next attempt of the oldest unsettled task; 0 if there is none.",
        ),
        Metric(
            "processor_partition_head_paused",
            "head_paused",
            "gauge",
            "1 while the oldest unsettled task waits for the end of a pause, and the commit point with it.",
        ),
        Metric(
            "processor_partition_head_session_waiting",
            "head.session_waiting",
            "gauge",
            "Tasks that wait behind the oldest unsettled one in its session.",
        ),
        Metric(
            "processor_partition_succeeded_tasks_total",
            "succeeded",
            "counter",
            "Tasks that succeeded since the partition was assigned.",
        ),
        Metric(
            "processor_partition_failed_attempts_total",
            "failed_attempts",
            "counter",
            "Attempts that failed since the partition was assigned.",
        ),
        Metric(
            "processor_partition_dead_lettered_tasks_total",
            "dead_lettered",
            "counter",
            "Tasks sent to the dead-letter topic since the partition was assigned.",
        ),
    ),
)

FLEET = Family(
    FleetStats,
    ("group", "host", "fleet"),
    (
        Metric(
            "processor_fleet_consumers", "consumers", "gauge", "Running consumers of the fleet; 0 once it has stopped."
        ),
        Metric(
            "processor_fleet_silent_consumers",
            "silent_consumers",
            "gauge",
            "Running consumers whose report to the fleet's parent is overdue.",
        ),
        Metric(
            "processor_fleet_scaling_at_limit",
            "scaling_at_limit",
            "gauge",
            "1 while tasks wait, all consumers are busy, and --processes, --workers or the partitions allow no more.",
        ),
        Metric(
            "processor_fleet_restarts_total",
            "restarts",
            "counter",
            "Consumers that exited unexpectedly and were replaced.",
        ),
        Metric(
            "processor_fleet_process_deaths_total",
            "process_deaths",
            "counter",
            "Consumers whose process ended without a report.",
        ),
        Metric(
            "processor_fleet_forced_stops_total",
            "forced_stops",
            "counter",
            "Consumers that did not drain in time, or were killed.",
        ),
    ),
)

FAMILIES = (FLEET, CONSUMER, PARTITION)


def samples(family: Family, event: Event) -> Iterator[tuple[Metric, float]]:
    """Yield the metrics that have a value in `event`, with their values."""
    for metric in family.metrics:
        value = metric.value_of(event)
        if value is not None:
            yield metric, value

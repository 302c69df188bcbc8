"""The metrics, each a field of an event that is logged; the collector's configuration follows from them.

A counter is told as its value since the start, never as a difference: a line that is lost then costs nothing, and
`rate()` and `increase()` see a restart as they see any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from processor.telemetry.events import ConsumerStats, Event, FleetStats, PartitionStats

Kind = Literal["counter", "gauge"]

HISTOGRAM = "processor_handler_seconds"
HISTOGRAM_HELP = "Seconds that attempts took, decoding included."


class Metric(NamedTuple):
    """One metric of one event."""

    name: str
    field: str
    """Of the event; `head.attempt` is a field of a part, which may be missing."""
    kind: Kind
    help: str

    def value_of(self, event: Event) -> float | None:
        """What the event says of it; None where it says nothing."""
        value: Any = event
        for name in self.field.split("."):
            value = getattr(value, name) if value is not None else 0  # nothing holds up what has no head
        return None if value is None else float(value)


class Family(NamedTuple):
    """The metrics of one event, and the labels that they have."""

    event: type[Event]
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]


CONSUMER = Family(
    ConsumerStats,
    ("group", "host", "fleet", "consumer"),
    (
        Metric("processor_uptime_seconds", "uptime_seconds", "gauge", "Seconds since the consumer's start."),
        Metric("processor_in_flight", "in_flight", "gauge", "Tasks taken and not settled."),
        Metric("processor_in_flight_bytes", "in_flight_bytes", "gauge", "Bytes of key, value and headers of those."),
        Metric("processor_waiting", "waiting", "gauge", "Tasks that wait in their session's lane."),
        Metric("processor_running", "running", "gauge", "Sessions that a worker has."),
        Metric("processor_lanes", "lanes", "gauge", "Sessions that have tasks."),
        Metric("processor_fullest_lane", "fullest_lane", "gauge", "Tasks that wait in the session with the most."),
        Metric("processor_assigned_partitions", "assigned", "gauge", "Partitions that the consumer has."),
        Metric("processor_lag_records", "lag", "gauge", "Records from the commit points to the partitions' ends."),
        Metric(
            "processor_oldest_unsettled_seconds",
            "oldest_unsettled_seconds",
            "gauge",
            "Age of the oldest unsettled task.",
        ),
        Metric("processor_oldest_running_seconds", "oldest_running_seconds", "gauge", "Age of the oldest attempt."),
        Metric("processor_done_total", "done", "counter", "Tasks that succeeded."),
        Metric("processor_failed_attempts_total", "failed_attempts", "counter", "Attempts that failed."),
        Metric("processor_retried_total", "retried", "counter", "Failed attempts that another one follows."),
        Metric("processor_timed_out_total", "timed_out", "counter", "Attempts whose time was over."),
        Metric("processor_stuck_total", "stuck", "counter", "Handlers that went on after their time and their grace."),
        Metric("processor_dead_lettered_total", "dead_lettered", "counter", "Tasks that were given up."),
        Metric("processor_skipped_total", "skipped", "counter", "Tasks that were settled before, and not run again."),
        Metric("processor_results_total", "results", "counter", "Return values that were written."),
        Metric("processor_abandoned_total", "abandoned", "counter", "Tasks that still ran when a drain was over."),
        Metric("processor_missed_offsets_total", "missed", "counter", "Offsets that retention deleted unread."),
        Metric("processor_commits_total", "commits", "counter", "Commits that were accepted."),
        Metric("processor_commit_failures_total", "commit_failures", "counter", "Commits that were refused."),
        Metric("processor_rebalances_total", "rebalances", "counter", "Times that partitions came or went."),
        Metric(
            "processor_unlogged_failures_total",
            "unlogged_failures",
            "counter",
            "Warnings left out of the log.",
        ),
    ),
)

PARTITION = Family(
    PartitionStats,
    ("group", "topic", "partition"),
    (
        Metric("processor_partition_lag_records", "lag", "gauge", "Records from the commit point to the end."),
        Metric("processor_partition_gap_offsets", "gap", "gauge", "Offsets that one unfinished task holds back."),
        Metric("processor_partition_commit_point", "commit_point", "gauge", "Everything below it is settled."),
        Metric("processor_partition_committed", "committed", "gauge", "The offset that the group has."),
        Metric("processor_partition_in_flight", "in_flight", "gauge", "Tasks taken and not settled."),
        Metric("processor_partition_lanes", "lanes", "gauge", "Sessions that have tasks here."),
        Metric("processor_partition_parked", "parked", "gauge", "Sessions that wait for a retry."),
        Metric("processor_partition_paused", "paused", "gauge", "1 while the partition is not fetched."),
        Metric(
            "processor_partition_oldest_unsettled_seconds",
            "oldest_unsettled_seconds",
            "gauge",
            "Age of the task that holds the commit point.",
        ),
        Metric(
            "processor_partition_head_attempt", "head.attempt", "gauge", "Attempt that the oldest unsettled task is on."
        ),
        Metric(
            "processor_partition_head_waiting",
            "head.session_waiting",
            "gauge",
            "Tasks of its session behind it.",
        ),
        Metric("processor_partition_done_total", "done", "counter", "Tasks that succeeded since it was assigned."),
        Metric("processor_partition_failed_attempts_total", "failed_attempts", "counter", "Attempts that failed."),
        Metric("processor_partition_dead_lettered_total", "dead_lettered", "counter", "Tasks that were given up."),
    ),
)

FLEET = Family(
    FleetStats,
    ("group", "host", "fleet"),
    (
        Metric("processor_fleet_consumers", "consumers", "gauge", "Consumers of the fleet; 0 once it has stopped."),
        Metric("processor_fleet_restarts_total", "restarts", "counter", "Consumers that were replaced."),
        Metric("processor_fleet_forced_stops_total", "forced_stops", "counter", "Consumers not drained in time."),
    ),
)

FAMILIES = (FLEET, CONSUMER, PARTITION)


def samples(family: Family, event: Event) -> Iterator[tuple[Metric, float]]:
    """The metrics that the event tells, with their values."""
    for metric in family.metrics:
        value = metric.value_of(event)
        if value is not None:
            yield metric, value

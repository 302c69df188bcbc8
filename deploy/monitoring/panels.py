"""The panels of the Grafana dashboard, and what each asks the store."""

from __future__ import annotations

from typing import NamedTuple

OF_GROUP = 'group=~"$group"'
CONSUMER = "host, fleet, consumer"
ALERTS = f'count(ALERTS{{alertname=~"Processor.*", alertstate="firing", {OF_GROUP}}}) or vector(0)'
OF_TOPIC = 'group=~"$group", topic=~"$topic"'


class Query(NamedTuple):
    """One line of a panel."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A plot over time, or a number."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    bad: float | None = None
    """Of a number: from here on it is shown in red."""


def rate(metric: str, by: str = "group", labels: str = OF_GROUP) -> str:
    """How much the counter rises a second, summed."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def rises(metric: str, by: str = "group") -> str:
    """How much the counter rose in the time that is shown, summed."""
    return f"sum by ({by}) (increase({metric}{{{OF_GROUP}}}[$__range]))"


def rose(metric: str, by: str = "group") -> str:
    """How much the counter rose from point to point, summed."""
    return f"sum by ({by}) (increase({metric}{{{OF_GROUP}}}[$__rate_interval]))"


def total(metric: str, by: str = "group") -> str:
    """The gauge, summed."""
    return f"sum by ({by}) ({metric}{{{OF_GROUP}}})"


def of_partition(metric: str) -> str:
    """The gauge of each partition, whoever told it."""
    return f"max by (topic, partition) ({metric}{{{OF_TOPIC}}})"


def of_partitions(metric: str) -> str:
    """The same, summed over the partitions."""
    return f"sum by (group) (max by (group, topic, partition) ({metric}{{{OF_TOPIC}}}))"


def quantile(share: float) -> str:
    """Of what attempts took."""
    buckets = f"rate(processor_handler_seconds_bucket{{{OF_GROUP}}}[$__rate_interval])"
    return f"histogram_quantile({share:g}, sum by (le) ({buckets}))"


PLACE = "{{topic}}[{{partition}}]"
EACH = "{{host}} {{fleet}}/{{consumer}}"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Fleet",
        (
            Panel(
                "Alerts",
                "Of processor's rules, that fire now.",
                (Query(ALERTS, "firing"),),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Consumers",
                "Of all fleets; 0 once they have stopped.",
                (Query(total("processor_fleet_consumers"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Tasks a second",
                "That succeed.",
                (Query(rate("processor_succeeded_tasks_total"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Lag",
                "Records from the commit points to the ends.",
                (Query(of_partitions("processor_partition_lag_records"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Oldest unsettled task",
                "Its age; whose it is stands in the log, below.",
                (
                    Query(
                        f"max by (group) (processor_partition_oldest_unsettled_seconds{{{OF_TOPIC}}})",
                        "{{group}}",
                    ),
                ),
                unit="s",
                kind="stat",
                width=3,
                height=5,
                bad=900,
            ),
            Panel(
                "Attempts that fail",
                "Of all that end.",
                (
                    Query(
                        f"{rate('processor_failed_attempts_total')} / ({rate('processor_handler_seconds_count')} > 0)",
                        "{{group}}",
                    ),
                ),
                unit="percentunit",
                kind="stat",
                width=3,
                height=5,
                bad=0.05,
            ),
            Panel(
                "Dead letters",
                "In the time that is shown.",
                (Query(rises("processor_dead_lettered_tasks_total"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Replaced consumers",
                "In the time that is shown.",
                (Query(rises("processor_fleet_restarts_total"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Throughput",
                "Tasks a second, as they end.",
                (
                    Query(rate("processor_succeeded_tasks_total"), "done {{group}}"),
                    Query(rate("processor_dead_lettered_tasks_total"), "dead-lettered {{group}}"),
                    Query(rate("processor_skipped_tasks_total"), "skipped {{group}}"),
                ),
            ),
            Panel(
                "Throughput by consumer",
                "An even load has lines that lie together.",
                (Query(rate("processor_succeeded_tasks_total", CONSUMER), EACH),),
            ),
        ),
    ),
    (
        "Latency and retries",
        (
            Panel(
                "What attempts take",
                "Decoding and handler; below half a millisecond it is a guess.",
                (Query(quantile(0.5), "p50"), Query(quantile(0.9), "p90"), Query(quantile(0.99), "p99")),
                unit="s",
            ),
            Panel(
                "Oldest attempt",
                "A line that rises to the timeout is a handler that hangs.",
                (Query(f"max by ({CONSUMER}) (processor_oldest_running_seconds{{{OF_GROUP}}})", EACH),),
                unit="s",
            ),
            Panel(
                "Failed attempts",
                "A second, and what became of them.",
                (
                    Query(rate("processor_failed_attempts_total"), "failed {{group}}"),
                    Query(rate("processor_retried_attempts_total"), "tried again {{group}}"),
                    Query(rate("processor_timed_out_attempts_total"), "timed out {{group}}"),
                    Query(rate("processor_dead_lettered_tasks_total"), "dead-lettered {{group}}"),
                ),
            ),
            Panel(
                "What should not be",
                "Stuck handlers, abandoned tasks, refused commits, forced stops, offsets deleted unread.",
                (
                    Query(rose("processor_stuck_handlers_total"), "stuck {{group}}"),
                    Query(rose("processor_abandoned_tasks_total"), "abandoned {{group}}"),
                    Query(rose("processor_commit_failures_total"), "commits refused {{group}}"),
                    Query(rose("processor_fleet_forced_stops_total"), "forced stops {{group}}"),
                    Query(rose("processor_missed_offsets_total"), "deleted unread {{group}}"),
                ),
            ),
        ),
    ),
    (
        "Partitions",
        (
            Panel(
                "Lag",
                "From the commit point to the end.",
                (Query(of_partition("processor_partition_lag_records"), PLACE),),
            ),
            Panel(
                "Head-of-line gap",
                "Offsets from the commit point to the highest settled one: what one task holds back.",
                (Query(of_partition("processor_partition_gap_offsets"), PLACE),),
            ),
            Panel(
                "Age of the oldest unsettled task",
                "What it is and why: the field head of partition.stats.",
                (Query(of_partition("processor_partition_oldest_unsettled_seconds"), PLACE),),
                unit="s",
            ),
            Panel(
                "Attempt of the oldest unsettled task",
                "1 for the first; 0 where everything is settled.",
                (Query(of_partition("processor_partition_head_attempt"), PLACE),),
            ),
            Panel(
                "Tasks a second",
                "Each partition's, since the consumer's that has it.",
                (Query(rate("processor_partition_succeeded_tasks_total", "topic, partition", OF_TOPIC), PLACE),),
            ),
            Panel(
                "Commit point",
                "A line that is level while others rise is a partition that stands.",
                (Query(of_partition("processor_partition_commit_point"), PLACE),),
            ),
        ),
    ),
    (
        "Lanes and hot sessions",
        (
            Panel(
                "Sessions",
                "That have tasks; on a worker; waiting for a retry.",
                (
                    Query(total("processor_active_sessions"), "with tasks {{group}}"),
                    Query(total("processor_running_sessions"), "on a worker {{group}}"),
                    Query(of_partitions("processor_partition_parked_sessions"), "parked {{group}}"),
                ),
            ),
            Panel(
                "The fullest lane",
                "Tasks that wait in one session: far above the others it is a hot session.",
                (
                    Query(f"max by ({CONSUMER}) (processor_busiest_session_waiting{{{OF_GROUP}}})", EACH),
                    Query(of_partition("processor_partition_head_session_waiting"), f"behind the head of {PLACE}"),
                ),
            ),
            Panel(
                "Tasks held",
                "At --max-in-flight a consumer takes no more.",
                (Query(total("processor_in_flight_tasks", CONSUMER), EACH),),
            ),
            Panel(
                "Bytes held",
                "At --max-in-flight-bytes a consumer takes no more.",
                (Query(total("processor_in_flight_bytes", CONSUMER), EACH),),
                unit="bytes",
            ),
        ),
    ),
    (
        "Group",
        (
            Panel(
                "Rebalances",
                "Times that partitions came or went, in five minutes.",
                (Query(f"sum by ({CONSUMER}) (increase(processor_rebalances_total{{{OF_GROUP}}}[5m]))", EACH),),
            ),
            Panel(
                "Partitions of each consumer",
                "Of one with none, nothing is asked.",
                (Query(total("processor_assigned_partitions", CONSUMER), EACH),),
            ),
            Panel(
                "Commits",
                "A second; those that were refused are tried again.",
                (
                    Query(rate("processor_commits_total"), "accepted {{group}}"),
                    Query(rate("processor_commit_failures_total"), "refused {{group}}"),
                ),
            ),
            Panel(
                "Paused partitions",
                "More held than is theirs: they are not fetched for a while.",
                (Query(of_partition("processor_partition_fetch_paused"), PLACE),),
            ),
        ),
    ),
)

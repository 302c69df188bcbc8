"""The panels of the Grafana dashboard, and the queries of each.

An idle partition is logged when it changes and not again, so its series end after five minutes. Sums and maxima over
partitions are then 0, not missing. A line that ends belongs to a partition that has become idle.
"""

from __future__ import annotations

from typing import NamedTuple

OF_GROUP = 'group=~"$group"'
CONSUMER = "host, fleet, consumer"
ALERTS = f'count(ALERTS{{alertname=~"Processor.*", alertstate="firing", {OF_GROUP}}}) or vector(0)'
OF_TOPIC = 'group=~"$group", topic=~"$topic"'
IDLE = f"or 0 * sum by (group) (processor_assigned_partitions{{{OF_GROUP}}})"
"""0 for a group whose partitions are all idle."""


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
    """For a number: it is red at this value or above."""


def rate(metric: str, by: str = "group", labels: str = OF_GROUP) -> str:
    """Return the rate of a counter per second, summed."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def rises(metric: str, by: str = "group") -> str:
    """Return the increase of a counter over the time range of the dashboard, summed."""
    return f"sum by ({by}) (increase({metric}{{{OF_GROUP}}}[$__range]))"


def rose(metric: str, by: str = "group") -> str:
    """Return the increase of a counter from point to point, summed."""
    return f"sum by ({by}) (increase({metric}{{{OF_GROUP}}}[$__rate_interval]))"


def total(metric: str, by: str = "group") -> str:
    """Return a gauge, summed."""
    return f"sum by ({by}) ({metric}{{{OF_GROUP}}})"


def of_partition(metric: str) -> str:
    """Return a gauge of each partition, whichever consumer reported it."""
    return f"max by (topic, partition) ({metric}{{{OF_TOPIC}}})"


def of_partitions(metric: str) -> str:
    """Return a gauge of partitions, each taken once, summed."""
    return f"sum by (group) (max by (group, topic, partition) ({metric}{{{OF_TOPIC}}})) {IDLE}"


def largest_of_partitions(metric: str) -> str:
    """Return the largest value of a gauge of partitions."""
    return f"max by (group) ({metric}{{{OF_TOPIC}}}) {IDLE}"


def quantile(share: float) -> str:
    """Return a quantile of the durations of attempts."""
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
                "Alerts of processor that are firing.",
                (Query(ALERTS, "firing"),),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Consumers",
                "Running consumers of all fleets.",
                (Query(total("processor_fleet_consumers"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Tasks per second",
                "Tasks that succeed.",
                (Query(rate("processor_succeeded_tasks_total"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Lag",
                "Records from the commit points to the ends of the partitions.",
                (Query(of_partitions("processor_partition_lag_records"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
            ),
            Panel(
                "Oldest unsettled task",
                "Its age. The log panels below show its session.",
                (
                    Query(
                        largest_of_partitions("processor_partition_oldest_unsettled_seconds"),
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
                "Failed attempts",
                "Share of all completed attempts.",
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
                "Over the time range.",
                (Query(rises("processor_dead_lettered_tasks_total"), "{{group}}"),),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Replaced consumers",
                "Consumers that exited unexpectedly, and those whose process died, over the time range.",
                (
                    Query(rises("processor_fleet_restarts_total"), "{{group}}"),
                    Query(rises("processor_fleet_process_deaths_total"), "died {{group}}"),
                ),
                kind="stat",
                width=3,
                height=5,
                bad=1,
            ),
            Panel(
                "Throughput",
                "Tasks settled per second, by outcome.",
                (
                    Query(rate("processor_succeeded_tasks_total"), "succeeded {{group}}"),
                    Query(rate("processor_dead_lettered_tasks_total"), "dead-lettered {{group}}"),
                    Query(rate("processor_skipped_tasks_total"), "skipped {{group}}"),
                ),
            ),
            Panel(
                "Throughput by consumer",
                "With an even load the lines are close together.",
                (Query(rate("processor_succeeded_tasks_total", CONSUMER), EACH),),
            ),
        ),
    ),
    (
        "Latency and retries",
        (
            Panel(
                "Duration of attempts",
                "Decoding and handler. Values below half a millisecond are estimates.",
                (Query(quantile(0.5), "p50"), Query(quantile(0.9), "p90"), Query(quantile(0.99), "p99")),
                unit="s",
            ),
            Panel(
                "Longest-running attempt",
                "A line that rises to the timeout is a handler that hangs.",
                (Query(f"max by ({CONSUMER}) (processor_oldest_running_seconds{{{OF_GROUP}}})", EACH),),
                unit="s",
            ),
            Panel(
                "Failed attempts",
                "Per second, by outcome.",
                (
                    Query(rate("processor_failed_attempts_total"), "failed {{group}}"),
                    Query(rate("processor_retried_attempts_total"), "retried {{group}}"),
                    Query(rate("processor_timed_out_attempts_total"), "timed out {{group}}"),
                    Query(rate("processor_dead_lettered_tasks_total"), "dead-lettered {{group}}"),
                    Query(rate("processor_expired_tasks_total"), "expired {{group}}"),
                    Query(rate("processor_cancelled_tasks_total"), "cancelled {{group}}"),
                ),
            ),
            Panel(
                "Faults",
                "Stuck handlers, abandoned tasks, refused commits, forced stops, offsets deleted unread.",
                (
                    Query(rose("processor_stuck_handlers_total"), "stuck handlers {{group}}"),
                    Query(rose("processor_abandoned_tasks_total"), "abandoned tasks {{group}}"),
                    Query(rose("processor_commit_failures_total"), "refused commits {{group}}"),
                    Query(rose("processor_fleet_forced_stops_total"), "forced stops {{group}}"),
                    Query(rose("processor_missed_offsets_total"), "missed offsets {{group}}"),
                ),
            ),
            Panel(
                "Tasks held by their handlers",
                "They wait because their handler is suspended or at a limit of its own. Each session counts once.",
                (Query(total("processor_held_tasks"), "{{group}}"),),
            ),
            Panel(
                "Groups that wait for branches",
                "Some of their branches have succeeded and others have not. They hold back the commit point. "
                "`processor dlq list` shows branches that have failed.",
                (Query(total("processor_open_joins"), "{{group}}"),),
            ),
            Panel(
                "Paused tasks",
                "An operator has paused them; `processor control list` shows the pauses. Tasks that are not fetched "
                "yet do not count.",
                (
                    Query(total("processor_paused_tasks"), "tasks {{group}}"),
                    Query(
                        f"max by (group, topic, partition) (processor_partition_paused_tasks{{{OF_GROUP}}}) > 0",
                        "tasks {{topic}}[{{partition}}]",
                    ),
                    Query(f"max by (group) (processor_pauses{{{OF_GROUP}}})", "pauses {{group}}"),
                ),
            ),
            Panel(
                "Longest pause",
                "Time since the oldest pause in force began. An alert fires after an hour.",
                (Query(f"max by (group) (processor_longest_pause_seconds{{{OF_GROUP}}})", "{{group}}"),),
                unit="s",
            ),
            Panel(
                "Tasks set aside",
                "Tasks of which only the offset is kept, because their session has very many, or because they are "
                "delayed for long. Their records are read again in time.",
                (
                    Query(total("processor_set_aside_tasks"), "set aside {{group}}"),
                    Query(total("processor_delayed_set_aside_tasks"), "set aside until due {{group}}"),
                    Query(rate("processor_records_read_again_total"), "read again per second {{group}}"),
                    Query(rate("processor_tasks_read_again_total"), "of these, tasks set aside {{group}}"),
                ),
            ),
            Panel(
                "Suspended handlers",
                "A dependency of them is unavailable: the log event handler.suspended has the error.",
                (
                    Query(total("processor_suspended_handlers"), "suspended {{group}}"),
                    Query(rose("processor_handler_suspensions_total"), "suspensions {{group}}"),
                ),
            ),
        ),
    ),
    (
        "Partitions",
        (
            Panel(
                "Lag",
                "Records from the commit point to the end. A line that ends is an idle partition, without lag.",
                (Query(of_partition("processor_partition_lag_records"), PLACE),),
            ),
            Panel(
                "Head-of-line gap",
                "Offsets from the commit point to the highest settled one: what the oldest unsettled task holds back.",
                (Query(of_partition("processor_partition_gap_offsets"), PLACE),),
            ),
            Panel(
                "Age of the oldest unsettled task",
                "The field head of partition.stats has the task, its state and its error.",
                (Query(of_partition("processor_partition_oldest_unsettled_seconds"), PLACE),),
                unit="s",
            ),
            Panel(
                "Longest wait for a worker",
                "Of tasks that may run: blocked sessions do not count. High values mean too few workers.",
                (Query(of_partition("processor_partition_oldest_ready_seconds"), PLACE),),
                unit="s",
            ),
            Panel(
                "Records fetched ahead",
                "Fetched, but not in flight yet.",
                (Query(of_partition("processor_partition_fetched_ahead_records"), PLACE),),
            ),
            Panel(
                "Attempt of the oldest unsettled task",
                "Starts at 1; 0 if everything is settled.",
                (Query(of_partition("processor_partition_head_attempt"), PLACE),),
            ),
            Panel(
                "Tasks per second",
                "By partition. Only the panels by consumer include the first tasks after an idle time.",
                (Query(rate("processor_partition_succeeded_tasks_total", "topic, partition", OF_TOPIC), PLACE),),
            ),
            Panel(
                "Commit point",
                "A line that stays level while others rise is a stalled partition.",
                (Query(of_partition("processor_partition_commit_point"), PLACE),),
            ),
        ),
    ),
    (
        "Sessions",
        (
            Panel(
                "Active sessions",
                "Sessions with tasks in flight; and sessions that run, are parked until a retry, are delayed until "
                "their next task may begin, or are urgent.",
                (
                    Query(total("processor_active_sessions"), "active {{group}}"),
                    Query(total("processor_running_sessions"), "running {{group}}"),
                    Query(of_partitions("processor_partition_parked_sessions"), "parked {{group}}"),
                    Query(total("processor_delayed_sessions"), "delayed {{group}}"),
                    Query(total("processor_urgent_sessions"), "urgent {{group}}"),
                ),
            ),
            Panel(
                "Workers",
                "Threads or coroutines of all consumers, sessions that they run, and sessions that wait for one. "
                "Fleets at their limit cannot have more workers.",
                (
                    Query(total("processor_workers"), "workers {{group}}"),
                    Query(total("processor_running_sessions"), "busy {{group}}"),
                    Query(total("processor_ready_sessions"), "sessions that wait for one {{group}}"),
                    Query(total("processor_fleet_scaling_at_limit"), "fleets at their limit {{group}}"),
                ),
            ),
            Panel(
                "Processor cores used",
                "By each consumer's process. Near 1 while tasks wait means that handlers compute: add processes.",
                (Query(total("processor_used_cores", CONSUMER), EACH),),
            ),
            Panel(
                "Busiest session",
                "Waiting tasks of the session that has the most. If that is far above the others, the session is hot.",
                (
                    Query(f"max by ({CONSUMER}) (processor_busiest_session_waiting{{{OF_GROUP}}})", EACH),
                    Query(of_partition("processor_partition_head_session_waiting"), f"behind the head of {PLACE}"),
                ),
            ),
            Panel(
                "Tasks in flight",
                "At --max-in-flight a consumer fetches no more.",
                (Query(total("processor_in_flight_tasks", CONSUMER), EACH),),
            ),
            Panel(
                "Bytes in flight",
                "At --max-in-flight-bytes a consumer fetches no more.",
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
                "How often partitions were assigned or revoked in five minutes.",
                (Query(f"sum by ({CONSUMER}) (increase(processor_rebalances_total{{{OF_GROUP}}}[5m]))", EACH),),
            ),
            Panel(
                "Partitions by consumer",
                "A consumer without partitions is idle.",
                (Query(total("processor_assigned_partitions", CONSUMER), EACH),),
            ),
            Panel(
                "Commits",
                "Per second. Refused ones are retried.",
                (
                    Query(rate("processor_commits_total"), "accepted {{group}}"),
                    Query(rate("processor_commit_failures_total"), "refused {{group}}"),
                ),
            ),
            Panel(
                "Partitions with paused fetching",
                "They have more than their share of the records that are fetched ahead.",
                (Query(of_partition("processor_partition_fetch_paused"), PLACE),),
            ),
        ),
    ),
)

"""Events that report a state at intervals: `partition.stats`, `consumer.stats`, `fleet.stats` and their parts."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from processor.telemetry.events.control import PauseOrder
from processor.telemetry.events.event import Event, Level

HeadState = Literal["waiting", "running", "delivering", "parked", "blocked", "delayed", "held", "joining", "paused"]


class HeadOfLine(msgspec.Struct, kw_only=True, frozen=True):
    """The oldest unsettled task of a partition: what the commit point waits for, since when, and why."""

    session_id: str
    offset: int
    attempt: int
    """number of the current or next attempt, from 1"""
    state: HeadState
    """`waiting` for a worker; `running`; `delivering` its result or dead letter; `parked` until its next attempt;
    `blocked` by a handler of the same session that still runs from an earlier assignment; `delayed` until its earliest
    start time; `held` by its handler, which is suspended or at a limit; `joining`: an
    arrival of a group that waits for other branches; `paused` by an operator"""
    state_seconds: float
    """time spent in this state"""
    age_seconds: float
    """time since this consumer fetched the task"""
    produced_at: int | None
    """the record's timestamp, in milliseconds since the epoch"""
    retry_in_seconds: float | None
    """time until the next attempt, if `parked` or `delayed`"""
    session_waiting: int
    """tasks of the same session that wait behind it in this consumer"""
    error_type: str | None
    """error of its last attempt"""
    error: str | None


class PartitionStats(Event):
    """One assigned partition, every `--stats-interval`. Counters start at its assignment.

    An idle partition (no tasks, no lag, nothing to commit or to wait for) is logged only when its report changes. It is
    otherwise in `partitions.idle`. Each partition has a line of its own, because container runtimes cut lines at
    16 KiB. The console format shows it at `debug` only.
    """

    event: ClassVar[str] = "partition.stats"
    console_level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    in_flight: int
    """tasks fetched and not settled, whether they wait or run"""
    in_flight_bytes: int
    """bytes of their keys, values and headers"""
    fetched_ahead: int
    """records fetched that are not in flight yet"""
    waiting: int
    """tasks in flight that no worker has taken"""
    running: int
    """sessions that a worker has taken"""
    parked: int
    """sessions that wait for the next attempt of a task, or for its schema"""
    delayed: int
    """sessions whose next task waits for its earliest start time"""
    paused: int
    """tasks that wait for the end of a pause, including those that are set aside"""
    active_sessions: int
    """sessions that have tasks in flight"""
    succeeded: int
    """tasks that succeeded"""
    failed_attempts: int
    dead_lettered: int
    """tasks sent to the dead-letter topic"""
    skipped: int
    """tasks settled before this assignment, which were not run again"""
    commit_point: int | None
    """every record below this offset is settled"""
    committed: int | None
    """the group's committed offset"""
    highest_settled: int | None
    """the highest offset that is settled"""
    gap: int
    """offsets from the commit point to the highest settled one: what the oldest unsettled task holds back"""
    oldest_unsettled_seconds: float
    """age of the oldest unsettled task"""
    oldest_ready_seconds: float
    """longest time that a runnable task has waited for a worker"""
    set_aside: int
    """tasks of sessions with very many tasks, of which only the offset is kept; they are not in flight"""
    set_aside_sessions: int
    """sessions of these tasks"""
    delayed_set_aside: int
    """tasks with long delays, and those behind them in their sessions, of which only the offset is kept"""
    next_set_aside_seconds: float | None
    """time until the first of these is due; null if there is none"""
    lag: int | None
    """records from the commit point to the end of the partition; from its start if it is held"""
    fetch_paused: bool
    """whether fetching is paused because the partition holds more than its share"""
    waits_for: list[str]
    """offsets that must be committed before more of this new partition begins, at most ten, each as
    TOPIC[PARTITION]@OFFSET; empty unless it is held"""
    head: HeadOfLine | None
    """the oldest unsettled task; null if everything is settled"""
    head_paused: bool
    """whether that task waits for the end of a pause, and the commit point with it"""


class PartitionsIdle(Event):
    """The partitions of one topic that are idle and were not logged as `partition.stats`, every ten minutes.

    A consumer with more than 500 idle partitions logs several lines; with more than 2,000, it logs at longer intervals.
    The console format shows it at `debug` only.
    """

    event: ClassVar[str] = "partitions.idle"
    console_level: ClassVar[Level] = "debug"

    topic: str
    commit_points: dict[int, int | None]
    """the commit point of each partition, by the number of the partition"""


class SessionLoad(msgspec.Struct, kw_only=True, frozen=True):
    """One of the sessions with the most waiting tasks."""

    session_id: str
    topic: str
    partition: int
    waiting: int
    """its waiting tasks, including those that are set aside"""
    partition_waiting: int
    """waiting tasks of all sessions of its partition, at the same time"""


class HandlerLoad(msgspec.Struct, kw_only=True, frozen=True):
    """A handler whose tasks wait because of a limit that it sets."""

    handler: str
    """the task name or schema that it is registered for"""
    waiting: int
    """its tasks that wait for their turn, one of each session"""
    suspended_seconds: float | None
    """time since it was suspended; null if it is not"""
    error_type: str | None
    """error of its last attempt for which it was suspended"""
    error: str | None


class PauseReport(PauseOrder):
    """A pause, and how many tasks of one consumer wait for its end."""

    waiting: int
    """tasks that wait for its end, as in `paused`"""


class ConsumerStats(Event):
    """A running consumer, at its start and every `--stats-interval`; every sixth time while nothing changes.

    In a fleet of more than eight consumers, unchanged reports are logged less often, in proportion. Counters start with
    the process.
    """

    event: ClassVar[str] = "consumer.stats"

    uptime_seconds: float
    overdue_after_seconds: float
    """time from this report until the next one is overdue, which means that the consumer or its log has stopped"""
    in_flight: int
    """tasks fetched and not settled, whether they wait or run"""
    in_flight_bytes: int
    """bytes of their keys, values and headers"""
    waiting: int
    """tasks in flight that no worker has taken"""
    running: int
    """sessions that a worker has taken"""
    workers: int
    """worker threads, or coroutines that may run at once"""
    used_cores: float
    """processor cores that its process used over the last interval, without processes that handlers started"""
    ready_sessions: int
    """sessions and batches that wait for a worker"""
    active_sessions: int
    """sessions that have tasks in flight"""
    urgent_sessions: int
    """sessions that wait for a worker with a task of a priority above 0"""
    delayed_sessions: int
    """sessions whose next task waits for its earliest start time, without sessions that are set aside"""
    next_delayed_seconds: float | None
    """time until the first delayed task may begin, set aside or not; null if there is none"""
    succeeded: int
    """tasks that succeeded"""
    failed_attempts: int
    retried: int
    """attempts that are followed by another"""
    timed_out: int
    """attempts that reached their time limit"""
    stuck: int
    """handlers that kept running past their time limit and the grace period"""
    dead_lettered: int
    """tasks sent to the dead-letter topic"""
    expired: int
    """tasks dead-lettered because they expired before they began"""
    cancelled: int
    """tasks that an operator cancelled, including those that became dead letters"""
    skipped: int
    """tasks settled before this assignment, which were not run again"""
    results: int
    """return values written to the results topic"""
    abandoned: int
    """tasks that were still running when a drain timed out"""
    missed_offsets: int
    """offsets that retention deleted before this consumer read them; `consumer.offsets_missed` lists them"""
    set_aside: int
    """tasks of sessions with very many tasks, of which only the offset is kept; they are not in flight"""
    delayed_set_aside: int
    """tasks with long delays, and those behind them in their sessions, of which only the offset is kept"""
    open_joins: int
    """groups of which some branches have succeeded and others have not; their arrivals are not in flight"""
    records_read_again: int
    """records read a second time for tasks that were set aside, including records of other sessions"""
    tasks_read_again: int
    """tasks that were set aside and have been read again"""
    handler_seconds: float
    """total time of all attempts"""
    handler_seconds_buckets: dict[str, int]
    """attempts by duration, decoding included: each key is an upper bound in seconds, `+Inf` counts all"""
    handler_p50_seconds: float | None
    """median of the attempts that ended in the last interval; null if none did; estimated below 0.0005"""
    handler_p90_seconds: float | None
    handler_p99_seconds: float | None
    handler_max_seconds: float | None
    tasks_per_second: float
    """tasks settled per second over the last interval"""
    commits: int
    """accepted commits"""
    commit_failures: int
    """refused commits"""
    rebalances: int
    """times that partitions were assigned to or taken from this consumer"""
    assigned_partitions: int
    busiest_session_waiting: int
    """waiting tasks of the session that has the most"""
    lag: int | None
    """records from the commit points to the ends of the partitions"""
    oldest_unsettled_seconds: float
    """age of the oldest unsettled task"""
    oldest_running_seconds: float
    """age of the longest-running attempt"""
    suppressed_warnings: int
    """warnings about single tasks that the rate limit kept out of the log"""
    busiest_sessions: list[SessionLoad]
    """the sessions with the most waiting tasks, at most five"""
    suspensions: int
    """times that a handler was suspended"""
    suspended_handlers: int
    """handlers that are suspended"""
    held: int
    """tasks that wait because of a limit of their handler, one of each session"""
    held_handlers: list[HandlerLoad]
    """the handlers that they wait for, and those that are suspended"""
    paused: int
    """tasks that wait for the end of a pause, including those that are set aside; later ones are not fetched yet"""
    pauses: int
    """pauses in force"""
    longest_pause_seconds: float
    """time since the oldest of them began; 0 without one"""
    paused_by: list[PauseReport]
    """the pauses, at most ten: those that most tasks wait for, then the oldest"""


class FleetStats(Event):
    """The sum over all consumers of a fleet, when it stops and every `--stats-interval`; every sixth time while nothing
    changes.

    Counters start with the fleet and include consumers that have exited.
    """

    event: ClassVar[str] = "fleet.stats"

    consumers: int
    """running consumers"""
    silent_consumers: int
    """running consumers whose report to the fleet's parent is overdue by two intervals"""
    scaling_at_limit: bool
    """whether tasks have waited in all consumers for three reports, all consumers are busy, and scaling is at its
    limit; false where neither `--processes` nor `--workers` is a range"""
    in_flight: int
    """tasks fetched and not settled, whether they wait or run"""
    waiting: int
    """tasks in flight that no worker has taken"""
    running: int
    """sessions that a worker has taken"""
    active_sessions: int
    """sessions that have tasks in flight"""
    succeeded: int
    """tasks that succeeded"""
    failed_attempts: int
    retried: int
    """attempts that are followed by another"""
    timed_out: int
    """attempts that reached their time limit"""
    stuck: int
    """handlers that kept running past their time limit and the grace period"""
    dead_lettered: int
    """tasks sent to the dead-letter topic"""
    cancelled: int
    """tasks that an operator cancelled, including those that became dead letters"""
    skipped: int
    """tasks settled before an assignment, which were not run again"""
    abandoned: int
    """tasks that were still running when a drain timed out"""
    missed_offsets: int
    """offsets that retention deleted before a consumer read them"""
    commit_failures: int
    """refused commits"""
    tasks_per_second: float
    """tasks settled per second over the last interval"""
    lag: int | None
    """records from the commit points to the ends of the partitions"""
    restarts: int
    """consumers that exited unexpectedly and were replaced"""
    process_deaths: int
    """consumers whose process ended without a report"""
    forced_stops: int
    """consumers that did not drain in time, or were killed"""

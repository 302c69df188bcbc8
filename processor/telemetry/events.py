"""Every event that is logged, with its fields. `docs/LOGS.md` and `docs/logs.schema.json` are generated from this file.

An event is a value: the code that observes something builds one and passes it to an `Emit`, which writes a log line on
the command line and appends to a list in a test. Names are stable. A name ends in its unit; durations are in seconds,
times in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec

LOG_VERSION = 1
"""Version of the log contract, on every JSON line. Within a version, events and fields are only added, and readers
ignore what they do not know. Renaming, removing or redefining one requires the next version."""

Level = Literal["debug", "info", "warning", "error"]


class Event(msgspec.Struct, kw_only=True):
    """An event that is logged."""

    event: ClassVar[str]
    level: ClassVar[Level] = "info"
    console_level: ClassVar[Level | None] = None
    """The level in the console format, where it differs."""


Emit = Callable[[Event], None]


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


class PauseOrder(msgspec.Struct, kw_only=True):
    """A pause: its target, its start, and the user who gave the command."""

    kind: Literal["session", "name", "partition", "all"]
    """kind of the target"""
    session_id: str
    """the session; empty for another kind of target"""
    task_name: str
    """the task name; empty for another kind of target"""
    partition: str
    """TOPIC:PARTITION; empty for another kind of target"""
    since: int
    """when the command was given, in milliseconds since the epoch"""
    by: str
    """the user who gave it, as USER@HOST"""


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


class FleetStarted(Event):
    """A fleet is up: its first consumer has reached a broker."""

    event: ClassVar[str] = "fleet.started"

    app: str
    topics: list[str]
    group: str
    processes: int
    """number of consumers, at the start"""
    processes_most: int
    """the upper bound of a range of `--processes`; else the same"""
    workers: int
    """worker threads per consumer, at the start"""
    version: str
    """of the processor package"""


class FleetReloading(Event):
    """Python files have changed (`--reload`): each consumer drains, leaves the group, and is replaced by a new one."""

    event: ClassVar[str] = "fleet.reloading"

    files: list[str]
    """below the current folder"""


class FleetStopping(Event):
    """A fleet stops: it received a signal, or a consumer failed in a way that a restart does not fix."""

    event: ClassVar[str] = "fleet.stopping"

    reason: str


class FleetStopped(Event):
    """The last consumer of a fleet has exited."""

    event: ClassVar[str] = "fleet.stopped"

    exit_code: int
    uptime_seconds: float
    restarts: int
    """consumers that exited unexpectedly and were replaced"""


class FleetProcessesChanged(Event):
    """A consumer was added to a fleet or removed from it. Before it is removed, it drains and leaves the group."""

    event: ClassVar[str] = "fleet.processes_changed"

    processes: int
    """number of consumers"""
    processes_before: int
    reason: str
    """the observed load, or the signal"""


class FleetProcessesLimited(Event):
    """A consumer was not added or removed: the bounds or the partitions do not allow it, or it cannot start."""

    event: ClassVar[str] = "fleet.processes_limited"
    level: ClassVar[Level] = "warning"

    processes: int
    """number of consumers"""
    reason: str


class FleetConsumerExited(Event):
    """A consumer exited unexpectedly and is being replaced."""

    event: ClassVar[str] = "fleet.consumer_exited"
    level: ClassVar[Level] = "warning"

    consumer: int
    """number of the consumer in the fleet, from 0"""
    consumer_pid: int
    exit_code: int
    """negative: the signal that killed it"""
    restart_in_seconds: float
    reason: str


class FleetConsumerKilled(Event):
    """A consumer did not exit within its drain timeout and was killed."""

    event: ClassVar[str] = "fleet.consumer_killed"
    level: ClassVar[Level] = "error"

    consumer: int
    """number of the consumer in the fleet, from 0"""
    consumer_pid: int


class ProcessDied(Event):
    """A consumer's process ended without a report: its code, the kernel or an external signal ended it.

    From then on, the fleet's consumers record the tasks that they run. If another process dies, the tasks that it ran
    are suspects, and each suspect runs alone until it is settled.
    """

    event: ClassVar[str] = "process.died"
    level: ClassVar[Level] = "warning"

    consumer: int
    """number of the consumer in the fleet, from 0"""
    consumer_pid: int
    exit_code: int
    """negative: the signal that killed it"""
    reason: str
    running: int
    """tasks that ran when it died; 0 if it did not record them yet"""
    suspects: list[str]
    """these tasks, at most twenty, each as TOPIC-PARTITION-OFFSET"""


class TaskSuspected(Event):
    """A process died while it ran only this task. After `--max-attempts` deaths, and at least two, the task becomes a
    dead letter `processor.ProcessDied`.
    """

    event: ClassVar[str] = "task.suspected"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    deaths: int
    """of processes that ran it and recorded it"""


class ConsumerStarted(Event):
    """A consumer has reached a broker and subscribes to its topics."""

    event: ClassVar[str] = "consumer.started"

    topics: list[str]
    group: str
    workers: int
    """worker threads, or coroutines that may run at once"""
    workers_most: int
    """the upper bound of a range of `--workers`; else the same"""
    value_format: str
    group_protocol: str
    engine: Literal["compiled", "pure"]
    """how the engine runs: compiled to C, or as Python"""


class ConsumerWorkersChanged(Event):
    """A running consumer has more or fewer workers. A worker that is removed first finishes the tasks that it has
    taken.
    """

    event: ClassVar[str] = "consumer.workers_changed"

    workers: int
    """worker threads, or coroutines that may run at once"""
    workers_before: int
    reason: str


class ConsumerWorkersLimited(Event):
    """The system does not allow so many threads: the consumer has fewer workers than configured."""

    event: ClassVar[str] = "consumer.workers_limited"
    level: ClassVar[Level] = "warning"

    wanted: int
    workers: int
    """its worker threads"""
    error: str


class ConsumerJoining(Event):
    """The consumer has been joining its group for ten seconds, or the group refuses it for now. Repeated every ten
    seconds.
    """

    event: ClassVar[str] = "consumer.joining"
    level: ClassVar[Level] = "warning"

    seconds: float
    """time since it began to join"""
    reason: str


class ConsumerRejoining(Event):
    """The coordinator has assigned partitions to this consumer that it never received, because a response was lost.

    Or no member has them, because the predecessor of this consumer died between the two rounds of a rebalance. The
    consumer drains its partitions, commits, leaves the group and joins it again.
    """

    event: ClassVar[str] = "consumer.rejoining"
    level: ClassVar[Level] = "warning"

    partitions: list[str]
    """those that are not served, each as TOPIC[PARTITION]"""


class ConsumerAssigned(Event):
    """The group assigned partitions to this consumer."""

    event: ClassVar[str] = "consumer.assigned"

    partitions: list[str]
    """each as TOPIC[PARTITION]@OFFSET: the first offset to be fetched, `start` if the group has committed none"""
    settled_ahead: int
    """offsets above the commit points that the skip maps list as settled; they are skipped"""


class ConsumerPartitionHeld(Event):
    """A partition was added to its topic, and its tasks do not begin yet: other partitions may hold earlier tasks of
    its sessions.
    """

    event: ClassVar[str] = "consumer.partition_held"

    topic: str
    partition: int
    partitions: int
    """number of partitions of the topic"""
    partitions_before: int
    """their number before the topic grew, as far as it is known"""
    waits_for: list[str]
    """offsets that must be committed first, at most ten, each as TOPIC[PARTITION]@OFFSET"""
    waits_for_partitions: int
    """number of all partitions that it waits for"""


class ConsumerPartitionReleased(Event):
    """The tasks of a held partition begin: the earlier tasks in the other partitions are settled."""

    event: ClassVar[str] = "consumer.partition_released"

    topic: str
    partition: int
    seconds: float
    """how long it was held"""


class ConsumerGrowthUneven(Event):
    """A topic's number of partitions was not multiplied: sessions also move between the old partitions, and their tasks
    may run out of order. Multiply the number: from 4 to 8 or 12.
    """

    event: ClassVar[str] = "consumer.growth_uneven"
    level: ClassVar[Level] = "warning"

    topic: str
    partitions_before: int
    partitions: int


class ConsumerTopicGrewAgain(Event):
    """A topic has grown again while partitions of an earlier growth are held. The newest partitions wait for these."""

    event: ClassVar[str] = "consumer.topic_grew_again"
    level: ClassVar[Level] = "warning"

    topic: str
    partitions_before: int
    partitions: int


class ConsumerProducerLate(Event):
    """After its topic had grown, a record was written to a partition to which its session no longer belongs.

    Its producer has not noticed the growth (`metadata.max.age.ms`), or does not partition by murmur2. Later tasks of
    the session may overtake it. Logged for the first such record of a partition, by a consumer that also has one of the
    new partitions.
    """

    event: ClassVar[str] = "consumer.producer_late"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    belongs_to: int
    """the partition of its session by murmur2"""
    partitions: int
    """number of partitions of the topic"""


class ConsumerSurveyFailed(Event):
    """A request to the brokers for the topics' and the group's offsets failed. It is sent again.

    Meanwhile new partitions are held, and groups of tasks that are complete hold the commit point.
    """

    event: ClassVar[str] = "consumer.survey_failed"
    level: ClassVar[Level] = "warning"

    error: str


class ConsumerRevoked(Event):
    """The group revoked partitions: this consumer drained them and committed their offsets."""

    event: ClassVar[str] = "consumer.revoked"

    partitions: list[str]
    """each as TOPIC[PARTITION]"""
    drain_seconds: float
    abandoned: int
    """tasks that were still running when the drain timed out"""
    released: int
    """waiting tasks that are left to the next owner of the partitions"""


class ConsumerReadingOn(Event):
    """Revoked partitions take long to drain, so a second client meanwhile reads the partitions that stay.

    The consumer's own client fetches nothing until the drain has ended.
    """

    event: ClassVar[str] = "consumer.reading_on"

    partitions: list[str]
    """those that stay, each as TOPIC[PARTITION]"""


class ConsumerReadingOnFailed(Event):
    """Revoked partitions take long to drain, and the partitions that stay cannot be read meanwhile.

    Their new tasks wait until the drain has ended.
    """

    event: ClassVar[str] = "consumer.reading_on_failed"
    level: ClassVar[Level] = "warning"

    error: str


class ConsumerLost(Event):
    """This consumer lost partitions because the group had evicted it. Nothing was committed."""

    event: ClassVar[str] = "consumer.lost"
    level: ClassVar[Level] = "warning"

    partitions: list[str]
    """each as TOPIC[PARTITION]"""
    released: int
    """waiting tasks that are left to the next owner of the partitions"""
    running: int
    """tasks that were running; they run again elsewhere"""


class ConsumerLeaseLapsed(Event):
    """This consumer starts no more tasks, because its partitions may belong to another member.

    Its process or machine was suspended, or the group has not answered for most of the session timeout. It resumes once
    the group answers.
    """

    event: ClassVar[str] = "consumer.lease_lapsed"
    level: ClassVar[Level] = "warning"

    reason: Literal["asleep", "unanswered"]
    """`asleep`: the process or machine was suspended; `unanswered`: the group did not answer"""
    seconds: float
    """how long it was suspended or had no answer"""
    waiting: int
    """fetched tasks that are not started"""


class ConsumerLeaseRenewed(Event):
    """The group answered: the partitions still belong to this consumer, and it resumes."""

    event: ClassVar[str] = "consumer.lease_renewed"

    seconds: float
    """how long it started no tasks"""


class ConsumerCommitFailed(Event):
    """The broker refused a commit; the next one retries it. One reason is logged at most once in ten seconds."""

    event: ClassVar[str] = "consumer.commit_failed"
    level: ClassVar[Level] = "warning"

    error: str
    partitions: list[str]
    """each as TOPIC[PARTITION]"""


class ConsumerDrainShortened(Event):
    """Tasks of a revoked partition get less time to finish than `--drain-timeout`, because the group evicts a member
    that takes longer than `max.poll.interval.ms` to release its partitions. Tasks that still run then are reported as
    `task.abandoned`. Raise that setting, remove it (its default is long enough), or lower `--drain-timeout`.
    """

    event: ClassVar[str] = "consumer.drain_shortened"
    level: ClassVar[Level] = "warning"

    drain_timeout_seconds: float
    """`--drain-timeout`"""
    revoke_drain_seconds: float
    """time limit for running tasks to finish when a partition is revoked"""
    poll_interval_seconds: float
    """`-X max.poll.interval.ms`"""


class ConsumerSkipMapRefused(Event):
    """The brokers do not accept so much commit metadata (`offset.metadata.max.bytes`); this partition's skip maps are
    shorter from now on. Offsets are committed as before. Raise that setting on the brokers: tasks that a shorter map
    leaves out run again after a crash.
    """

    event: ClassVar[str] = "consumer.skip_map_refused"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    refused_characters: int
    """the length of the metadata that was refused"""


class ConsumerProgressTopicFailed(Event):
    """A skip map that does not fit into a commit's metadata could not be written to `--progress-topic`.

    Commits continue with shorter maps; after a crash, tasks that these leave out run again. The topic is tried again
    within a minute. Logged once until a map has been written again.
    """

    event: ClassVar[str] = "consumer.progress_topic_failed"
    level: ClassVar[Level] = "warning"

    topic: str
    error: str


class ConsumerProgressTopicNotCompacted(Event):
    """The cleanup policy of `--progress-topic` is not `compact`.

    Retention may delete a skip map that a commit refers to; after a crash, the tasks in it would run again. Set the
    topic's `cleanup.policy` to `compact`.
    """

    event: ClassVar[str] = "consumer.progress_topic_not_compacted"
    level: ClassVar[Level] = "warning"

    topic: str
    cleanup_policy: str


class ConsumerCommitsRerouted(Event):
    """A rebalance waits for another member and delays this consumer's commits.

    Until the rebalance is over, the consumer commits by transactions.
    """

    event: ClassVar[str] = "consumer.commits_rerouted"

    held_seconds: float
    """time for which a commit had no response"""
    transactional_id: str


class ConsumerCommitsHeld(Event):
    """A rebalance delays this consumer's commits, and it cannot commit by transactions.

    Tasks that settle before the rebalance is over run again if this consumer dies meanwhile. A stop waits for the end
    of the rebalance within the drain timeout.
    """

    event: ClassVar[str] = "consumer.commits_held"
    level: ClassVar[Level] = "warning"

    error: str
    """why a transaction is not possible"""
    transactional_id: str


class ConsumerSkipMapIgnored(Event):
    """The metadata of a committed offset is not a valid skip map for it: tasks settled above that offset run again."""

    event: ClassVar[str] = "consumer.skip_map_ignored"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    """the committed offset"""
    reason: str


class ConsumerSkipMapCut(Event):
    """A skip map did not fit into the commit's metadata: after a crash, settled tasks that it leaves out run again.
    While groups wait, those below the oldest unsettled task do not: the commit notes how far every task is settled.
    """

    event: ClassVar[str] = "consumer.skip_map_cut"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    kept_until: int
    """the offset below which the map is complete"""
    settled_until: int
    """the offset after the highest settled one"""


class ConsumerOffsetsRewound(Event):
    """The offsets of a partition moved backwards: its topic was recreated, or the group's offsets were reset."""

    event: ClassVar[str] = "consumer.offsets_rewound"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    expected_offset: int | None
    offset: int
    """where the partition continues"""
    discarded: int
    """waiting tasks of the earlier offsets that are dropped"""


class ConsumerOffsetsMissed(Event):
    """Retention deleted records before this consumer read them, or read them again. Their tasks never ran."""

    event: ClassVar[str] = "consumer.offsets_missed"
    level: ClassVar[Level] = "error"

    topic: str
    partition: int
    missed_offsets: int
    """how many; some may never have held a record, which cannot be determined any more"""
    offsets: list[str]
    """the lowest of them, as FIRST-LAST or OFFSET; at most a hundred entries"""
    next_offset: int
    """where the partition continues"""


Reason = Literal["many tasks", "delays"]


class ConsumerSetAside(Event):
    """Sessions with very many tasks fill a partition, or many tasks have long delays.

    The consumer keeps only the offsets of most of these tasks, and reads their records again in time. Logged once,
    until no task of the partition is set aside any more.
    """

    event: ClassVar[str] = "consumer.set_aside"

    topic: str
    partition: int
    tasks: int
    """how many at first"""
    because: Reason
    """`many tasks`: few sessions have very many tasks; `delays`: many tasks have long delays"""


class ConsumerRecallFailed(Event):
    """Tasks that were set aside could not be read again. The read is tried again, and their sessions wait."""

    event: ClassVar[str] = "consumer.recall_failed"
    level: ClassVar[Level] = "warning"

    error: str
    set_aside: int
    """tasks of which only the offset is kept"""
    topic: str | None = None
    """null if the client cannot read at all"""
    partition: int | None = None
    """the partition that cannot be read; the others go on"""


class ConsumerLookBackFailed(Event):
    """The log could not be searched for groups that were complete before their partition came to this consumer.

    A branch that has arrived again waits meanwhile. Logged once for each cause, and again after a while.
    """

    event: ClassVar[str] = "consumer.look_back_failed"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    error: str
    joins: int
    """groups that were to be looked up"""
    retries: bool
    """whether it is tried again: not after an internal error, nor if the groups wait no longer"""


class ConsumerFetchPaused(Event):
    """A partition has more than its share of what is fetched ahead; the client stops fetching it for a while."""

    event: ClassVar[str] = "consumer.fetch_paused"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    fetched_ahead: int
    """records of the partition that are fetched and not in flight yet"""


class ConsumerFetchResumed(Event):
    """A partition that was paused has room again; the client resumes fetching it."""

    event: ClassVar[str] = "consumer.fetch_resumed"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    fetched_ahead: int
    """records of the partition that are fetched and not in flight yet"""


class ConsumerStopping(Event):
    """A consumer takes no more records and lets running tasks finish within the drain timeout."""

    event: ClassVar[str] = "consumer.stopping"

    reason: str
    running: int
    """running tasks"""
    waiting: int
    """tasks in flight that no worker has taken"""


class ConsumerStopped(Event):
    """A consumer has left the group."""

    event: ClassVar[str] = "consumer.stopped"

    exit_code: int
    uptime_seconds: float
    succeeded: int
    """tasks that succeeded"""
    failed_attempts: int
    dead_lettered: int
    """tasks sent to the dead-letter topic"""
    abandoned: int
    """tasks that were still running when a drain timed out"""


class ConsumerFailed(Event):
    """A consumer hit an error that it cannot recover from, and exits."""

    event: ClassVar[str] = "consumer.failed"
    level: ClassVar[Level] = "error"

    error: str
    exit_code: int


class ConsumerLifespanFailed(Event):
    """The application's lifespan failed, or took too long, after its `yield`. The stop continues.

    A lifespan that fails before its `yield` is reported by `consumer.failed`.
    """

    event: ClassVar[str] = "consumer.lifespan_failed"
    level: ClassVar[Level] = "error"

    lifespan: str
    """the function"""
    error_type: str
    """the exception's name with its module"""
    error: str


class ConsumerRecycling(Event):
    """A handler cannot be interrupted: this consumer drains, leaves the group, and is replaced by a new process."""

    event: ClassVar[str] = "consumer.recycling"
    level: ClassVar[Level] = "warning"

    reason: str


class ConsumerTopicCreated(Event):
    """A consumer created a missing dead-letter or results topic."""

    event: ClassVar[str] = "consumer.topic_created"

    topic: str
    partitions: int
    """number of partitions"""


class ConsumerTopicMissing(Event):
    """A dead-letter or results topic is missing and was not created; tasks that write to it wait."""

    event: ClassVar[str] = "consumer.topic_missing"
    level: ClassVar[Level] = "warning"

    topic: str
    reason: str


class HeartbeatFailed(Event):
    """A heartbeat file cannot be written, so `processor health` reports this process as dead. At most once a minute."""

    event: ClassVar[str] = "heartbeat.failed"
    level: ClassVar[Level] = "warning"

    path: str
    error: str
    failures: int
    """consecutive failures"""


class ConsumerWorkerError(Event):
    """A worker hit an internal error and recovered."""

    event: ClassVar[str] = "consumer.worker_error"
    level: ClassVar[Level] = "error"

    worker: str
    """name of its thread"""
    error: str


class KafkaClientLog(Event):
    """A log line of librdkafka, the Kafka client library."""

    event: ClassVar[str] = "kafka.client_log"

    severity: str
    facility: str
    message: str


class KafkaClientError(Event):
    """librdkafka, the Kafka client library, reports an error that it recovers from by itself."""

    event: ClassVar[str] = "kafka.client_error"
    level: ClassVar[Level] = "warning"

    code: str
    """name of the error code"""
    message: str


class KafkaProducerFailed(Event):
    """librdkafka ended a producer after an error that it cannot recover from; the next record opens a new producer.

    Dead letters and results that were not acknowledged are sent again.
    """

    event: ClassVar[str] = "kafka.producer_failed"
    level: ClassVar[Level] = "warning"

    code: str
    """name of the error code"""
    message: str
    reopen_in_seconds: float
    """time until a new producer may open; above 0 if the last one delivered nothing"""


class KafkaTokenFailed(Event):
    """The function of `--oauth-callback` returned no new token; it is called again within ten seconds.

    Clients keep the last token. When it expires, the brokers end their connections until there is a new one.
    """

    event: ClassVar[str] = "kafka.token_failed"
    level: ClassVar[Level] = "warning"

    error: str
    last_expires_in_seconds: float
    """time until the last token expires; negative after that"""


class KafkaTokenRenewed(Event):
    """The function of `--oauth-callback` has returned a token again."""

    event: ClassVar[str] = "kafka.token_renewed"

    expires_in_seconds: float


class OutputTooLarge(Event):
    """A topic refuses a dead letter or a result because of its size, although it was sent alone and compressed.

    The session waits, and the record is sent again until a limit is raised. Logged once for each topic and consumer.
    """

    event: ClassVar[str] = "consumer.output_too_large"
    level: ClassVar[Level] = "error"

    topic: str
    record_bytes: int
    """of key, value and headers, not compressed"""
    error: str
    """with the limit to raise"""


class ControlPaused(PauseOrder, Event):
    """A command in the control topic paused tasks: none of them begins until it is resumed; running tasks continue."""

    event: ClassVar[str] = "control.paused"


class ControlResumed(Event):
    """A command in the control topic ended a pause. Tasks that another pause covers still wait."""

    event: ClassVar[str] = "control.resumed"

    kind: Literal["session", "name", "partition", "all"]
    """kind of the target"""
    session_id: str
    """the session; empty for another kind of target"""
    task_name: str
    """the task name; empty for another kind of target"""
    partition: str
    """TOPIC:PARTITION; empty for another kind of target"""


class ControlCancelled(Event):
    """A command in the control topic cancelled tasks: tasks that have not begun are settled without running, and
    running tasks are interrupted. Each is logged as `task.cancelled`.
    """

    event: ClassVar[str] = "control.cancelled"

    task_id: str
    """the task; empty if the tasks of a session are cancelled"""
    session_id: str
    """the session; empty if one task is cancelled"""
    task_name: str
    """the name of the cancelled tasks of the session; empty for all"""
    since: int
    """when the command was given, in milliseconds since the epoch; a session's tasks that are produced later are not
    covered"""
    until: int
    """when the cancellation expires, in milliseconds since the epoch"""
    dead_letter: bool
    """whether the tasks become dead letters"""
    by: str
    """the user who gave the command, as USER@HOST"""


class ControlCancelEnded(Event):
    """A cancellation has ended. Tasks that it covered and that are not settled yet run."""

    event: ClassVar[str] = "control.cancel_ended"

    task_id: str
    """the task; empty if the tasks of a session were cancelled"""
    session_id: str
    """the session; empty if one task was cancelled"""
    task_name: str
    """the name of the cancelled tasks of the session; empty for all"""
    reason: Literal["expired", "withdrawn"]
    """whether it expired, or an operator ended it"""


class ControlForeignRecord(Event):
    """The control topic contains a record that is not a command. The consumer ignores all such records; only the first
    is logged.
    """

    event: ClassVar[str] = "control.foreign_record"
    level: ClassVar[Level] = "warning"

    error: str
    """what is wrong with it"""


class ControlFailed(Event):
    """The control topic cannot be read any more. The commands that were read stay in force, and reading is retried."""

    event: ClassVar[str] = "control.failed"
    level: ClassVar[Level] = "warning"

    topic: str
    error: str


class ControlUnread(Event):
    """The control topic could not be read to its end in time. The consumer starts, and may run paused tasks until it
    has read the topic.
    """

    event: ClassVar[str] = "control.unread"
    level: ClassVar[Level] = "warning"

    waited_seconds: float
    """how long the start waited"""


class HandlerSuspended(Event):
    """Ten attempts of a handler in a row failed because of an outage (`outage_on`). Its tasks wait without a worker;
    now and then, one of them is attempted.
    """

    event: ClassVar[str] = "handler.suspended"
    level: ClassVar[Level] = "warning"

    handler: str
    """the task name or schema that it is registered for"""
    error_type: str
    """error of the last attempt"""
    error: str
    failing_since: int
    """when the first of these attempts failed, in milliseconds since the epoch"""
    waiting: int
    """its tasks that wait, one of each session"""


class HandlerResumed(Event):
    """A task of a suspended handler has succeeded; the others follow."""

    event: ClassVar[str] = "handler.resumed"

    handler: str
    """the task name or schema that it is registered for"""
    error_type: str
    """error for which it was suspended"""
    error: str
    suspended_seconds: float
    attempts: int
    """attempts while it was suspended"""
    waiting: int
    """its tasks that wait, one of each session"""


class LogLinesLost(Event):
    """Earlier log lines of this process could not be written: the disk was full, or the reader of stderr blocked."""

    event: ClassVar[str] = "log.lines_lost"
    level: ClassVar[Level] = "warning"

    lines: int
    """how many"""


class RegistryUnavailable(Event):
    """The schema registry does not answer; tasks with unknown schemas wait. At most once in 30 seconds."""

    event: ClassVar[str] = "registry.unavailable"
    level: ClassVar[Level] = "warning"

    registry: str
    """its URL"""
    error: str
    failures: int
    """consecutive requests without an answer"""
    retry_in_seconds: float


class RegistryAvailable(Event):
    """The schema registry answers again."""

    event: ClassVar[str] = "registry.available"

    registry: str
    """its URL"""
    unavailable_seconds: float
    failures: int
    """requests without an answer"""


class TaskEvent(Event):
    """The fields of every event about one task."""

    task_id: str
    session_id: str
    task_name: str
    topic: str
    partition: int
    offset: int
    attempt: int
    """number of the attempt, from 1; 0 if there was none"""
    trace_id: str | None
    """trace of the attempt's span, with `--tracing`; else of the W3C `traceparent` header, if the record has a valid
    one"""
    span_id: str | None
    """the attempt's span, with `--tracing`; else the one that produced the task"""


class HandlerLog(Event):
    """A line that the application logged, through structlog or `logging`, at the level of that line.

    The fields of the task are null for a line that comes from no handler. `--no-log-handlers` leaves these lines to the
    application. They are not rate-limited.
    """

    event: ClassVar[str] = "handler.log"

    task_id: str | None
    session_id: str | None
    task_name: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    attempt: int | None
    """number of the attempt, from 1"""
    trace_id: str | None
    """trace of the attempt's span, with `--tracing`; else of the W3C `traceparent` header, if the record has a valid
    one"""
    span_id: str | None
    """the attempt's span, with `--tracing`; else the one that produced the task"""
    level: Level  # type: ignore[misc]  # of the line, not of the class
    """`error` for lines of a higher level too"""
    logger: str | None
    """name of the logger"""
    message: str
    fields: dict[str, Any]
    """the fields of a structlog line, or `extra` of `logging`"""
    error_type: str | None
    """exception that was logged with the line"""
    error: str | None
    traceback: str | None
    stack: str | None
    """where the line was logged, with `stack_info`"""


class TaskSucceeded(TaskEvent):
    """A task succeeded. `--log-sample` sets the share of tasks for which this and `task.retrying` are logged."""

    event: ClassVar[str] = "task.succeeded"
    level: ClassVar[Level] = "debug"

    handler_seconds: float
    """duration of the attempt"""


class TaskRetrying(TaskEvent):
    """An attempt failed; its session waits for the next attempt."""

    event: ClassVar[str] = "task.retrying"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskDeferred(TaskEvent):
    """A task cannot be decoded yet, because its schema is not available; its session waits. No attempt is used up."""

    event: ClassVar[str] = "task.deferred"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskDeadLettered(TaskEvent):
    """A task failed for good, and its record is in the dead-letter topic. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.dead_lettered"
    level: ClassVar[Level] = "warning"

    dead_letter_topic: str
    error_type: str
    error: str
    traceback: str | None = None


class TaskCancelled(TaskEvent):
    """An operator has cancelled the task, and it is settled. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.cancelled"

    running: bool
    """whether an attempt had begun; its handler was interrupted, or the attempt failed"""
    dead_letter: bool
    """whether it becomes a dead letter"""
    unmet: int
    """tasks that would have followed it; with a dead letter, they become dead letters as well"""
    since: int
    """when the command was given, in milliseconds since the epoch"""
    by: str
    """the user who gave the command, as USER@HOST"""


class TaskTimedOut(TaskEvent):
    """An attempt reached its time limit, and its handler was interrupted. Rate-limited; see `suppressed_warnings`."""

    event: ClassVar[str] = "task.timed_out"
    level: ClassVar[Level] = "warning"

    timeout_seconds: float
    """the time limit"""


class TaskStuck(TaskEvent):
    """A handler keeps running past its time limit and the grace period."""

    event: ClassVar[str] = "task.stuck"
    level: ClassVar[Level] = "error"

    running_seconds: float
    stack: str
    """where it is"""


class TaskAbandoned(TaskEvent):
    """A task was still running when the drain timed out. It runs again, possibly while this attempt continues."""

    event: ClassVar[str] = "task.abandoned"
    level: ClassVar[Level] = "warning"

    running_seconds: float


class TaskDeliveryFailed(TaskEvent):
    """A result or dead letter could not be written; its session waits until a retry succeeds."""

    event: ClassVar[str] = "task.delivery_failed"
    level: ClassVar[Level] = "warning"

    target_topic: str
    error: str
    retry_in_seconds: float


def kinds() -> list[type[Event]]:
    """Return the class of every event that is logged, in the order of this file."""
    classes = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Event)]
    return [kind for kind in classes if "event" in vars(kind)]

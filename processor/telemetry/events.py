"""Every event that is logged, with its fields: the catalogue is the code that emits them.

An event is a value: the code that notices something builds one and hands it to an `Emit`, which is
structlog on the command line and a list in a test. Names are stable; units are in the field names;
a duration is in seconds, a time in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import msgspec

LOG_VERSION = 1
"""Of the log contract, on every JSON line. Within a version events and fields are added, and nothing else: a reader
ignores what it does not know. What is renamed, removed, or means something else makes the next version."""

Level = Literal["debug", "info", "warning", "error"]


class Event(msgspec.Struct, kw_only=True):
    """Something worth a log line."""

    event: ClassVar[str]
    level: ClassVar[Level] = "info"
    for_people: ClassVar[Level | None] = None
    """The level on the console, where that is another one."""


Emit = Callable[[Event], None]


HeadState = Literal["waiting", "running", "delivering", "parked", "held"]


class HeadOfLine(msgspec.Struct, kw_only=True, frozen=True):
    """The oldest unsettled task of a partition: what the commit point waits for, since when, and why."""

    session_id: str
    offset: int
    attempt: int
    """the one that it is on or that comes next; 1 for the first"""
    state: HeadState
    """`waiting` for a worker, `running`, `delivering` its dead letter or result, `parked` until its retry is due, or
    `held` until a handler of its session ends that runs on from an earlier assignment"""
    state_seconds: float
    """how long it has been in this state"""
    age_seconds: float
    """how long this consumer has had it"""
    produced_at: int
    """the record's timestamp, in milliseconds since the epoch; -1 where it has none"""
    retry_in_seconds: float | None
    """until the next attempt, where it is parked"""
    session_waiting: int
    """tasks of its session that wait behind it here"""
    error_type: str | None
    """why it was not settled the last time"""
    error: str | None


class PartitionStats(Event):
    """One assigned partition, every `--stats-interval`; counts are since it was assigned.

    A line of its own each: container runtimes cut lines at 16 KiB, and a consumer may have hundreds of
    partitions. On the console it is shown at debug only.
    """

    event: ClassVar[str] = "partition.stats"
    for_people: ClassVar[Level] = "debug"

    topic: str
    partition: int
    in_flight: int
    """tasks taken and not settled: waiting and running"""
    in_flight_bytes: int
    waiting: int
    running: int
    parked: int
    """sessions that wait for a retry, or for a schema"""
    lanes: int
    """sessions that have tasks here"""
    done: int
    failed_attempts: int
    dead_lettered: int
    skipped: int
    """tasks that were settled before this assignment, and were not run again"""
    commit_point: int | None
    committed: int | None
    highest_settled: int | None
    gap: int
    """offsets between the commit point and the highest settled one: what one unfinished task holds back"""
    oldest_unsettled_seconds: float
    lag: int | None
    """records from the commit point to the end of the partition"""
    paused: bool
    head: HeadOfLine | None
    """None where everything is settled"""


class SessionLoad(msgspec.Struct, kw_only=True, frozen=True):
    """One session that has more waiting than others."""

    session_id: str
    topic: str
    partition: int
    waiting: int


class ConsumerStats(Event):
    """A consumer at work, at its start and every `--stats-interval`."""

    event: ClassVar[str] = "consumer.stats"

    uptime_seconds: float
    in_flight: int
    in_flight_bytes: int
    waiting: int
    running: int
    lanes: int
    done: int
    """tasks that succeeded since the start"""
    failed_attempts: int
    retried: int
    timed_out: int
    """attempts whose time was over"""
    stuck: int
    """handlers that went on after their time and their grace"""
    dead_lettered: int
    skipped: int
    results: int
    abandoned: int
    """tasks that still ran when a drain timeout was over"""
    missed: int
    """offsets that retention deleted before this consumer got to them, as consumer.offsets_missed tells one by one"""
    handler_seconds: float
    """what handlers took together since the start"""
    handler_seconds_buckets: dict[str, int]
    """how many attempts since the start took at most so many seconds, decoding included; `+Inf` has all"""
    handler_p50_seconds: float | None
    """of the attempts that ended in the last interval; None where none did; below 0.0005 it is a guess"""
    handler_p90_seconds: float | None
    handler_p99_seconds: float | None
    handler_max_seconds: float | None
    tasks_per_second: float
    """over the last interval"""
    commits: int
    commit_failures: int
    rebalances: int
    assigned: int
    """partitions that this consumer has"""
    fullest_lane: int
    """tasks that wait in the session that has the most"""
    lag: int | None
    oldest_unsettled_seconds: float
    oldest_running_seconds: float
    unlogged_failures: int
    """warnings about single tasks that were left out because there were too many"""
    busiest_sessions: list[SessionLoad]


class FleetStats(Event):
    """All consumers of a fleet, summed, every `--stats-interval` and at its end; counts are since its start."""

    event: ClassVar[str] = "fleet.stats"

    consumers: int
    in_flight: int
    waiting: int
    running: int
    lanes: int
    done: int
    failed_attempts: int
    retried: int
    timed_out: int
    stuck: int
    dead_lettered: int
    skipped: int
    abandoned: int
    missed: int
    """offsets that retention deleted before a consumer got to them"""
    commit_failures: int
    tasks_per_second: float
    lag: int | None
    restarts: int
    """consumers that ended unasked and were replaced"""
    forced_stops: int
    """consumers that did not drain in time, or were killed"""


class FleetStarted(Event):
    """The parent of a fleet starts its consumers."""

    event: ClassVar[str] = "fleet.started"

    app: str
    topics: list[str]
    group: str
    processes: int
    workers: int
    version: str


class FleetStopping(Event):
    """The fleet was told to stop, or a consumer failed for good."""

    event: ClassVar[str] = "fleet.stopping"

    reason: str


class FleetStopped(Event):
    """The last consumer of the fleet has ended."""

    event: ClassVar[str] = "fleet.stopped"

    exit_code: int
    uptime_seconds: float
    restarts: int


class FleetConsumerEnded(Event):
    """A consumer's process ended that nobody had told to; another starts in its place."""

    event: ClassVar[str] = "fleet.consumer_ended"
    level: ClassVar[Level] = "warning"

    consumer: int
    consumer_pid: int
    exit_code: int
    """negative: the signal that killed it"""
    restart_in_seconds: float
    reason: str


class FleetConsumerKilled(Event):
    """A consumer did not end within its drain timeout and was killed."""

    event: ClassVar[str] = "fleet.consumer_killed"
    level: ClassVar[Level] = "error"

    consumer: int
    consumer_pid: int


class ConsumerStarted(Event):
    """A consumer has reached a broker and subscribes."""

    event: ClassVar[str] = "consumer.started"

    topics: list[str]
    group: str
    workers: int
    value_format: str
    group_protocol: str


class ConsumerAssigned(Event):
    """Partitions were assigned to this consumer."""

    event: ClassVar[str] = "consumer.assigned"

    partitions: list[str]
    """each as TOPIC[PARTITION]@OFFSET, the offset being where it goes on"""
    restored: int
    """offsets above the commit points that are known to be settled and will be skipped"""


class ConsumerRevoked(Event):
    """Partitions were taken away in order: what ran has ended or was given up, and offsets were committed."""

    event: ClassVar[str] = "consumer.revoked"

    partitions: list[str]
    drain_seconds: float
    abandoned: int
    """tasks that still ran when the drain timeout was over"""
    forgotten: int
    """waiting tasks, which the partition's next consumer gets"""


class ConsumerLost(Event):
    """Partitions were lost without order: the group had given this consumer up. Nothing was committed."""

    event: ClassVar[str] = "consumer.lost"
    level: ClassVar[Level] = "warning"

    partitions: list[str]
    forgotten: int
    running: int


class ConsumerLeaseLapsed(Event):
    """Nothing more is begun: this consumer cannot be sure that its partitions are still its own.

    It was asleep (paused, or its machine was), or the group has answered nothing for most of a session. It asks on, and
    works on once the group has answered.
    """

    event: ClassVar[str] = "consumer.lease_lapsed"
    level: ClassVar[Level] = "warning"

    reason: Literal["asleep", "unanswered"]
    seconds: float
    """for how long it slept, or has not been answered"""
    waiting: int
    """tasks held that are not begun"""


class ConsumerLeaseRenewed(Event):
    """The group has answered: this consumer's partitions are still its own, and it works on."""

    event: ClassVar[str] = "consumer.lease_renewed"

    seconds: float
    """for which nothing was begun"""


class ConsumerCommitFailed(Event):
    """A commit was refused; it is tried again with the next one. The same reason is told once in ten seconds."""

    event: ClassVar[str] = "consumer.commit_failed"
    level: ClassVar[Level] = "warning"

    error: str
    partitions: list[str]


class ConsumerSkipMapIgnored(Event):
    """A commit's metadata is no skip map for its offset: tasks settled above it run again."""

    event: ClassVar[str] = "consumer.skip_map_ignored"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    offset: int
    reason: str


class ConsumerSkipMapCut(Event):
    """A skip map did not fit the commit's metadata; after a crash the furthest settled tasks would run again."""

    event: ClassVar[str] = "consumer.skip_map_cut"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    kept_until: int
    settled_until: int


class ConsumerOffsetsRestarted(Event):
    """A partition's offsets went back: its topic was made anew, or somebody moved the group back."""

    event: ClassVar[str] = "consumer.offsets_restarted"
    level: ClassVar[Level] = "warning"

    topic: str
    partition: int
    expected_offset: int
    offset: int
    forgotten: int


class ConsumerOffsetsMissed(Event):
    """Records were deleted before this consumer got to them: the topic's retention has overtaken it. They never ran."""

    event: ClassVar[str] = "consumer.offsets_missed"
    level: ClassVar[Level] = "error"

    topic: str
    partition: int
    missed: int
    """offsets; some may have been holes, which only the deleted records could tell"""
    offsets: list[str]
    """the same one by one, as FIRST-LAST or a lone OFFSET; at most a hundred entries, the lowest"""
    next_offset: int
    """where the partition goes on"""


class ConsumerPaused(Event):
    """A partition holds more than its share and stays full; the client stops fetching it for a while."""

    event: ClassVar[str] = "consumer.paused"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    in_flight: int


class ConsumerResumed(Event):
    """A paused partition has room again."""

    event: ClassVar[str] = "consumer.resumed"
    level: ClassVar[Level] = "debug"

    topic: str
    partition: int
    in_flight: int


class ConsumerStopping(Event):
    """No more records are taken; running tasks get the drain timeout."""

    event: ClassVar[str] = "consumer.stopping"

    reason: str
    running: int
    waiting: int


class ConsumerStopped(Event):
    """The consumer has left the group."""

    event: ClassVar[str] = "consumer.stopped"

    exit_code: int
    uptime_seconds: float
    done: int
    failed_attempts: int
    dead_lettered: int
    abandoned: int


class ConsumerFailed(Event):
    """The consumer cannot go on."""

    event: ClassVar[str] = "consumer.failed"
    level: ClassVar[Level] = "error"

    error: str
    exit_code: int


class ConsumerRecycling(Event):
    """A handler cannot be stopped: this consumer drains, leaves, and a fresh one takes its place."""

    event: ClassVar[str] = "consumer.recycling"
    level: ClassVar[Level] = "warning"

    reason: str


class ConsumerTopicCreated(Event):
    """A dead-letter or results topic was missing and has been made."""

    event: ClassVar[str] = "consumer.topic_created"

    topic: str
    partitions: int


class ConsumerTopicMissing(Event):
    """A dead-letter or results topic is missing and must not or cannot be made; what goes there waits."""

    event: ClassVar[str] = "consumer.topic_missing"
    level: ClassVar[Level] = "warning"

    topic: str
    reason: str


class HeartbeatFailed(Event):
    """A heartbeat cannot be written; `processor health` will take this process for dead. At most once a minute."""

    event: ClassVar[str] = "heartbeat.failed"
    level: ClassVar[Level] = "warning"

    path: str
    error: str
    failures: int
    """in a row"""


class ConsumerWorkerDied(Event):
    """A worker thread ended by an error of its own; another took its place."""

    event: ClassVar[str] = "consumer.worker_died"
    level: ClassVar[Level] = "error"

    worker: str
    error: str


class KafkaClient(Event):
    """The Kafka client library says something."""

    event: ClassVar[str] = "kafka.client"

    severity: str
    facility: str
    message: str


class KafkaClientError(Event):
    """The Kafka client library reports a problem that it works on."""

    event: ClassVar[str] = "kafka.client_error"
    level: ClassVar[Level] = "warning"

    code: str
    message: str


class LogLinesLost(Event):
    """Lines of this process could not be written before: the disk was full, or who reads stderr took nothing."""

    event: ClassVar[str] = "log.lines_lost"
    level: ClassVar[Level] = "warning"

    lines: int


class RegistryUnavailable(Event):
    """The schema registry cannot be asked: tasks wait whose schemas are not known yet. At most one in 30 seconds."""

    event: ClassVar[str] = "registry.unavailable"
    level: ClassVar[Level] = "warning"

    registry: str
    error: str
    failures: int
    """requests in a row that had no answer"""
    retry_in_seconds: float


class RegistryAvailable(Event):
    """The schema registry answers again."""

    event: ClassVar[str] = "registry.available"

    registry: str
    unavailable_seconds: float
    failures: int


class TaskEvent(Event):
    """What every event about one task tells."""

    task_id: str
    session_id: str
    task_name: str
    topic: str
    partition: int
    offset: int
    attempt: int
    trace_id: str | None
    """of the W3C trace context in the header `traceparent`, where it has a valid one"""
    span_id: str | None
    """the span that produced the task"""


class TaskDone(TaskEvent):
    """A task succeeded. Of these and of `task.retrying`, `--log-sample` says which share of tasks is logged."""

    event: ClassVar[str] = "task.done"
    level: ClassVar[Level] = "debug"

    handler_seconds: float


class TaskRetrying(TaskEvent):
    """An attempt failed; its session waits for the next one."""

    event: ClassVar[str] = "task.retrying"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskPostponed(TaskEvent):
    """A task cannot be read yet, since its schema cannot be had now; its session waits, and no attempt is used up."""

    event: ClassVar[str] = "task.postponed"
    level: ClassVar[Level] = "debug"

    error_type: str
    error: str
    retry_in_seconds: float


class TaskDeadLettered(TaskEvent):
    """A task is given up; its record is in the dead-letter topic. Limited a second, see `unlogged_failures`."""

    event: ClassVar[str] = "task.dead_lettered"
    level: ClassVar[Level] = "warning"

    dead_letter_topic: str
    error_type: str
    error: str
    traceback: str | None = None


class TaskTimedOut(TaskEvent):
    """An attempt's time was over and its handler was interrupted. Limited in number a second."""

    event: ClassVar[str] = "task.timed_out"
    level: ClassVar[Level] = "warning"

    timeout_seconds: float


class TaskStuck(TaskEvent):
    """A handler goes on after its time and its grace; where it is, is in `stack`."""

    event: ClassVar[str] = "task.stuck"
    level: ClassVar[Level] = "error"

    running_seconds: float
    stack: str


class TaskAbandoned(TaskEvent):
    """A task still ran when the drain timeout was over; it will run again, perhaps beside this one."""

    event: ClassVar[str] = "task.abandoned"
    level: ClassVar[Level] = "warning"

    running_seconds: float


class TaskDeliveryFailed(TaskEvent):
    """A dead letter or a result could not be written; its session waits and it is tried again."""

    event: ClassVar[str] = "task.delivery_failed"
    level: ClassVar[Level] = "warning"

    target_topic: str
    error: str
    retry_in_seconds: float

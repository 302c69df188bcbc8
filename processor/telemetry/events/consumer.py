"""Events of a consumer as a process: its start, workers, output topics and stop."""

from __future__ import annotations

from typing import ClassVar, Literal

from processor.telemetry.events.event import Event, Level


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
    """The system does not allow as many threads as configured: the consumer has fewer workers."""

    event: ClassVar[str] = "consumer.workers_limited"
    level: ClassVar[Level] = "warning"

    wanted: int
    workers: int
    """its worker threads"""
    error: str


class ConsumerWorkerError(Event):
    """A worker hit an internal error and recovered."""

    event: ClassVar[str] = "consumer.worker_error"
    level: ClassVar[Level] = "error"

    worker: str
    """name of its thread"""
    error: str


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


class HeartbeatFailed(Event):
    """A heartbeat file cannot be written, so `processor health` reports this process as dead. At most once a minute."""

    event: ClassVar[str] = "heartbeat.failed"
    level: ClassVar[Level] = "warning"

    path: str
    error: str
    failures: int
    """consecutive failures"""


class LogLinesLost(Event):
    """Earlier log lines of this process could not be written: the disk was full, or the reader of stderr blocked."""

    event: ClassVar[str] = "log.lines_lost"
    level: ClassVar[Level] = "warning"

    lines: int
    """how many"""

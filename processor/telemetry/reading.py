"""What a log line may tell, of all that `processor.telemetry.events` can say: the fields that the observer reads.

A field that a line lacks has its default, and one that is unknown here is passed over: logs of other versions
are read as far as they go. A test compares the names with those of `processor.telemetry.events`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class Told(msgspec.Struct, kw_only=True, tag_field="event"):
    """What every line has."""

    timestamp: datetime
    log_version: int = 1
    host: str = ""
    pid: int = 0
    group: str = ""
    fleet: int = 0
    """the process ID of the fleet's parent"""
    consumer: int | None = None
    """its number in the fleet; None where the fleet's parent speaks"""


class HeadTold(msgspec.Struct, kw_only=True):
    """The oldest unsettled task of a partition."""

    session_id: str = ""
    offset: int = -1
    attempt: int = 0
    state: str = ""
    state_seconds: float = 0.0
    age_seconds: float = 0.0
    retry_in_seconds: float | None = None
    session_waiting: int = 0
    error_type: str | None = None
    error: str | None = None


class PartitionStatsTold(Told, tag="partition.stats"):
    """One partition's statistics."""

    topic: str = ""
    partition: int = -1
    in_flight: int = 0
    waiting: int = 0
    running: int = 0
    parked: int = 0
    active_sessions: int = 0
    commit_point: int | None = None
    committed: int | None = None
    gap: int = 0
    oldest_unsettled_seconds: float = 0.0
    lag: int | None = None
    fetch_paused: bool = False
    head: HeadTold | None = None


class SessionTold(msgspec.Struct, kw_only=True):
    """A session that has much waiting."""

    session_id: str = ""
    topic: str = ""
    partition: int = -1
    waiting: int = 0


class ConsumerStatsTold(Told, tag="consumer.stats"):
    """A consumer's statistics."""

    uptime_seconds: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    running: int = 0
    active_sessions: int = 0
    succeeded: int = 0
    failed_attempts: int = 0
    retried: int = 0
    dead_lettered: int = 0
    timed_out: int = 0
    handler_seconds: float = 0.0
    handler_p50_seconds: float | None = None
    handler_p99_seconds: float | None = None
    tasks_per_second: float = 0.0
    assigned_partitions: int = 0
    oldest_running_seconds: float = 0.0
    suppressed_warnings: int = 0
    busiest_sessions: list[SessionTold] = []


class FleetStartedTold(Told, tag="fleet.started"):
    """A fleet began."""

    app: str = ""
    topics: list[str] = []
    group: str = ""
    processes: int = 0
    workers: int = 0
    version: str = ""


class FleetStatsTold(Told, tag="fleet.stats"):
    """A fleet's statistics, of which only the count of its consumers is news."""

    consumers: int = 0
    restarts: int = 0


class FleetStoppingTold(Told, tag="fleet.stopping"):
    """A fleet was told to stop."""

    reason: str = ""


class FleetStoppedTold(Told, tag="fleet.stopped"):
    """A fleet has ended."""

    exit_code: int = 0


class ConsumerEndedTold(Told, tag="fleet.consumer_exited"):
    """A consumer's process ended unasked."""

    consumer_pid: int = 0
    exit_code: int = 0
    restart_in_seconds: float = 0.0
    reason: str = ""


class ConsumerKilledTold(Told, tag="fleet.consumer_killed"):
    """A consumer's process had to be killed."""

    consumer_pid: int = 0


class ConsumerStartedTold(Told, tag="consumer.started"):
    """A consumer subscribes."""

    topics: list[str] = []
    group: str = ""
    workers: int = 0


class AssignedTold(Told, tag="consumer.assigned"):
    """Partitions were assigned."""

    partitions: list[str] = []
    settled_ahead: int = 0


class RevokedTold(Told, tag="consumer.revoked"):
    """Partitions were taken away in order."""

    partitions: list[str] = []
    drain_seconds: float = 0.0
    abandoned: int = 0


class LostTold(Told, tag="consumer.lost"):
    """Partitions were lost without order."""

    partitions: list[str] = []


class OffsetsRestartedTold(Told, tag="consumer.offsets_rewound"):
    """A partition's offsets went back."""

    topic: str = ""
    partition: int = -1
    expected_offset: int | None = None
    offset: int = 0


class OffsetsMissedTold(Told, tag="consumer.offsets_missed"):
    """Offsets were deleted before they were read."""

    topic: str = ""
    partition: int = -1
    missed_offsets: int = 0
    offsets: list[str] = []


class LeaseLapsedTold(Told, tag="consumer.lease_lapsed"):
    """A consumer begins nothing, since its partitions may be another's by now."""

    reason: str = ""
    seconds: float = 0.0
    waiting: int = 0


class LeaseRenewedTold(Told, tag="consumer.lease_renewed"):
    """It works on."""

    seconds: float = 0.0


class StoppingTold(Told, tag="consumer.stopping"):
    """A consumer takes no more records."""

    reason: str = ""


class StoppedTold(Told, tag="consumer.stopped"):
    """A consumer has left the group."""

    exit_code: int = 0
    abandoned: int = 0


class RecyclingTold(Told, tag="consumer.recycling"):
    """A consumer makes room for a fresh one."""

    reason: str = ""


class TroubleTold(Told):
    """Something went wrong that is no single task's."""

    error: str = ""


class FailedTold(TroubleTold, tag="consumer.failed"):
    """A consumer cannot go on."""


class CommitFailedTold(TroubleTold, tag="consumer.commit_failed"):
    """A commit was refused."""


class WorkerDiedTold(TroubleTold, tag="consumer.worker_error"):
    """A worker thread ended by an error."""


class ClientErrorTold(Told, tag="kafka.client_error"):
    """The Kafka client has a problem."""

    code: str = ""
    message: str = ""


class RegistryUnavailableTold(TroubleTold, tag="registry.unavailable"):
    """The schema registry cannot be asked."""


class TaskTold(Told):
    """What every event about one task tells."""

    task_id: str = ""
    session_id: str = ""
    task_name: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    attempt: int = 0


class RetryingTold(TaskTold, tag="task.retrying"):
    """An attempt failed, and there will be another."""

    error_type: str = ""
    error: str = ""


class PostponedTold(TaskTold, tag="task.deferred"):
    """A task cannot be read yet."""

    error_type: str = ""
    error: str = ""


class DeadLetteredTold(TaskTold, tag="task.dead_lettered"):
    """A task was given up."""

    error_type: str = ""
    error: str = ""


class TimedOutTold(TaskTold, tag="task.timed_out"):
    """An attempt's time was over."""

    timeout_seconds: float = 0.0


class StuckTold(TaskTold, tag="task.stuck"):
    """A handler cannot be stopped."""

    running_seconds: float = 0.0
    stack: str = ""


class AbandonedTold(TaskTold, tag="task.abandoned"):
    """A task still ran when the drain timeout was over."""

    running_seconds: float = 0.0


class DeliveryFailedTold(TaskTold, tag="task.delivery_failed"):
    """A dead letter or a result could not be written."""

    target_topic: str = ""
    error: str = ""


AnyTold = (
    PartitionStatsTold
    | ConsumerStatsTold
    | FleetStartedTold
    | FleetStatsTold
    | FleetStoppingTold
    | FleetStoppedTold
    | ConsumerEndedTold
    | ConsumerKilledTold
    | ConsumerStartedTold
    | AssignedTold
    | RevokedTold
    | LostTold
    | OffsetsRestartedTold
    | OffsetsMissedTold
    | LeaseLapsedTold
    | LeaseRenewedTold
    | StoppingTold
    | StoppedTold
    | RecyclingTold
    | FailedTold
    | CommitFailedTold
    | WorkerDiedTold
    | ClientErrorTold
    | RegistryUnavailableTold
    | RetryingTold
    | PostponedTold
    | DeadLetteredTold
    | TimedOutTold
    | StuckTold
    | AbandonedTold
    | DeliveryFailedTold
)

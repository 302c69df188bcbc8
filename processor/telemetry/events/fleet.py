"""Events of a fleet: its start, its size, consumers that exit or die, and its stop."""

from __future__ import annotations

from typing import ClassVar

from processor.telemetry.events.event import Event, Level


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

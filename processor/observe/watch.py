"""`Watch`: the fold of log events into the state of a fleet. Pure: the time comes with the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from processor.observe.consumer import ConsumerNow, PartitionKey
from processor.observe.failures import Failures, failure_of
from processor.observe.head_blocks import HeadBlock, HeadBlocks
from processor.observe.labels import Labels, listed
from processor.observe.lines import SourcedEvent
from processor.observe.load import Load
from processor.observe.partition import PartitionNow
from processor.observe.sessions import Sessions
from processor.observe.timeline import Kind, Timeline, TimelineEntry
from processor.observe.window import WINDOW
from processor.observe.wording import duration, many, plain
from processor.telemetry import events
from processor.telemetry.events import Event
from processor.telemetry.idle_reports import is_idle
from processor.telemetry.reading import with_defaults

ENDED_KEPT: Final = 200
"""The most ended consumers that are kept: a log may have any number of restarts."""

LOST_SECONDS: Final = 3600.0
"""Seconds without an event after which a consumer is dropped: after the loss of a machine, no log records its end."""


class Watch:
    """Takes events in the order of their times.

    Args:
        window: samples that a verdict considers.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.consumers: dict[tuple[str, int, int | None], ConsumerNow] = {}
        """by source, process ID and number"""
        self.partitions: dict[PartitionKey, PartitionNow] = {}
        self.fleets: dict[str, events.FleetStarted] = {}
        """the latest start in each source"""
        self.groups: dict[str, str] = {}
        """the consumer group of each source"""
        self.sources: set[str] = set()
        self.failures = Failures()
        self.head_blocks = HeadBlocks()
        self.load = Load()
        self.timeline = Timeline()
        self.sessions = Sessions()
        self.missed_offsets = 0
        """offsets that retention deleted before they were read"""
        self.began: float | None = None
        self.now = 0.0
        """time of the latest event, in seconds since the epoch"""
        self._window = window
        self._labels = Labels(self.sources, self.consumers.values())

    def handle(self, sourced: SourcedEvent) -> None:
        """Apply one event to the state."""
        self.now = max(self.now, sourced.at)
        if self.began is None:
            self.began = sourced.at
        self.sources.add(sourced.source)
        if sourced.envelope.group:
            self.groups[sourced.source] = plain(sourced.envelope.group)
        handle = self._HANDLERS.get(sourced.event.event)
        if handle is not None:
            handle(self, sourced, sourced.event)

    def finish(self) -> None:
        """Apply the end of the log: the last round counts as complete."""
        for consumer in self.living():
            self._confirm_idle(consumer)
        self.load.end_round(self.now, self.consumers.values(), self.partitions.values())

    @property
    def unlisted(self) -> int:
        """Number of assigned partitions that the log has not named yet. They are idle, or reports would name them."""
        return sum(
            max(0, consumer.stats.assigned_partitions - len(consumer.owned))
            for consumer in self.living()
            if consumer.stats is not None
        )

    def ordered_partitions(self) -> list[PartitionNow]:
        """Return all partitions by group, topic and number."""
        return [self.partitions[key] for key in sorted(self.partitions)]

    def living(self) -> list[ConsumerNow]:
        """Return the consumers that have not ended, by source and number."""
        living = [consumer for consumer in self.consumers.values() if not consumer.has_ended]
        return sorted(living, key=lambda c: (c.source, -1 if c.index is None else c.index, c.pid))

    def current_blocks(self) -> list[HeadBlock]:
        """Return the tasks that commit points wait for now, the longest first."""
        blocks = [partition.head_block for partition in self.partitions.values() if partition.head_block is not None]
        return sorted(blocks, key=lambda block: block.since)

    def longest_blocks(self) -> list[HeadBlock]:
        """Return past and present blocks, the longest first."""
        return sorted([*self.head_blocks.longest(), *self.current_blocks()], key=lambda block: -block.seconds)

    def label(self, consumer: ConsumerNow) -> str:
        """Return the name of a consumer for people."""
        return self._labels.of_consumer(consumer)

    def _consumer(self, sourced: SourcedEvent) -> ConsumerNow:
        envelope = sourced.envelope
        key = sourced.source, envelope.pid, envelope.consumer
        consumer = self.consumers.get(key)
        if consumer is None or consumer.has_ended:
            self._drop_ended(sourced.at)
            consumer = ConsumerNow(sourced.source, envelope.consumer, envelope.pid, sourced.at, envelope.fleet)
            self.consumers[key] = consumer
        consumer.at = sourced.at
        return consumer

    def _drop_ended(self, now: float) -> None:
        ended = [key for key, consumer in self.consumers.items() if consumer.has_ended]
        lost = [key for key, consumer in self.consumers.items() if now - consumer.at > LOST_SECONDS]
        for key in {*ended[: max(0, len(ended) - ENDED_KEPT)], *lost}:
            del self.consumers[key]

    def _add_entry(self, sourced: SourcedEvent, kind: Kind, text: str) -> None:
        envelope = sourced.envelope
        subject = self._labels.of_origin(sourced.source, envelope.fleet, envelope.consumer)
        self.timeline.add(TimelineEntry(at=sourced.at, kind=kind, subject=subject, text=plain(text)))

    def _release_all(self, consumer: ConsumerNow) -> None:
        for key in list(consumer.owned):
            self.partitions[key].release(self.head_blocks)

    def _confirm_idle(self, consumer: ConsumerNow) -> None:
        """Record that the partitions without a report in the consumer's last round are unchanged."""
        for key in consumer.owned:
            self.partitions[key].confirm_idle(consumer.stats_at, self.head_blocks)

    def _group(self, sourced: SourcedEvent) -> str:
        return plain(sourced.envelope.group) or self.groups.get(sourced.source, "")

    def _child(self, sourced: SourcedEvent, pid: int) -> ConsumerNow | None:
        """Return the consumer that an event of its fleet's parent is about."""
        return self.consumers.get((sourced.source, pid, sourced.envelope.consumer))

    # What follows is one method for each event.

    def _partition_stats(self, sourced: SourcedEvent, stats: events.PartitionStats) -> None:
        key = self._group(sourced), stats.topic, stats.partition
        partition = self.partitions.get(key)
        if partition is None:
            partition = self.partitions[key] = PartitionNow(key, stats, self._window)
        partition.update(stats, sourced.at, self._consumer(sourced), self.head_blocks)

    def _partitions_idle(self, sourced: SourcedEvent, idle: events.PartitionsIdle) -> None:
        group = self._group(sourced)
        for number, point in idle.commit_points.items():
            known = self.partitions.get((group, idle.topic, number))
            self._partition_stats(sourced, _idle_report(idle.topic, number, point, known))

    def _consumer_stats(self, sourced: SourcedEvent, stats: events.ConsumerStats) -> None:
        consumer = self._consumer(sourced)
        self._confirm_idle(consumer)
        if self.load.begins_next_round(consumer):
            self.load.end_round(sourced.at, self.consumers.values(), self.partitions.values())
        self.load.counts.add_rise(consumer.stats, stats)
        consumer.update(stats, sourced.at)
        self.sessions.note(stats.busiest_sessions, sourced.at)

    def _fleet_started(self, sourced: SourcedEvent, started: events.FleetStarted) -> None:
        self.fleets[sourced.source] = started
        self.groups[sourced.source] = plain(started.group)
        self._add_entry(sourced, "start", f"{started.app} starts, {many(started.processes, 'consumer')}")

    def _processes_changed(self, sourced: SourcedEvent, changed: events.FleetProcessesChanged) -> None:
        counts = f"has {many(changed.processes, 'consumer')}, before {changed.processes_before:,}"
        self._add_entry(sourced, "scale", f"{counts}: {changed.reason}")

    def _processes_limited(self, sourced: SourcedEvent, limited: events.FleetProcessesLimited) -> None:
        self._add_entry(sourced, "trouble", f"keeps {many(limited.processes, 'consumer')}: {limited.reason}")

    def _fleet_stopping(self, sourced: SourcedEvent, stopping: events.FleetStopping) -> None:
        self._add_entry(sourced, "stop", f"the fleet is stopping: {stopping.reason}")

    def _fleet_stopped(self, sourced: SourcedEvent, stopped: events.FleetStopped) -> None:
        self._add_entry(sourced, "stop", f"the fleet stopped with exit code {stopped.exit_code}")

    def _fleet_consumer_exited(self, sourced: SourcedEvent, exited: events.FleetConsumerExited) -> None:
        reason = plain(exited.reason or f"exit code {exited.exit_code}")
        if (consumer := self._child(sourced, exited.consumer_pid)) is not None:
            consumer.end("died", reason)
            self._release_all(consumer)
        self._add_entry(sourced, "restart", f"{reason}; it is being replaced")

    def _fleet_consumer_killed(self, sourced: SourcedEvent, killed: events.FleetConsumerKilled) -> None:
        if (consumer := self._child(sourced, killed.consumer_pid)) is not None:
            consumer.end("died", "killed")
            self._release_all(consumer)
        self._add_entry(sourced, "trouble", "killed: it did not exit within its drain timeout")

    def _process_died(self, sourced: SourcedEvent, died: events.ProcessDied) -> None:
        if died.running:
            named = ", ".join(died.suspects[:3]) + (" and others" if died.running > 3 else "")
            self._add_entry(sourced, "trouble", f"it died while it ran {many(died.running, 'task')}: {named}")

    def _task_suspected(self, sourced: SourcedEvent, task: events.TaskSuspected) -> None:
        where = f"{task.topic}[{task.partition}], offset {task.offset}"
        self._add_entry(sourced, "trouble", f"a task kills its process: {where}, {many(task.deaths, 'death')}")

    def _consumer_started(self, sourced: SourcedEvent, started: events.ConsumerStarted) -> None:
        envelope = sourced.envelope
        self.consumers.pop((sourced.source, envelope.pid, envelope.consumer), None)  # an earlier process with this ID
        self.groups[sourced.source] = plain(started.group)
        consumer = self._consumer(sourced)
        consumer.workers, consumer.workers_most = started.workers, started.workers_most

    def _workers_changed(self, sourced: SourcedEvent, changed: events.ConsumerWorkersChanged) -> None:
        self._consumer(sourced).workers = changed.workers
        counts = f"has {many(changed.workers, 'worker')}, before {changed.workers_before:,}"
        self._add_entry(sourced, "scale", f"{counts}: {changed.reason}")

    def _workers_limited(self, sourced: SourcedEvent, limited: events.ConsumerWorkersLimited) -> None:
        counts = f"{limited.workers:,} of {many(limited.wanted, 'worker')}"
        self._add_entry(sourced, "trouble", f"has only {counts}: {limited.error}")

    def _consumer_assigned(self, sourced: SourcedEvent, assigned: events.ConsumerAssigned) -> None:
        consumer = self._consumer(sourced)
        if not assigned.partitions:  # the group was rebalanced, and nothing changed for this consumer
            return
        consumer.state = "working"
        for partition in self._named(sourced, assigned.partitions):
            partition.assign(consumer)
        ahead = f", {assigned.settled_ahead:,} settled ahead" if assigned.settled_ahead else ""
        self._add_entry(sourced, "rebalance", f"was assigned {listed(assigned.partitions)}{ahead}")

    def _consumer_revoked(self, sourced: SourcedEvent, revoked: events.ConsumerRevoked) -> None:
        self._release(sourced, revoked.partitions)
        if not revoked.partitions:
            return
        abandoned = f", {many(revoked.abandoned, 'task')} still running" if revoked.abandoned else ""
        self._add_entry(sourced, "rebalance", f"released {listed(revoked.partitions)}{abandoned}")

    def _consumer_lost(self, sourced: SourcedEvent, lost: events.ConsumerLost) -> None:
        self._release(sourced, lost.partitions)
        self._add_entry(sourced, "rebalance", f"lost {listed(lost.partitions)}: the group had evicted it")

    def _release(self, sourced: SourcedEvent, names: list[str]) -> None:
        consumer = self._consumer(sourced)
        for partition in self._named(sourced, names):
            if partition.consumer is consumer:
                partition.release(self.head_blocks)

    def _named(self, sourced: SourcedEvent, names: list[str]) -> list[PartitionNow]:
        """Return the known partitions among `names`, each TOPIC[PARTITION] or TOPIC[PARTITION]@OFFSET."""
        group, wanted = self._group(sourced), {name.partition("@")[0] for name in names}
        return [one for one in self.partitions.values() if one.group == group and one.name in wanted]

    def _partition_held(self, sourced: SourcedEvent, held: events.ConsumerPartitionHeld) -> None:
        place = f"{held.topic}[{held.partition}]"
        self._add_entry(sourced, "rebalance", f"holds the new {place} until {listed(held.waits_for)} are settled")

    def _partition_released(self, sourced: SourcedEvent, released: events.ConsumerPartitionReleased) -> None:
        place = f"{released.topic}[{released.partition}]"
        self._add_entry(sourced, "rebalance", f"begins the new {place}, held for {duration(released.seconds)}")

    def _producer_late(self, sourced: SourcedEvent, late: events.ConsumerProducerLate) -> None:
        place = f"{late.topic}[{late.partition}]"
        text = f"offset {late.offset:,} of {place} belongs to partition {late.belongs_to} since the topic has grown"
        self._add_entry(sourced, "trouble", text)

    def _growth_uneven(self, sourced: SourcedEvent, grown: events.ConsumerGrowthUneven) -> None:
        counts = f"from {grown.partitions_before} to {grown.partitions} partitions"
        self._add_entry(
            sourced, "trouble", f"{grown.topic} grew {counts}, not by a multiple: sessions may be out of order"
        )

    def _offsets_rewound(self, sourced: SourcedEvent, rewound: events.ConsumerOffsetsRewound) -> None:
        place = f"{rewound.topic}[{rewound.partition}]"
        before = "" if rewound.expected_offset is None else f" from {rewound.expected_offset:,}"
        self._add_entry(sourced, "trouble", f"offsets of {place} moved back{before} to {rewound.offset:,}")

    def _offsets_missed(self, sourced: SourcedEvent, missed: events.ConsumerOffsetsMissed) -> None:
        place, count = f"{missed.topic}[{missed.partition}]", many(missed.missed_offsets, "offset")
        offsets = ", ".join(missed.offsets[:3])
        self._add_entry(sourced, "trouble", f"{place}: {count} ({offsets}) deleted before they were read")
        self.missed_offsets += missed.missed_offsets

    def _lease_lapsed(self, sourced: SourcedEvent, lapsed: events.ConsumerLeaseLapsed) -> None:
        why = "it was suspended for" if lapsed.reason == "asleep" else "the group has not answered for"
        reason = f"{why} {duration(lapsed.seconds)}"
        consumer = self._consumer(sourced)
        consumer.state, consumer.reason = "cut off", reason
        self._add_entry(sourced, "trouble", f"starts no tasks, {many(lapsed.waiting, 'task')} waiting: {reason}")

    def _lease_renewed(self, sourced: SourcedEvent, renewed: events.ConsumerLeaseRenewed) -> None:
        consumer = self._consumer(sourced)
        if consumer.state == "cut off":  # else it is stopping already
            consumer.state = "working"
        self._add_entry(sourced, "trouble", f"resumes after {duration(renewed.seconds)}: the group has answered")

    def _consumer_stopping(self, sourced: SourcedEvent, stopping: events.ConsumerStopping) -> None:
        consumer = self._consumer(sourced)
        consumer.state, consumer.reason = "stopping", plain(stopping.reason)

    def _consumer_stopped(self, sourced: SourcedEvent, stopped: events.ConsumerStopped) -> None:
        consumer = self._consumer(sourced)
        consumer.end("stopped" if not stopped.exit_code else "failed", f"exit code {stopped.exit_code}")
        self._release_all(consumer)
        abandoned = f", {many(stopped.abandoned, 'task')} still running" if stopped.abandoned else ""
        self._add_entry(sourced, "stop", f"stopped with exit code {stopped.exit_code}{abandoned}")

    def _consumer_recycling(self, sourced: SourcedEvent, recycling: events.ConsumerRecycling) -> None:
        consumer = self._consumer(sourced)
        consumer.state, consumer.reason = "recycling", plain(recycling.reason)
        self._add_entry(sourced, "trouble", f"is being replaced by a new process: {recycling.reason}")

    def _consumer_failed(self, sourced: SourcedEvent, failed: events.ConsumerFailed) -> None:
        self._consumer(sourced).reason = plain(failed.error)
        self._add_entry(sourced, "trouble", f"failed: {failed.error}")
        self._failure(sourced, failed)

    def _commit_failed(self, sourced: SourcedEvent, failed: events.ConsumerCommitFailed) -> None:
        self._add_entry(sourced, "trouble", f"commit refused: {failed.error}")
        self._failure(sourced, failed)

    def _task_stuck(self, sourced: SourcedEvent, task: events.TaskStuck) -> None:
        self._failure(sourced, task)
        where = f"session {task.session_id}, offset {task.offset}"
        self._add_entry(sourced, "trouble", f"a handler cannot be interrupted: {where}")

    def _handler_suspended(self, sourced: SourcedEvent, suspended: events.HandlerSuspended) -> None:
        why = f"{suspended.error_type}: {suspended.error}"
        waiting = many(suspended.waiting, "task")
        self._add_entry(sourced, "trouble", f"handler {suspended.handler} is suspended, {waiting} waiting: {why}")

    def _handler_resumed(self, sourced: SourcedEvent, resumed: events.HandlerResumed) -> None:
        after = duration(resumed.suspended_seconds)
        self._add_entry(sourced, "trouble", f"handler {resumed.handler} is resumed after {after}")

    def _failure(self, sourced: SourcedEvent, event: Event) -> None:
        self.failures.note(failure_of(event, sourced.at))

    _BY_CLASS: ClassVar[dict[type[Event], Callable[[Watch, SourcedEvent, Any], None]]] = {
        events.PartitionStats: _partition_stats,
        events.PartitionsIdle: _partitions_idle,
        events.ConsumerStats: _consumer_stats,
        events.FleetStarted: _fleet_started,
        events.FleetProcessesChanged: _processes_changed,
        events.FleetProcessesLimited: _processes_limited,
        events.FleetStopping: _fleet_stopping,
        events.FleetStopped: _fleet_stopped,
        events.FleetConsumerExited: _fleet_consumer_exited,
        events.FleetConsumerKilled: _fleet_consumer_killed,
        events.ProcessDied: _process_died,
        events.TaskSuspected: _task_suspected,
        events.ConsumerStarted: _consumer_started,
        events.ConsumerWorkersChanged: _workers_changed,
        events.ConsumerWorkersLimited: _workers_limited,
        events.ConsumerAssigned: _consumer_assigned,
        events.ConsumerRevoked: _consumer_revoked,
        events.ConsumerLost: _consumer_lost,
        events.ConsumerPartitionHeld: _partition_held,
        events.ConsumerPartitionReleased: _partition_released,
        events.ConsumerProducerLate: _producer_late,
        events.ConsumerGrowthUneven: _growth_uneven,
        events.ConsumerOffsetsRewound: _offsets_rewound,
        events.ConsumerOffsetsMissed: _offsets_missed,
        events.ConsumerLeaseLapsed: _lease_lapsed,
        events.ConsumerLeaseRenewed: _lease_renewed,
        events.ConsumerStopping: _consumer_stopping,
        events.ConsumerStopped: _consumer_stopped,
        events.ConsumerRecycling: _consumer_recycling,
        events.ConsumerFailed: _consumer_failed,
        events.ConsumerCommitFailed: _commit_failed,
        events.ConsumerWorkerError: _failure,
        events.HandlerSuspended: _handler_suspended,
        events.HandlerResumed: _handler_resumed,
        events.KafkaClientError: _failure,
        events.RegistryUnavailable: _failure,
        events.TaskRetrying: _failure,
        events.TaskDeferred: _failure,
        events.TaskDeadLettered: _failure,
        events.TaskTimedOut: _failure,
        events.TaskStuck: _task_stuck,
        events.TaskAbandoned: _failure,
        events.TaskDeliveryFailed: _failure,
    }
    _HANDLERS: ClassVar = {kind.event: handler for kind, handler in _BY_CLASS.items()}
    """Handlers by the name of the event. Events without a handler do not change the state."""


def _idle_report(topic: str, number: int, point: int | None, known: PartitionNow | None) -> events.PartitionStats:
    """Return the report of a partition that a list of idle ones names: its last one, or a made-up one without it."""
    if known is not None and is_idle(known.stats) and known.stats.commit_point == point:
        return known.stats
    lag = None if point is None else 0
    return with_defaults(
        events.PartitionStats, topic=topic, partition=number, commit_point=point, committed=point, lag=lag
    )

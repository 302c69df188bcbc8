"""`Watch`: the fold of log events into what is known of the fleet. Pure: the time comes with the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from processor.observe.consumer import ConsumerNow
from processor.observe.failures import Failures, Trouble, failure_of
from processor.observe.holds import Hold, Holds
from processor.observe.lines import Heard
from processor.observe.load import Load
from processor.observe.partition import PartitionNow
from processor.observe.sessions import Sessions
from processor.observe.timeline import Kind, Moment, Moments
from processor.observe.window import WINDOW
from processor.observe.wording import duration, many, plain
from processor.telemetry import reading as told
from processor.telemetry.reading import Told

GONE_KEPT: Final = 200
"""Consumers that have ended and are still known: a log may tell of any number of restarts."""

LOST_SECONDS: Final = 3600.0
"""Without a word after which a consumer counts as gone: a machine that is lost takes its last words with it."""


class Watch:
    """Takes the events in the order of their times.

    Args:
        window: samples that a verdict looks at.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.consumers: dict[tuple[str, int, int | None], ConsumerNow] = {}
        self.partitions: dict[tuple[str, str, int], PartitionNow] = {}
        self.fleets: dict[str, told.FleetStartedTold] = {}
        """the last start in each source"""
        self.groups: dict[str, str] = {}
        """the consumer group of each source"""
        self.sources: set[str] = set()
        self.failures = Failures()
        self.holds = Holds()
        self.load = Load()
        self.moments = Moments()
        self.sessions = Sessions()
        self.missed = 0
        """offsets that were deleted before anybody read them"""
        self.began: float | None = None
        self.now = 0.0
        """the time of the last event, in seconds since the epoch"""
        self._window = window

    def hear(self, heard: Heard) -> None:
        """One event."""
        self.now = max(self.now, heard.at)
        if self.began is None:
            self.began = heard.at
        self.sources.add(heard.source)
        if heard.told.group:
            self.groups[heard.source] = plain(heard.told.group)
        self._HEARING[type(heard.told)](self, heard, heard.told)

    def finish(self) -> None:
        """There will be no more: the last round counts as complete."""
        self.load.close(self.now, self.consumers.values(), self.partitions.values())

    def ordered_partitions(self) -> list[PartitionNow]:
        """By group, topic and number."""
        return [self.partitions[key] for key in sorted(self.partitions)]

    def living(self) -> list[ConsumerNow]:
        """The consumers that have not ended, by source and number."""
        living = [consumer for consumer in self.consumers.values() if not consumer.has_ended]
        return sorted(living, key=lambda c: (c.source, -1 if c.index is None else c.index, c.pid))

    def current_holds(self) -> list[Hold]:
        """What holds partitions now, the longest first."""
        holds = [partition.hold for partition in self.partitions.values() if partition.hold is not None]
        return sorted(holds, key=lambda hold: hold.since)

    def longest_holds(self) -> list[Hold]:
        """Past and present."""
        return sorted([*self.holds.longest(), *self.current_holds()], key=lambda hold: -hold.seconds)

    def label(self, consumer: ConsumerNow) -> str:
        """What people call it."""
        number = "consumer" if consumer.index is None else f"#{consumer.index}"
        return f"{self._place(consumer.source, consumer.fleet)} {number}".strip()

    def _who(self, heard: Heard) -> str:
        number = "fleet" if heard.told.consumer is None else f"#{heard.told.consumer}"
        return f"{self._place(heard.source, heard.told.fleet)} {number}".strip()

    def _place(self, source: str, fleet: int) -> str:
        """What tells a fleet from the others: nothing where it is the only one."""
        shown = shown_source(source) if len(self.sources) > 1 else ""
        has_neighbour = any(
            other.source == source and other.fleet != fleet and not other.has_ended for other in self.consumers.values()
        )
        return f"{shown}/{fleet}" if shown and has_neighbour else str(fleet) if has_neighbour else shown

    def _consumer(self, heard: Heard) -> ConsumerNow:
        key = heard.source, heard.told.pid, heard.told.consumer
        consumer = self.consumers.get(key)
        if consumer is None or consumer.has_ended:
            self._forget_the_gone(heard.at)
            consumer = ConsumerNow(heard.source, heard.told.consumer, heard.told.pid, heard.at, heard.told.fleet)
            self.consumers[key] = consumer
        consumer.at = heard.at
        return consumer

    def _forget_the_gone(self, now: float) -> None:
        ended = [key for key, consumer in self.consumers.items() if consumer.has_ended]
        lost = [key for key, consumer in self.consumers.items() if now - consumer.at > LOST_SECONDS]
        for key in {*ended[: max(0, len(ended) - GONE_KEPT)], *lost}:
            del self.consumers[key]

    def _note(self, heard: Heard, kind: Kind, text: str) -> None:
        self.moments.note(Moment(at=heard.at, kind=kind, who=self._who(heard), text=plain(text)))

    def _leave_all(self, consumer: ConsumerNow) -> None:
        for partition in self.partitions.values():
            if partition.consumer is consumer:
                partition.leave(self.holds)

    def _ended(self, heard: Heard, pid: int) -> ConsumerNow | None:
        return self.consumers.get((heard.source, pid, heard.told.consumer))

    # What follows is one method a kind of event.

    def _partition_stats(self, heard: Heard, stats: told.PartitionStatsTold) -> None:
        consumer = self._consumer(heard)
        key = plain(stats.group) or self.groups.get(heard.source, ""), stats.topic, stats.partition
        partition = self.partitions.get(key)
        if partition is None:
            partition = self.partitions[key] = PartitionNow(key[0], stats, self._window)
        partition.hear(stats, heard.at, consumer, self.holds)

    def _consumer_stats(self, heard: Heard, stats: told.ConsumerStatsTold) -> None:
        consumer = self._consumer(heard)
        if self.load.begins_anew(consumer):
            self.load.close(heard.at, self.consumers.values(), self.partitions.values())
        self.load.counts.add_rise(consumer.stats, stats)
        consumer.hear(stats, heard.at)
        self.sessions.note(stats.busiest_sessions, heard.at)

    def _fleet_started(self, heard: Heard, started: told.FleetStartedTold) -> None:
        self.fleets[heard.source] = started
        self.groups[heard.source] = plain(started.group)
        self._note(heard, "start", f"{started.app} starts, {many(started.processes, 'consumer')}")

    def _fleet_stats(self, heard: Heard, stats: told.FleetStatsTold) -> None:
        """Its consumers have said it all."""

    def _fleet_stopping(self, heard: Heard, stopping: told.FleetStoppingTold) -> None:
        self._note(heard, "stop", f"the fleet stops: {stopping.reason}")

    def _fleet_stopped(self, heard: Heard, stopped: told.FleetStoppedTold) -> None:
        self._note(heard, "stop", f"the fleet has ended with exit code {stopped.exit_code}")

    def _consumer_ended(self, heard: Heard, ended: told.ConsumerEndedTold) -> None:
        reason = plain(ended.reason or f"exit code {ended.exit_code}")
        if (consumer := self._ended(heard, ended.consumer_pid)) is not None:
            consumer.ends("died", reason)
            self._leave_all(consumer)
        self._note(heard, "restart", f"{reason}; another starts in its place")

    def _consumer_killed(self, heard: Heard, killed: told.ConsumerKilledTold) -> None:
        if (consumer := self._ended(heard, killed.consumer_pid)) is not None:
            consumer.ends("died", "killed")
            self._leave_all(consumer)
        self._note(heard, "trouble", "killed: it had not ended within its drain timeout")

    def _consumer_started(self, heard: Heard, started: told.ConsumerStartedTold) -> None:
        self.consumers.pop((heard.source, heard.told.pid, heard.told.consumer), None)  # a process ID that came again
        self.groups[heard.source] = plain(started.group)
        self._consumer(heard).workers = started.workers

    def _assigned(self, heard: Heard, assigned: told.AssignedTold) -> None:
        consumer = self._consumer(heard)
        if not assigned.partitions:  # the group was rebalanced, and nothing changed here
            return
        consumer.state = "working"
        settled_ahead = f", {assigned.settled_ahead:,} settled ahead" if assigned.settled_ahead else ""
        self._note(heard, "rebalance", f"got {_listed(assigned.partitions)}{settled_ahead}")

    def _revoked(self, heard: Heard, revoked: told.RevokedTold) -> None:
        self._leave(heard, revoked.partitions)
        if not revoked.partitions:
            return
        abandoned = f", {many(revoked.abandoned, 'task')} still running" if revoked.abandoned else ""
        self._note(heard, "rebalance", f"gave back {_listed(revoked.partitions)}{abandoned}")

    def _lost(self, heard: Heard, lost: told.LostTold) -> None:
        self._leave(heard, lost.partitions)
        self._note(heard, "rebalance", f"lost {_listed(lost.partitions)}: the group had given it up")

    def _leave(self, heard: Heard, names: list[str]) -> None:
        consumer, left = self._consumer(heard), {name.partition("@")[0] for name in names}
        for partition in self.partitions.values():
            if partition.consumer is consumer and partition.name in left:
                partition.leave(self.holds)

    def _offsets_restarted(self, heard: Heard, back: told.OffsetsRestartedTold) -> None:
        place = f"{back.topic}[{back.partition}]"
        self._note(heard, "trouble", f"{place} moved back from offset {back.expected_offset} to {back.offset}")

    def _offsets_missed(self, heard: Heard, missed: told.OffsetsMissedTold) -> None:
        offsets = ", ".join(missed.offsets[:3])
        place = f"{missed.topic}[{missed.partition}]"
        count = many(missed.missed_offsets, "offset")
        self._note(heard, "trouble", f"{place}: {count} ({offsets}) deleted before they were read")
        self.missed += missed.missed_offsets

    def _lease_lapsed(self, heard: Heard, lapsed: told.LeaseLapsedTold) -> None:
        why = "it was asleep for" if lapsed.reason == "asleep" else "the group has not answered for"
        reason = f"{why} {duration(lapsed.seconds)}"
        consumer = self._consumer(heard)
        consumer.state, consumer.reason = "cut off", reason
        self._note(heard, "trouble", f"begins nothing, with {many(lapsed.waiting, 'task')} that wait: {reason}")

    def _lease_renewed(self, heard: Heard, renewed: told.LeaseRenewedTold) -> None:
        consumer = self._consumer(heard)
        if consumer.state == "cut off":  # else it stops already
            consumer.state = "working"
        self._note(heard, "trouble", f"works on, after {duration(renewed.seconds)}: the group has answered")

    def _stopping(self, heard: Heard, stopping: told.StoppingTold) -> None:
        consumer = self._consumer(heard)
        consumer.state, consumer.reason = "stopping", plain(stopping.reason)

    def _stopped(self, heard: Heard, stopped: told.StoppedTold) -> None:
        consumer = self._consumer(heard)
        consumer.ends("stopped" if not stopped.exit_code else "failed", f"exit code {stopped.exit_code}")
        self._leave_all(consumer)
        left = f", {many(stopped.abandoned, 'task')} still running" if stopped.abandoned else ""
        self._note(heard, "stop", f"stopped with exit code {stopped.exit_code}{left}")

    def _recycling(self, heard: Heard, recycling: told.RecyclingTold) -> None:
        consumer = self._consumer(heard)
        consumer.state, consumer.reason = "recycling", plain(recycling.reason)
        self._note(heard, "trouble", f"makes room for a fresh process: {recycling.reason}")

    def _failed(self, heard: Heard, failed: told.FailedTold) -> None:
        self._consumer(heard).reason = plain(failed.error)
        self._note(heard, "trouble", f"cannot go on: {failed.error}")
        self._trouble(heard, failed)

    def _commit_failed(self, heard: Heard, failed: told.CommitFailedTold) -> None:
        self._note(heard, "trouble", f"commit refused: {failed.error}")
        self._trouble(heard, failed)

    def _stuck(self, heard: Heard, task: told.StuckTold) -> None:
        self._trouble(heard, task)
        self._note(heard, "trouble", f"a handler cannot be stopped: session {task.session_id}, offset {task.offset}")

    def _trouble(self, heard: Heard, trouble: Trouble) -> None:
        self.failures.note(failure_of(trouble, heard.at))

    _HEARING: ClassVar[dict[type[Told], Callable[[Watch, Heard, Any], None]]] = {
        told.PartitionStatsTold: _partition_stats,
        told.ConsumerStatsTold: _consumer_stats,
        told.FleetStartedTold: _fleet_started,
        told.FleetStatsTold: _fleet_stats,
        told.FleetStoppingTold: _fleet_stopping,
        told.FleetStoppedTold: _fleet_stopped,
        told.ConsumerEndedTold: _consumer_ended,
        told.ConsumerKilledTold: _consumer_killed,
        told.ConsumerStartedTold: _consumer_started,
        told.AssignedTold: _assigned,
        told.RevokedTold: _revoked,
        told.LostTold: _lost,
        told.OffsetsRestartedTold: _offsets_restarted,
        told.OffsetsMissedTold: _offsets_missed,
        told.LeaseLapsedTold: _lease_lapsed,
        told.LeaseRenewedTold: _lease_renewed,
        told.StoppingTold: _stopping,
        told.StoppedTold: _stopped,
        told.RecyclingTold: _recycling,
        told.FailedTold: _failed,
        told.CommitFailedTold: _commit_failed,
        told.WorkerDiedTold: _trouble,
        told.ClientErrorTold: _trouble,
        told.RegistryUnavailableTold: _trouble,
        told.RetryingTold: _trouble,
        told.PostponedTold: _trouble,
        told.DeadLetteredTold: _trouble,
        told.TimedOutTold: _trouble,
        told.StuckTold: _stuck,
        told.AbandonedTold: _trouble,
        told.DeliveryFailedTold: _trouble,
    }


def shown_source(source: str) -> str:
    """A pod's name without the kind before it, a file's without its folder."""
    return plain(source.rpartition("/")[2] if source.startswith("/") else source.removeprefix("pod/"), 60)


def _listed(names: list[str]) -> str:
    """Partitions without their offsets; of many, the first."""
    shown = [name.partition("@")[0] for name in names[:4]]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "nothing") + more

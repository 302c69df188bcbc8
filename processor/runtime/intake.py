"""`Intake`: takes records from the source as far as there is room for them, and admits them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from operator import is_
from time import monotonic

from processor.engine.flow import Flow, Usage
from processor.engine.record import Record
from processor.runtime.desk import Desk
from processor.runtime.ports import End, Partition, Source
from processor.runtime.resets import Resets
from processor.settings import Settings
from processor.telemetry.events import ConsumerFetchPaused, ConsumerFetchResumed, Emit

TAKE = 1000
"""Records asked for at once. No-op tasks on 64 threads, in one sitting: 270,000 a second with 500, 355,000
with 1,000, 290,000 with 2,000: fewer make short runs of each session, more are made at one go under the
interpreter's lock, while no worker runs."""

POLL_SECONDS = 0.1
"""The longest wait for a record: how late a signal, a commit or a report may be."""

FULL_POLL_SECONDS = 0.1
"""How often the client is polled while nothing may be taken. Each time at most one record comes with it;
what that adds is bounded by pausing, see `FULL_PAUSE_SECONDS`."""

FULL_REST_SECONDS = 0.005
"""The longest rest while nothing may be taken; some tasks end in it, and then there may be room."""

FULL_PAUSE_SECONDS = 2.0
"""Once nothing could be taken for this long, everything is paused: the client is polled, and gives nothing."""


class Intake:
    """Carries out what `Flow` decides. Belongs to the poller's thread."""

    def __init__(self, settings: Settings, source: Source, desk: Desk, resets: Resets, emit: Emit) -> None:
        self._has_topics = len(settings.topics) > 1
        self._resets = resets
        self._next_poll = 0.0
        self._source = source
        self._desk = desk
        self._emit = emit
        self._flow: Flow[Partition] = Flow(settings.max_in_flight, settings.max_in_flight_bytes)
        self._record_bytes = 1024
        self._full_since: float | None = None
        self._all_paused = False

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions that are not fetched for now."""
        return frozenset(self._desk.partitions) if self._all_paused else self._flow.paused

    def end_of(self, partition: Partition) -> int | None:
        """Return the last end offset that the client knows of, without asking the broker."""
        return self._source.high_watermark(partition)

    def take(self, now: float) -> None:
        """Takes and admits what there is room for; while there is none, it rests, and polls for the group's sake."""
        room = self._room(now)
        if room:
            self._admit(self._source.take(room, POLL_SECONDS))
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        elif now >= self._next_poll:
            self._admit(self._source.take(1, 0.0))
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        else:
            self._desk.rest(FULL_REST_SECONDS)

    def begin(self, partitions: Sequence[Partition]) -> None:
        """These were assigned. The client keeps an application's pause over a revoke and a new assignment."""
        for partition in partitions:
            self._flow.forget(partition)
        if self._all_paused or self._desk.is_draining:
            self.stop(partitions)
        elif partitions:
            self._source.resume(partitions)

    def stop(self, partitions: Sequence[Partition]) -> None:
        """Takes no more of these."""
        if partitions:
            self._source.pause(partitions)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """These are not this consumer's any more."""
        for partition in partitions:
            self._flow.forget(partition)

    def _room(self, now: float) -> int:
        """Return how many records may be asked for now; 0 while there is no room. Pauses and resumes."""
        usage = self._desk.usage()
        tasks, size = sum(u.tasks for u in usage.values()), sum(u.bytes for u in usage.values())
        if tasks:
            self._record_bytes = max(1, size // tasks)
        verdict = self._flow.decide(usage, now, idle=self._desk.idle, behind=self._is_behind)
        if verdict.pause:
            self._source.pause(verdict.pause)
            self._log(ConsumerFetchPaused, verdict.pause, usage)
        if verdict.resume and not self._all_paused:
            self._source.resume(verdict.resume)
            self._log(ConsumerFetchResumed, verdict.resume, usage)
        if verdict.take:
            self._go_on()
            return min(TAKE, self._flow.room(tasks, size, self._record_bytes))
        self._hold(now)
        return 0

    def _is_behind(self, partition: Partition) -> bool:
        """Return whether the broker may have more of it. Before the first fetch that is unknown: then it may."""
        position = self._desk.position(partition)
        end = self._source.high_watermark(partition)
        return position is None or end is None or end > position

    def _hold(self, now: float) -> None:
        """Nothing may be taken: after a while everything is paused, so that polling brings nothing."""
        if self._full_since is None:
            self._full_since = now
        elif not self._all_paused and now - self._full_since > FULL_PAUSE_SECONDS:
            self._all_paused = True
            self.stop(self._desk.partitions)

    def _go_on(self) -> None:
        self._full_since = None
        if self._all_paused:
            self._all_paused = False
            paused = self._flow.paused
            self._source.resume([p for p in self._desk.partitions if p not in paused])

    def _admit(self, records: Sequence[Record]) -> None:
        if not records or self._desk.is_draining:
            return
        records, ends = self._interpreted(records)
        # a record may still arrive of a partition that was revoked while it was taken: it is another consumer's now
        runs = [(p, run) for p, run in self._runs(records) if self._desk.holds(p)]
        for partition, run in runs:
            if not self._desk.continues_at(partition, run[0].offset()):
                self._resets.restart(partition, run[0].offset())
        if runs:
            self._desk.admit(runs)
        if ends:
            self._desk.reach(ends)

    def _interpreted(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[End]]:
        """Return the records among them that are records, and the partitions' ends that the others report."""
        errors = list(map(type(records[0]).error, records))
        if all(map(is_, errors, repeat(None))):  # by identity: a client's error cannot be compared with None
            return records, []
        reports = [record for record, error in zip(records, errors, strict=True) if error is not None]
        ends = [end for end in map(self._source.interpret, reports) if end is not None]
        return [record for record, error in zip(records, errors, strict=True) if error is None], ends

    def _runs(self, records: Sequence[Record]) -> Iterator[tuple[Partition, Sequence[Record]]]:
        """Yield the records by partition, as they come one behind the other."""
        if not records:
            return
        kind = type(records[0])
        places: Sequence[object] = list(map(kind.partition, records))
        if self._has_topics:
            places = list(zip(map(kind.topic, records), places, strict=True))
        at = 0
        for _, same in groupby(places):
            run = records[at : at + len(list(same))]
            at += len(run)
            yield Partition(run[0].topic(), run[0].partition()), run

    def _log(
        self,
        event: type[ConsumerFetchPaused] | type[ConsumerFetchResumed],
        partitions: Sequence[Partition],
        usage: dict[Partition, Usage],
    ) -> None:
        for partition in partitions:
            tasks = usage[partition].tasks if partition in usage else 0
            self._emit(event(topic=partition.topic, partition=partition.number, in_flight=tasks))

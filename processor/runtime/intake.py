"""`Intake`: takes records from the source and admits them, so that no partition waits for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, islice, pairwise
from operator import ne
from time import monotonic

from processor.engine.flow import RESERVED, Admission, Fetching, Filling, take_size, without_delayed
from processor.engine.ledger import headers_in, sizes_of
from processor.engine.record import Record
from processor.engine.stock import Run, Stock, Usage
from processor.runtime.ahead import Ahead
from processor.runtime.desk import Desk
from processor.runtime.late_records import LateRecords
from processor.runtime.ports import End, Partition, Source
from processor.runtime.resets import Reset, Resets
from processor.settings import Settings
from processor.telemetry.events import ConsumerFetchPaused, ConsumerFetchResumed, Emit

POLL_SECONDS = 0.1
"""The longest wait for a record. It may delay a signal by this time, and a commit or a report while tasks run."""

QUIET_SECONDS = 2.0
"""A consumer is quiet once no record has come and no task was in flight for this long."""

QUIET_POLL_SECONDS = 0.19
"""The longest wait for a record while the consumer is quiet; it may delay a stop by this time. A record and a rebalance
end the wait. Loops cost an idle consumer more than all else, and this halves them. From 0.2 s on, the Python client
divides the wait, and takes the interpreter's lock in between."""

STOCK_LIMITS = Usage(50_000, 24 * 1024 * 1024)
"""How much may be fetched ahead in addition to what is in flight. This is why the client's own queue is kept short, see
`kafka/config.py`."""

REST_SECONDS = 0.01
"""The longest rest while there is a stock; it may delay a record of a quiet partition. Settled tasks end it. A loop
takes some 0.3 ms of CPU, and meanwhile no worker has the interpreter: compared with a rest of 5 ms, tasks of 4 ms on
16 workers took a tenth less CPU."""

REST_SECONDS_EACH = 0.0001
"""With many partitions in the stock, a rest lasts this long for each. A loop takes some 2 µs of CPU for each partition,
and meanwhile no worker has the interpreter. With 200 partitions and a rest of 5 ms, the poller took 18 % of a core
while 16 workers ran tasks of 4 ms, and they did a tenth less."""

LONGEST_REST_SECONDS = 0.025
"""The longest rest, however many partitions there are."""

FULL_POLL_SECONDS = 0.1
"""Time between two polls while the stock is full. Each takes at most one record. What they add is bounded, since
`Fetching` pauses all partitions after a while."""


class Intake:
    """Carries out what `Admission`, `Filling` and `Fetching` decide. Belongs to the poller's thread."""

    def __init__(
        self, settings: Settings, source: Source, desk: Desk, resets: Resets, ahead: Ahead, emit: Emit
    ) -> None:
        self._source = source
        self._desk = desk
        self._resets = resets
        self._emit = emit
        self._has_topics = len(settings.topics) > 1
        self._limits = Usage(settings.max_in_flight, settings.max_in_flight_bytes)
        self._admission: Admission[Partition] = Admission(self._limits)
        self._filling: Filling[Partition] = Filling()
        self._fetching: Fetching[Partition] = Fetching(STOCK_LIMITS)
        self._stock: Stock[Partition, End | Reset] = Stock()
        self._record_bytes = 1024
        self._poll_seconds = poll_seconds(settings)
        self._ahead = ahead
        self._gates: dict[Partition, int] = {}
        """By partition, the offset from which on nothing is admitted yet. The partition is not fetched while records
        wait there.
        """
        self._gated: set[Partition] = set()
        """The partitions that are not fetched because of their gates."""
        self._leaving: set[Partition] = set()
        """Partitions that drain: nothing more of them is admitted."""
        self.late_records = LateRecords(emit)
        """Checks what is fetched while there are gates."""
        self._is_drained = True
        """Whether the client had no further records at the last call."""
        self._next_poll = 0.0
        self._busy_at = monotonic()
        """When a record last came, a task was in flight, or a partition came or went."""

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions that are not fetched for now."""
        return self._fetching.paused

    def stock_of(self, partition: Partition) -> int:
        """Return how many records of the partition are fetched and not admitted."""
        return self._stock.usage(partition).tasks

    def end_of(self, partition: Partition) -> int | None:
        """Return the last end offset that the client knows, without a request to the broker; None if it knows none."""
        return self._source.high_watermark(partition)

    def take(self, now: float) -> None:
        """Takes what the client has, and admits what there is room for."""
        if self._stock:
            self._admit_stock(now)
            if self._stock:
                self._ahead.make_room([p for p in self._stock.partitions if p not in self._gated], now)
        if self._may_take(now):
            most = take_size(self._desk.inflow.task_seconds, self._limits.tasks)
            records = self._source.take(most, self._longest_wait(now))
            self._is_drained = len(records) < most
            self._receive(records)
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        elif now >= self._next_poll:
            self._receive(self._source.take(1, 0.0))
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        else:
            self._is_drained = True
        if self._is_drained and self._is_stocked():
            self._desk.inflow.rest(rest_seconds(len(self._stock)))

    def is_quiet(self, now: float) -> bool:
        """Return whether no record has come and no task was in flight for `QUIET_SECONDS`."""
        return now - self._busy_at >= QUIET_SECONDS and self._desk.inflow.is_empty

    def go_on_at(self, reset: Reset) -> None:
        """Continue the partition at another offset, once the records that were fetched before are admitted."""
        if reset.partition in self._leaving:
            return
        if reset.partition in self._stock or reset.partition in self._gates:
            self._stock.mark(reset.partition, reset)
        else:
            self._resets.carry_out(reset)

    def begin(self, partitions: Sequence[Partition]) -> None:
        """Fetches assigned partitions. In the client, a pause outlasts a revoke and a new assignment: this ends it."""
        self.forget(partitions)
        if self._desk.partitions.is_draining:
            self.stop(partitions)
        elif partitions:
            self._source.resume(partitions)

    def gate(self, partition: Partition, offset: int | None) -> None:
        """Admits only records below this offset of an assigned partition, until the gate moves; None removes it."""
        if offset is None:
            self._gates.pop(partition, None)
        else:
            self._gates[partition] = offset
        if offset is not None and (offset < 0 or self._stock.is_blocked(partition, offset)):
            self._close([partition])
        elif partition in self._gated:
            self._gated.discard(partition)
            if not self._desk.partitions.is_draining and partition not in self._fetching.paused:
                self._source.resume([partition])

    def blocked(self) -> list[Partition]:
        """Return the partitions whose records wait at the gate, fetched or not."""
        return [p for p, gate in self._gates.items() if gate < 0 or self._stock.is_blocked(p, gate)]

    def stop(self, partitions: Sequence[Partition]) -> None:
        """Stops fetching these partitions."""
        if partitions:
            self._source.pause(partitions)

    def leave(self, partitions: Sequence[Partition]) -> None:
        """Stops admitting records of these partitions. They belong to this consumer until they are forgotten."""
        self.forget(partitions)
        self._leaving.update(partitions)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Forgets the state of partitions that no longer belong to this consumer, or are assigned again."""
        self._busy_at = monotonic()
        self._leaving.difference_update(partitions)
        for partition in partitions:
            self._stock.forget(partition)
            self._fetching.forget(partition)
            self._gates.pop(partition, None)
            self._gated.discard(partition)

    def _longest_wait(self, now: float) -> float:
        if self._is_stocked():
            return 0.0
        return QUIET_POLL_SECONDS if self.is_quiet(now) else self._poll_seconds

    # --- what is fetched -----------------------------------------------------------------------------

    def _may_take(self, now: float) -> bool:
        """Return whether to take more records from the client. Also pauses and resumes partitions."""
        if not self._stock and self._fetching.is_calm:
            return True
        stock = self._stock.usages()
        # a partition that waits at its gate must not count as one without records, for which others would be paused
        gated = sum(partition not in stock for partition in self._gated)
        verdict = self._fetching.decide(
            stock,
            self._stock.taken,
            now,
            assigned=len(self._desk.partitions) - gated - len(self._leaving),
            drained=self._is_drained,
        )
        if verdict.resume:
            if resumed := [partition for partition in verdict.resume if partition not in self._gated]:
                self._source.resume(resumed)
            self._log(ConsumerFetchResumed, verdict.resume, stock)
        if verdict.pause:
            self._source.pause(verdict.pause)
            self._log(ConsumerFetchPaused, verdict.pause, stock)
        return verdict.take

    def _log(
        self,
        event: type[ConsumerFetchPaused] | type[ConsumerFetchResumed],
        partitions: Sequence[Partition],
        stock: Mapping[Partition, Usage],
    ) -> None:
        for partition in partitions:
            tasks = stock[partition].tasks if partition in stock else 0
            self._emit(event(topic=partition.topic, partition=partition.number, fetched_ahead=tasks))

    # --- what is admitted ----------------------------------------------------------------------------

    def _receive(self, records: Sequence[Record]) -> None:
        """Admits the records at once if they fit, whatever their partitions; else puts them into the stock first."""
        if records or not self._desk.inflow.is_empty:
            self._busy_at = monotonic()
        if not records or self._desk.partitions.is_draining:
            return
        records, ends = self._interpreted(records)
        # Records of a partition that was revoked meanwhile belong to another consumer, but an end would count them here
        # as admitted.
        ends = [end for end in ends if self._is_admitted(end.partition)]
        runs = [(p, run) for p, run in self._runs(records) if self._is_admitted(p)]
        if self._stock or self._gates or not self._fit(len(records)) or not self._ahead.allows(len(records)):
            if self._gates:
                self.late_records.look_at(runs)
            for partition, run in runs:
                self._put(partition, run)
            for end in ends:
                self._stock.mark(end.partition, end)
            self._admit_stock(monotonic())
            return
        self._admit(runs)
        if ends:
            self._desk.partitions.reach(ends)

    def _is_admitted(self, partition: Partition) -> bool:
        return partition in self._desk.partitions and partition not in self._leaving

    def _fit(self, count: int) -> bool:
        """Return whether this number of records, even if all are of one partition, changes no share."""
        tasks, size = self._total()
        if tasks:
            self._record_bytes = max(1, size // tasks)
        limits = self._limits
        fits = tasks + count <= limits.tasks * RESERVED
        return fits and size + count * self._record_bytes <= limits.bytes * RESERVED

    def _put(self, partition: Partition, run: Sequence[Record]) -> None:
        kind = type(run[0])
        keys = list(map(kind.key, run))
        self._stock.put(partition, run, sum(sizes_of(kind, run, keys, headers_in(kind, run))))

    def _admit_stock(self, now: float) -> None:
        """Admits what there is room for, if a filling is due."""
        if self._gates:
            self._close([partition for partition in self.blocked() if partition not in self._gated])
        elif not self._is_filling_due(now):
            return
        stock = {p: usage for p, usage in self._stock.usages().items() if p not in self._gated}
        in_flight = self._usage()
        quotas = self._ahead.limited(self._admission.quotas(in_flight, stock))
        self._filling.note(in_flight, stock, quotas, now)
        for partition in self._stock.partitions:
            for entry in self._stock.take(partition, quotas.get(partition, 0), self._gates.get(partition)):
                match entry:
                    case End():
                        self._desk.partitions.reach([entry])
                    case Reset():
                        self._resets.carry_out(entry)
                    case Run(records):
                        self._admit([(partition, records)])

    def _is_filling_due(self, now: float) -> bool:
        """Return whether to fill up what is in flight: when lanes run out, or when `Filling` decides so.

        If most of what is in flight waits for long, little settles at a time, and workers without a lane would
        otherwise wait for the next filling.
        """
        inflow = self._desk.inflow
        return inflow.runs_dry or self._filling.is_due(inflow.tasks(), self._stock.partitions, now)

    def _usage(self) -> Mapping[Partition, Usage]:
        """Return what counts as in flight of each assigned partition."""
        in_flight, delayed = self._desk.inflow.usage(), self._desk.inflow.delayed_usage()
        if not delayed:
            return in_flight
        if self._ahead.make_room_of_delayed(delayed):
            in_flight, delayed = self._desk.inflow.usage(), self._desk.inflow.delayed_usage()
        return without_delayed(in_flight, delayed, self._limits)

    def _total(self) -> Usage:
        """Return what counts as in flight of all assigned partitions together."""
        if not self._desk.inflow.delayed_usage():
            return self._desk.inflow.total()
        in_flight = self._usage().values()
        return Usage(sum(usage.tasks for usage in in_flight), sum(usage.bytes for usage in in_flight))

    def _is_stocked(self) -> bool:
        """Return whether records wait in the stock that are not at a gate."""
        return bool(self._stock) and not (self._gated and self._gated.issuperset(self._stock.partitions))

    def _close(self, partitions: Sequence[Partition]) -> None:
        """Fetches nothing of these partitions while they wait at their gates."""
        if partitions:
            self._gated.update(partitions)
            self._source.pause(partitions)

    def _admit(self, runs: Sequence[tuple[Partition, Sequence[Record]]]) -> None:
        for partition, run in runs:
            if not self._desk.partitions.continues_at(partition, run[0].offset()):
                self._resets.restart(partition, run[0].offset())
        if runs:
            self._desk.inflow.admit(runs)

    def _interpreted(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[End]]:
        """Return the records without the client's reports, and the ends of partitions among those reports."""
        kind = type(records[0])
        if not any(map(kind.error, records)):
            return records, []
        errors = list(map(kind.error, records))
        reports = [record for record, error in zip(records, errors, strict=True) if error is not None]
        ends = [end for end in map(self._source.interpret, reports) if end is not None]
        return [record for record, error in zip(records, errors, strict=True) if error is None], ends

    def _runs(self, records: Sequence[Record]) -> Iterator[tuple[Partition, Sequence[Record]]]:
        """Yield each run of consecutive records of one partition."""
        if not records:
            return
        kind = type(records[0])
        places: Sequence[object] = list(map(kind.partition, records))
        if self._has_topics:
            places = list(zip(map(kind.topic, records), places, strict=True))
        if places.count(places[0]) == len(places):  # the usual case: forty times as fast as a search for changes
            yield Partition(records[0].topic(), records[0].partition()), records
            return
        changes = compress(range(1, len(records)), map(ne, places, islice(places, 1, None)))
        for first, end in pairwise([0, *changes, len(records)]):
            run = records[first:end]
            yield Partition(run[0].topic(), run[0].partition()), run


def poll_seconds(settings: Settings) -> float:
    """Return the longest wait for a record. With exactly-once, outputs wait for a commit before they can be read."""
    return min(POLL_SECONDS, settings.commit_seconds / 4) if settings.is_exactly_once else POLL_SECONDS


def rest_seconds(stocked: int) -> float:
    """Return the longest rest while this number of partitions is in the stock."""
    return min(max(REST_SECONDS, stocked * REST_SECONDS_EACH), LONGEST_REST_SECONDS)

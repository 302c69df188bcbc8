"""`Recall`: reads set-aside tasks again, in a separate thread that starts when it is first needed.

The longer a pass over a partition's log takes, the earlier a delayed task is read again before its time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from time import monotonic

from processor.engine.delays import LEAD_SECONDS, lead_after
from processor.engine.ledger import Ledger
from processor.engine.stock import Usage
from processor.engine.sweep import Sweep
from processor.errors import BrokerError
from processor.runtime.desk import Desk
from processor.runtime.ports import End, Lost, Partition, Reader, Record, Source
from processor.runtime.recall_failures import RecallFailures
from processor.runtime.resets import missed_event
from processor.settings import Settings
from processor.telemetry.events import Emit

TAKE = 1000
"""The most records that one call of the client returns."""

TAKE_SECONDS = 0.05
"""The longest wait for a record. A session that runs low meanwhile is noticed only after it."""

LOOK_SECONDS = 0.05
"""Time between two checks for a session that ran out of tasks, in case no worker came to the desk and noticed it."""

IDLE_SECONDS = 10.0
"""The client is closed after this time without anything to read."""

AGAIN_SECONDS = 1.0
"""The pause after a failure, of one partition or of the client, before the next try."""

STALL_SECONDS = 30.0
"""A partition is begun again if nothing of it is delivered for this long, and that is logged."""

GONE_SECONDS = 300.0
"""A log has lost a wanted offset if it ends below it for this long. After an election, the end of a log may be lower
for a moment, until the followers of the new leader have caught up."""

SHORT_SECONDS = 60.0
"""If a log was not found too short for this long, `GONE_SECONDS` begins again the next time that it is."""

JOIN_SECONDS = 2.0
"""How long `close` waits for the end of the thread."""


@dataclass(slots=True)
class _Short:
    """A log that ends below a wanted offset. Times are in seconds of the monotonic clock."""

    ledger: Ledger
    since: float
    seen_at: float


@dataclass(slots=True)
class _Reading:
    """The pass over one partition. Times are in seconds of the monotonic clock."""

    ledger: Ledger
    sweep: Sweep
    begun_at: float
    moved_at: float
    """When the client last delivered anything of the partition."""
    again_at: float | None = None
    """When the pass is begun again after a failure; None while the client reads the partition."""


class Recall:
    """`start` and `close` are for the poller's thread."""

    def __init__(self, settings: Settings, desk: Desk, source: Source, emit: Emit) -> None:
        self._desk = desk
        self._source = source
        self._emit = emit
        self._limits = Usage(settings.max_in_flight, settings.max_in_flight_bytes)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._reader: Reader | None = None
        self._used_at = 0.0
        self._lead = LEAD_SECONDS
        self._lead_at = 0.0
        """When `_lead` was last computed, in seconds of the monotonic clock."""
        self._readings: dict[Partition, _Reading] = {}
        self._short: dict[Partition, _Short] = {}
        """Partitions whose log ends below a wanted offset. An entry stays until a record of the partition comes."""
        self._failures = RecallFailures(desk, emit)

    def start(self) -> None:
        """Starts the thread unless it runs. To be called when tasks were set aside."""
        if self._thread is None and not self._closing.is_set():
            thread = threading.Thread(target=self._run, name="recall", daemon=True)
            thread.start()  # if it raises, `close` must not join a thread
            self._thread = thread
        self._desk.set_aside.runs_low.set()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._desk.set_aside.runs_low.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._go_on()
            except Exception as error:
                self._fail(error)
        self._abandon_reader()

    def _go_on(self) -> None:
        if not self._readings:
            self._desk.set_aside.runs_low.wait(LOOK_SECONDS if self._desk.set_aside.tasks else IDLE_SECONDS)
        self._forget_closed()
        self._ask()
        if self._readings:
            self._read()
        elif self._reader is not None and monotonic() - self._used_at > IDLE_SECONDS:
            self._close_reader()

    def _forget_closed(self) -> None:
        """Ends the passes over partitions that are given up. Without a further delivery, they would not end."""
        for partition, reading in list(self._readings.items()):
            if not reading.ledger.may_begin:
                self._end(partition)
                self._short.pop(partition, None)
                self._failures.forget(partition)

    def _ask(self) -> None:
        asked, now = self._desk.set_aside.ask(self._limits, self._lead), monotonic()
        for partition, ledger, offsets in asked:
            self._readings[partition] = _Reading(ledger, Sweep(offsets), now, now)
        for each in asked:
            if self._reader is not None:
                self._begin(self._reader, each.partition, self._readings[each.partition])

    def _begin(self, reader: Reader, partition: Partition, reading: _Reading) -> None:
        try:
            reader.begin(partition, reading.sweep.jump())
        except Exception as error:
            self._hold_back(partition, reading, str(error))

    def _begin_again(self, reader: Reader) -> Reader | None:
        """Begins the passes that this client does not read yet, with all offsets that are still asked for.

        Return the client, or None if it was closed because no pass could be begun.
        """
        now = monotonic()
        for partition, reading in list(self._readings.items()):
            if self._reader is None:
                return None
            if reading.again_at is None or reading.again_at > now:
                continue
            offsets = self._desk.set_aside.asked(reading.ledger)
            if offsets:
                reading.sweep, reading.moved_at, reading.again_at = Sweep(offsets), now, None
                self._begin(reader, partition, reading)
            else:
                del self._readings[partition]
        return self._reader

    def _read(self) -> None:
        if self._reader is None:
            now = monotonic()
            if all(reading.again_at is not None and reading.again_at > now for reading in self._readings.values()):
                self._closing.wait(LOOK_SECONDS)
                return
            self._reader = self._source.open_reader()
            for reading in self._readings.values():
                reading.again_at = reading.again_at or now
        if (reader := self._begin_again(self._reader)) is None:
            return
        records = reader.take(TAKE, TAKE_SECONDS)
        self._used_at = monotonic()
        self._desk.set_aside.note_read(len(records))
        if records:
            self._failures.forget(None)
        for partition, run in _runs(records):
            found = self._readings.get(partition)
            if found is not None and found.again_at is None:
                self._receive(reader, partition, found, run)
        self._check_for_stalls()

    def _receive(self, reader: Reader, partition: Partition, reading: _Reading, run: Sequence[Record]) -> None:
        """Processes a run of one partition. An error holds back only this partition."""
        try:
            self._take_in(reader, partition, reading, run)
        except Exception as error:
            self._hold_back(partition, reading, str(error))

    def _take_in(self, reader: Reader, partition: Partition, reading: _Reading, run: Sequence[Record]) -> None:
        ledger, sweep = reading.ledger, reading.sweep
        records = [record for record in run if record.error() is None]
        if records:
            reading.moved_at = self._used_at
            self._short.pop(partition, None)
            self._failures.forget(partition)
        found, missed = sweep.take(records)
        is_open = self._desk.set_aside.read_again(ledger, found)
        self._miss(partition, ledger, missed)
        for report in [reader.interpret(record) for record in run if record.error() is not None]:
            if report is not None:
                reading.moved_at = self._used_at
            if isinstance(report, End):
                self._miss(partition, ledger, sweep.reach(report.offset))
                self._check_length(partition, reading, f"ends at {report.offset}")
            elif isinstance(report, Lost):
                self._lose(reader, partition, reading, report.offset)
        if sweep.is_done or not is_open:
            now = monotonic()
            self._lead, self._lead_at = lead_after(now - reading.begun_at, self._lead, now - self._lead_at), now
            self._end(partition)
        elif sweep.should_jump:
            reader.begin(partition, sweep.jump())

    def _lose(self, reader: Reader, partition: Partition, reading: _Reading, offset: int) -> None:
        """Continues at `offset`, where the log begins now."""
        ledger, sweep = reading.ledger, reading.sweep
        if sweep.reach(offset):
            missed = self._desk.set_aside.miss(ledger, (), offset)
            self._report_missed(partition, missed, offset)
            if not sweep.is_done:
                reader.begin(partition, sweep.jump())
        else:  # the wanted offsets are out of range, but not below the start: they are above the end
            self._check_length(partition, reading, f"begins at {offset}")

    def _check_length(self, partition: Partition, reading: _Reading, where: str) -> None:
        """Gives up wanted offsets if the log has ended below them for long: an unclean election has lost them.

        Raises:
            BrokerError: the log ends below a wanted offset, but not for long yet.
        """
        sweep, now = reading.sweep, self._used_at
        if sweep.is_done:
            return
        short = self._short.get(partition)
        if short is None or short.ledger is not reading.ledger or now - short.seen_at > SHORT_SECONDS:
            short = self._short[partition] = _Short(reading.ledger, now, now)
        short.seen_at = now
        if now - short.since < GONE_SECONDS:
            raise BrokerError(f"{partition} has no offset {sweep.next_wanted}, which was set aside: its log {where}")
        self._miss(partition, reading.ledger, sweep.reach(sweep.last_wanted + 1))

    def _miss(self, partition: Partition, ledger: Ledger, offsets: Sequence[int]) -> None:
        if offsets:
            missed = self._desk.set_aside.miss(ledger, offsets)
            self._report_missed(partition, missed, offsets[-1] + 1)

    def _report_missed(self, partition: Partition, missed: Sequence[int], next_offset: int) -> None:
        if missed:
            self._emit(missed_event(partition, _ranges(missed), next_offset))

    def _check_for_stalls(self) -> None:
        """Holds back stalled partitions: a client may wait without an error, such as for a topic that was deleted."""
        for partition, reading in list(self._readings.items()):
            if reading.again_at is None and self._used_at - reading.moved_at > STALL_SECONDS:
                wanted = reading.sweep.next_wanted
                self._hold_back(partition, reading, f"no record of {partition} was delivered, from {wanted} on")

    def _hold_back(self, partition: Partition, reading: _Reading, error: str) -> None:
        """Begins the partition again after a pause; with another client, unless this one reads other partitions."""
        self._failures.report(partition, error)
        reading.again_at = monotonic() + AGAIN_SECONDS
        if self._reader is not None:
            with suppress(Exception):
                self._reader.end(partition)
        if all(each.again_at is not None for each in self._readings.values()):
            self._abandon_reader()

    def _fail(self, error: Exception) -> None:
        """Closes the client and waits. Another client then begins the unfinished readings again."""
        self._failures.report(None, str(error))
        self._abandon_reader()
        self._closing.wait(AGAIN_SECONDS)

    def _end(self, partition: Partition) -> None:
        """Ends the pass over the partition."""
        reading = self._readings.pop(partition)
        if self._reader is not None and reading.again_at is None:
            self._reader.end(partition)

    def _abandon_reader(self) -> None:
        """Closes the client, and ignores an error of that: it must not end the thread that all set-aside tasks need."""
        with suppress(Exception):
            self._close_reader()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _runs(records: Sequence[Record]) -> Iterator[tuple[Partition, list[Record]]]:
    """Yield each run of consecutive records of one partition."""
    for partition, run in groupby(records, lambda record: Partition(record.topic(), record.partition())):
        yield partition, list(run)


def _ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending offsets as ranges of consecutive ones."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges

"""`Recall`: reads set-aside tasks again, in a separate thread that starts when it is first needed.

The longer a pass over a partition's log takes, the longer before its time a delayed task is read again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from time import monotonic
from typing import NamedTuple

from processor.engine.delays import LEAD_SECONDS, lead_after
from processor.engine.ledger import Ledger
from processor.engine.stock import Usage
from processor.engine.sweep import Sweep
from processor.errors import BrokerError
from processor.runtime.desk import Desk
from processor.runtime.ports import End, Lost, Partition, Reader, Record, Source
from processor.runtime.resets import missed_event
from processor.settings import Settings
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.events import ConsumerRecallFailed, Emit

TAKE = 1000
"""The most records that one call of the client returns."""

TAKE_SECONDS = 0.05
"""The longest wait for a record. A session that runs low meanwhile is noticed that late."""

LOOK_SECONDS = 0.05
"""How often the thread looks for a session that ran out of tasks while no worker came for more."""

IDLE_SECONDS = 10.0
"""The client is closed after so long without anything to read."""

AGAIN_SECONDS = 1.0
"""The pause after a failure, before a new client tries again."""

JOIN_SECONDS = 2.0
"""How long `close` waits for the end of the thread."""


class _Reading(NamedTuple):
    """What is being read of one partition."""

    ledger: Ledger
    sweep: Sweep
    begun_at: float
    """In seconds of the monotonic clock."""


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
        """When that was found, in seconds of the monotonic clock."""
        self._readings: dict[Partition, _Reading] = {}
        self._failures = Repeats(LOG_AGAIN_SECONDS)

    def start(self) -> None:
        """Starts the thread unless it runs. Called when tasks were set aside."""
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
            self._thread.start()
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
        asked, now = self._desk.set_aside.ask(self._limits, self._lead), monotonic()
        self._readings.update((each.partition, _Reading(each.ledger, Sweep(each.offsets), now)) for each in asked)
        if self._reader is not None:
            self._begin(self._reader, [each.partition for each in asked])
        if self._readings:
            self._read()
        elif self._reader is not None and monotonic() - self._used_at > IDLE_SECONDS:
            self._close_reader()

    def _begin(self, reader: Reader, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            reader.begin(partition, self._readings[partition].sweep.jump())

    def _read(self) -> None:
        if self._reader is None:
            self._reader = self._source.open_reader()
            self._begin(self._reader, self._readings)
        records = self._reader.take(TAKE, TAKE_SECONDS)
        self._used_at = monotonic()
        self._desk.counts.records_read_again += len(records)
        for partition, run in _runs(records):
            if partition in self._readings:
                self._receive(self._reader, partition, self._readings[partition], run)
        if records:
            self._failures.forget()

    def _receive(self, reader: Reader, partition: Partition, reading: _Reading, run: Sequence[Record]) -> None:
        ledger, sweep, begun_at = reading
        found, missed = sweep.take(record for record in run if record.error() is None)
        is_open = self._desk.set_aside.read_again(ledger, found)
        self._desk.counts.tasks_read_again += len(found) if is_open else 0
        self._miss(partition, ledger, missed)
        for report in [reader.interpret(record) for record in run if record.error() is not None]:
            if isinstance(report, End):
                self._miss(partition, ledger, sweep.reach(report.offset))
            elif isinstance(report, Lost):
                self._lose(partition, reading, report.offset)
        if sweep.is_done or not is_open:
            now = monotonic()
            self._lead, self._lead_at = lead_after(now - begun_at, self._lead, now - self._lead_at), now
            del self._readings[partition]
            reader.end(partition)
        elif sweep.should_jump:
            reader.begin(partition, sweep.jump())

    def _lose(self, partition: Partition, reading: _Reading, offset: int) -> None:
        """Goes on at `offset`, where the log begins now."""
        ledger, sweep, _ = reading
        if not sweep.reach(offset):
            raise BrokerError(f"{partition} cannot be read at {sweep.next_wanted}; its log begins at {offset}")
        missed = self._desk.set_aside.miss(ledger, (), offset)
        self._report_missed(partition, missed, offset)
        if not sweep.is_done and self._reader is not None:
            self._reader.begin(partition, sweep.jump())

    def _miss(self, partition: Partition, ledger: Ledger, offsets: Sequence[int]) -> None:
        if offsets:
            missed = self._desk.set_aside.miss(ledger, offsets)
            self._report_missed(partition, missed, offsets[-1] + 1)

    def _report_missed(self, partition: Partition, missed: Sequence[int], next_offset: int) -> None:
        if missed:
            self._emit(missed_event(partition, _ranges(missed), next_offset))

    def _fail(self, error: Exception) -> None:
        """Closes the client and waits. Another client then begins the unfinished readings again."""
        if self._failures.is_due(str(error), monotonic()):
            self._emit(ConsumerRecallFailed(error=str(error), set_aside=self._desk.set_aside.tasks))
        self._abandon_reader()
        self._closing.wait(AGAIN_SECONDS)

    def _abandon_reader(self) -> None:
        """Closes the client, if it can be closed. Without this thread, nothing that is set aside would ever run."""
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

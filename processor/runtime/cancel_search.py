"""`CancelSearch`: finds cancelled tasks among those that are set aside because of a delay, so that they settle at once.

Only the offsets of these tasks are kept. Without a search, a cancelled task would be found only when it is read again,
shortly before its time, and the cancellation may be over by then. So after a cancellation, a separate thread reads
their part of the log once, and has the cancelled tasks read again at once. A cancelled task behind another task of its
session that is not cancelled is due with that one: it settles when its session comes to it. A task that only waited
behind cancelled ones is due at its own time.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from time import monotonic, time

from processor.engine.delays import second_of
from processor.engine.due_offsets import Entry
from processor.engine.ledger import Ledger
from processor.engine.record import Record
from processor.engine.stretch import Stretch, merged
from processor.engine.sweep import JUMP
from processor.errors import ProcessorError
from processor.runtime.cancel_check import CancelCheck
from processor.runtime.desk import Delayed, Desk
from processor.runtime.log_pass import records_between
from processor.runtime.ports import Partition, Reader, Source
from processor.runtime.recall_failures import RecallFailures
from processor.telemetry.error_text import type_name
from processor.telemetry.events import Emit

AT_ONCE = 100_000
"""The most offsets that one pass over the log searches for: some megabytes."""

HASTENED = 8192
"""The most tasks whose due time is changed at once, under the lock: some milliseconds."""

REST = 4
"""A rest takes this many times as long as the work before it. Tasks may have to be decoded, so that a search takes at
most a fifth of a core."""

LOOK_SECONDS = 5.0
"""Time between two searches of newly set-aside tasks while a cancellation is in force: tasks are set aside unchecked if
their sessions have set-aside tasks already."""

AGAIN_SECONDS = 1.0
"""The pause after a failure."""

JOIN_SECONDS = 2.0
"""How long `close` waits for the end of the thread."""


class CancelSearch:
    """`start` is for the control topic's thread, `close` for the poller's."""

    def __init__(self, desk: Desk, source: Source, check: CancelCheck, emit: Emit) -> None:
        self._desk = desk
        self._source = source
        self._check = check
        self._failures = RecallFailures(desk, emit)
        """The failures by partition; the key None is for an internal error before any partition."""
        self._searched: dict[Ledger, int] = {}
        """For each ledger, the offset below which the set-aside tasks were searched for every current cancellation."""
        self._dues: dict[Ledger, dict[bytes, int]] = {}
        """For each session with cancelled tasks, the second in which its last task is due if these are left out."""
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._closing = threading.Event()

    def start(self) -> None:
        """Search all tasks that are set aside. To be called after a cancellation."""
        self._wanted.set()
        if self._thread is None and not self._closing.is_set():
            thread = threading.Thread(target=self._run, name="cancel-search", daemon=True)
            thread.start()  # if it raises, the next cancellation tries again
            self._thread = thread

    def close(self) -> None:
        """End the search and its thread."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        seconds = LOOK_SECONDS
        while not self._closing.is_set():
            self._wanted.wait(seconds if self._desk.cancelling.cancels.in_force else None)
            if self._wanted.is_set():
                self._wanted.clear()
                self._searched.clear()
                self._dues.clear()
            seconds = LOOK_SECONDS if self._search_all() else AGAIN_SECONDS

    def _search_all(self) -> bool:
        """Search what was not searched yet. Return whether that succeeded. Nothing it raises may end the thread."""
        try:
            failed = [each for each in self._unsearched() if not self._try(each)]
        except Exception as error:
            self._fail(None, f"{type_name(error)}: {error}")
            return False
        self._failures.forget(None)
        return not failed

    def _unsearched(self) -> list[Delayed]:
        """Return the partitions that have set-aside tasks which were not searched yet."""
        if not self._desk.cancelling.cancels.in_force or not self._desk.set_aside.tasks:
            self._searched.clear()  # a partition that was given up would stay in memory with all that waits in it
            self._dues.clear()
            return []
        delayed = self._desk.set_aside.delayed()
        self._searched = {each.ledger: self._searched.get(each.ledger, 0) for each in delayed}
        self._dues = {each.ledger: self._dues.get(each.ledger, {}) for each in delayed}
        return [each for each in delayed if each.end > self._searched[each.ledger]]

    def _try(self, delayed: Delayed) -> bool:
        """Search a partition. Return false if it must be searched again."""
        try:
            if delayed.ledger.may_begin and not self._closing.is_set():
                self._search(delayed)
        except ProcessorError as error:
            self._fail(delayed.partition, str(error))
            return False
        except Exception as error:  # an internal error would recur: the tasks settle when they are read again
            self._fail(delayed.partition, f"{type_name(error)}: {error}")
        else:
            self._failures.forget(delayed.partition)
        self._searched[delayed.ledger] = delayed.end
        return True

    def _search(self, delayed: Delayed) -> None:
        dues, now, begin = dict(self._dues[delayed.ledger]), second_of(time()), self._searched[delayed.ledger]
        with closing(self._source.open_reader()) as reader:
            keys, found = set[bytes](), list[Entry]()
            for record in self._records(reader, delayed, begin):
                if (key := record.key()) in dues:
                    found.append(self._entry(delayed.ledger, record, dues))
                elif self._check.covers(delayed.ledger, record):
                    if key is None:
                        found.append(Entry(record.offset(), now))
                    else:
                        keys.add(key)
            if keys:
                new = dict.fromkeys(keys, now)
                records = self._records(reader, delayed, 0)
                found += [self._entry(delayed.ledger, record, new) for record in records if record.key() in new]
                dues |= new
        self._dues[delayed.ledger] = dues
        found.sort()
        for first in range(0, len(found), HASTENED):
            self._desk.set_aside.hasten(delayed.ledger, found[first : first + HASTENED])

    def _entry(self, ledger: Ledger, record: Record, dues: dict[bytes, int]) -> Entry:
        """Return when the session's next task is due: never before the tasks in front of it, and not before its own
        time unless it is cancelled.
        """
        key = record.key()
        assert key is not None
        if not self._check.covers(ledger, record):
            dues[key] = max(dues[key], second_of(ledger.terms_of(record).due))
        return Entry(record.offset(), dues[key])

    def _records(self, reader: Reader, delayed: Delayed, begin: int) -> Iterator[Record]:
        """Yield the records of the tasks from an offset on, ascending, with rests between them.

        It stops early when closing, and once the partition is revoked or lost: its next consumer searches by itself.
        """

        def is_over() -> bool:
            return self._closing.is_set() or not delayed.ledger.may_begin

        stretches = [Stretch(each, bisect_left(each, begin, start, end), end) for each, start, end in delayed.stretches]
        for offsets in _spans(merged(stretches)):
            if is_over():
                return
            wanted, began = frozenset(offsets), monotonic()
            for records in records_between(reader, delayed.partition, offsets[0], offsets[-1] + 1, is_over):
                self._desk.set_aside.note_read(len(records))
                yield from (record for record in records if record.offset() in wanted)
                self._closing.wait(REST * (monotonic() - began))
                began = monotonic()

    def _fail(self, partition: Partition | None, error: str) -> None:
        self._failures.report(partition, f"cancelled tasks cannot be looked up: {error}")


def _spans(parts: Iterable[Sequence[int]]) -> Iterator[list[int]]:
    """Yield ascending offsets in spans that are worth one pass each."""
    span = list[int]()
    for part in parts:
        if span and (part[0] - span[-1] > JUMP or len(span) >= AT_ONCE):
            yield span
            span = []
        span += part
    if span:
        yield span

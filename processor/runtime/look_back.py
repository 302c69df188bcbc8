"""`LookBack`: finds out which joins were complete before their partition came to this consumer.

With at-least-once, a task that ran twice sends twice what follows from it, and the second copy of a branch may arrive
long after the join is complete. A consumer remembers the joins that it has seen complete. The consumer that gets the
partition then does not: such an arrival would wait, alone, until the join expires. But the marker of the join is in the
log, settled: behind the record by which the group began, in the same partition, and before the arrival. So that part of
the log is read once more, for joins that began before the partition was assigned.

Where very many groups wait, some of them may have their first arrival in every second for hours. So one pass looks up
all that have come to it meanwhile, and a pass is followed by a rest.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from queue import Empty, SimpleQueue
from time import monotonic

from processor.engine.joins import Doubtful, Identity
from processor.engine.record import Record
from processor.handlers.joins import Joined, read_arrival
from processor.handlers.links import JOINED
from processor.handlers.task import InvalidHeader
from processor.runtime.desk import Desk
from processor.runtime.ports import End, Lost, Partition, Source

LOOK_AFTER_SECONDS = 5.0
"""A join that waits for so long is looked up. Most are complete before."""

TICK_SECONDS = 1.0

MOST_OFFSETS = 1_000_000
"""Of a partition that are read, the latest ones: some seconds of a core."""

TAKE = 1000
"""Records asked for at once."""

TAKE_SECONDS = 0.1
"""The longest wait for a record."""

REST = 9
"""A rest takes so many times as long as the pass before it: passes take a tenth of a core at most."""

AGAIN_SECONDS = 1.0
"""After a failure it is tried again. What keeps this client from reading is logged by the others."""

JOIN_SECONDS = 2.0
"""How long the end of the thread is waited for."""

Task = tuple[Partition, Sequence[Doubtful]]


class LookBack:
    """`tick` and `close` are for the poller's thread. A separate thread starts with the first such join."""

    def __init__(self, desk: Desk, source: Source) -> None:
        self._arrivals = desk.arrivals
        self._source = source
        self._next = 0.0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()

    def tick(self, now: float) -> None:
        """Has joins looked up that have waited for a while."""
        if not self._arrivals.has_any or now < self._next:
            return
        self._next = now + TICK_SECONDS
        for task in self._arrivals.doubtful(now - LOOK_AFTER_SECONDS):
            self._tasks.put(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="look-back", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Looks nothing up any more."""
        self._closing.set()
        self._tasks.put(None)
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set() and (task := self._tasks.get()) is not None:
            for each in self._together(task):
                began = monotonic()
                try:
                    self._look_up(*each)
                except Exception:
                    self._tasks.put(each)
                    self._closing.wait(AGAIN_SECONDS)
                else:
                    self._closing.wait(REST * (monotonic() - began))

    def _together(self, task: Task) -> list[Task]:
        """Return this task and all others that have come, those of a partition as one."""
        joins: dict[Partition, list[Doubtful]] = {}
        next_task: Task | None = task
        while next_task is not None:
            joins.setdefault(next_task[0], []).extend(next_task[1])
            try:
                next_task = self._tasks.get_nowait()
            except Empty:
                break
        return list(joins.items())

    def _look_up(self, partition: Partition, joins: Sequence[Doubtful]) -> None:
        end = max(join.arrived for join in joins)
        begin = max(min(join.begun for join in joins), end - MOST_OFFSETS)
        complete = self._complete_between(partition, begin, end) & {join.identity for join in joins}
        if complete:
            self._arrivals.settle_complete(partition, complete)

    def _complete_between(self, partition: Partition, offset: int, end: int) -> set[Identity]:
        """Return the joins of which the log has a marker from `offset` on, below `end`."""
        found = set[Identity]()
        with closing(self._source.open_reader()) as reader:
            reader.begin(partition, offset)
            while offset < end and not self._closing.is_set():
                for record in reader.take(TAKE, TAKE_SECONDS):
                    if record.error() is None:
                        offset = record.offset() + 1
                        found.update(_completed_by(record))
                        continue
                    match reader.interpret(record):
                        case End(_, reached):
                            offset = max(offset, reached)
                        case Lost(_, start):
                            offset = max(offset, start)
                            reader.begin(partition, offset)
        return found


def _completed_by(record: Record) -> set[Identity]:
    """Return the join that a record says to be complete, if it is a marker."""
    if not any(name == JOINED for name, _ in record.headers() or ()):
        return set()
    try:
        marker = read_arrival(record)
    except InvalidHeader:
        return set()
    return {(marker.id, marker.run)} if isinstance(marker, Joined) else set()

"""`LookBack`: finds out which joins were complete before their partition came to this consumer.

With at-least-once, a task that ran twice sends its follow-up records twice, and the second copy of a branch may arrive
long after the join is complete. A consumer remembers the joins that it has seen complete. The consumer that gets the
partition next does not: there, such an arrival would wait alone until the join expires. But the settled marker of the
join is in the log: in the same partition, behind the record by which the group began, and before the arrival. So that
part of the log is read once more, for joins that began before the partition was assigned.

With very many waiting groups, joins may have their first arrivals in every second for hours. So one pass looks up all
joins that have come meanwhile, and a rest follows each pass.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from queue import Empty, SimpleQueue
from time import monotonic

from processor.engine.joins import Doubtful, Identity
from processor.engine.record import Record
from processor.errors import ProcessorError
from processor.handlers.exceptions import InvalidHeader
from processor.handlers.joins import Joined, read_arrival
from processor.handlers.links import JOINED
from processor.runtime.desk import Desk
from processor.runtime.log_pass import records_between
from processor.runtime.ports import Partition, Source
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, RepeatsByKey
from processor.telemetry.error_text import type_name
from processor.telemetry.events import ConsumerLookBackFailed, Emit

LOOK_AFTER_SECONDS = 5.0
"""A join is looked up once it has waited this long. Most joins are complete before."""

TICK_SECONDS = 1.0

MOST_OFFSETS = 1_000_000
"""The most offsets of a partition that one pass reads, the latest ones: some seconds of a core."""

REST = 9
"""A rest takes this many times as long as the pass before it, so that passes take at most a tenth of a core."""

AGAIN_SECONDS = 1.0
"""The pause after a failure."""

JOIN_SECONDS = 2.0
"""How long `close` waits for the end of the thread."""

Task = tuple[Partition, Sequence[Doubtful]]


class LookBack:
    """`tick` and `close` are for the poller's thread. The first join to look up starts a separate thread."""

    def __init__(self, desk: Desk, source: Source, emit: Emit) -> None:
        self._arrivals = desk.arrivals
        self._source = source
        self._emit = emit
        self._failures: RepeatsByKey[Partition] = RepeatsByKey(LOG_AGAIN_SECONDS)
        self._next = 0.0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()

    def tick(self, now: float) -> None:
        """Passes joins that have waited for a while to the thread that looks them up."""
        if not self._arrivals.has_any or now < self._next:
            return
        self._next = now + TICK_SECONDS
        for task in self._arrivals.doubtful(now - LOOK_AFTER_SECONDS):
            self._tasks.put(task)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="look-back", daemon=True)
                thread.start()  # if it raises, `close` must not join a thread
                self._thread = thread

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._tasks.put(None)
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set() and (task := self._tasks.get()) is not None:
            for partition, joins in self._together(task):
                began = monotonic()
                try:
                    self._look_up(partition, joins)
                except Exception as error:
                    self._fail(partition, joins, error)
                    self._closing.wait(AGAIN_SECONDS)
                else:
                    self._failures.forget(partition)
                    self._closing.wait(REST * (monotonic() - began))

    def _fail(self, partition: Partition, joins: Sequence[Doubtful], error: Exception) -> None:
        """Has joins that still wait looked up again, but not after an internal error, which would recur."""
        is_ours = not isinstance(error, ProcessorError)
        retries = not is_ours and self._arrivals.are_open(partition, [join.identity for join in joins])
        text = f"{type_name(error)}: {error}" if is_ours else str(error)
        if self._failures.is_due(partition, text, monotonic()):
            self._emit(
                ConsumerLookBackFailed(
                    topic=partition.topic, partition=partition.number, error=text, joins=len(joins), retries=retries
                )
            )
        if retries:
            self._tasks.put((partition, joins))

    def _together(self, task: Task) -> list[Task]:
        """Return this task and all others in the queue, merged by partition."""
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
        """Return the joins whose markers are in the log from `offset` on, below `end`.

        Raises:
            BrokerError: the log ends below `end`, or nothing is delivered.
            ProcessorError: the client cannot read.
        """
        found = set[Identity]()
        with closing(self._source.open_reader()) as reader:
            for records in records_between(reader, partition, offset, end, self._closing.is_set):
                for record in records:
                    found.update(_completed_by(record))
        return found


def _completed_by(record: Record) -> set[Identity]:
    """Return the join that a record marks as complete; an empty set if the record is not a marker."""
    if not any(name == JOINED for name, _ in record.headers() or ()):
        return set()
    try:
        marker = read_arrival(record)
    except InvalidHeader:
        return set()
    return {(marker.id, marker.run)} if isinstance(marker, Joined) else set()

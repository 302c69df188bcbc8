"""Where lanes are lent and brought back: everything that threads share, under one lock that only this module takes.

Under the lock nothing is called that blocks, logs or does I/O. It is taken once a batch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import inf
from time import monotonic, time
from typing import NamedTuple, Protocol

from processor.engine.assignment import Asked, Assignment, AssignmentSnapshot
from processor.engine.cancels import Cancel, Cancels, CancelTarget
from processor.engine.durations import Durations
from processor.engine.gate import Change, Ending, Gate, GateSnapshot
from processor.engine.gatherer import Batch, BatchRule, Gatherer, Part, members
from processor.engine.isolation import Isolation, Stage
from processor.engine.joins import Due, Identity, KeptRecord, Marker, Standing
from processor.engine.lanes import Lane
from processor.engine.lease import Lease
from processor.engine.ledger import Ledger, LedgerState, Loan, Stamp
from processor.engine.offsets import Progress, Range
from processor.engine.outbox import Cut
from processor.engine.outcome import Cause, Deferred, Failed, Verdict
from processor.engine.pace import BATCH_SECONDS, Pace
from processor.engine.paused_lanes import PausedLanes, PausesSnapshot
from processor.engine.pauses import Pause, Pauses, Target
from processor.engine.retry import PAUSED, Setback
from processor.engine.stock import Usage
from processor.handlers.task import Task
from processor.handlers.terms import terms_of
from processor.runtime.cancelled import cancel_of, cancel_of_join, recall_joins
from processor.runtime.counts import Counts
from processor.runtime.expired_joins import next_expiry, refuse_expired
from processor.runtime.ports import End, Partition, Record
from processor.runtime.timers import Timers

STALE_BATCHES = 5
"""A batch that takes so many times as long as it was meant to was sized for faster tasks: the desk takes back what its
worker has not begun."""

STALE_SECONDS = STALE_BATCHES * BATCH_SECONDS
"""The earliest moment of that, after the batch was lent."""

PAUSES = 10
"""Pauses that one report names."""

BUSIEST = 5
"""Sessions that one report names."""


class Borrower(Protocol):
    """A worker thread, or the event loop.

    The borrower empties `batch` and fills `finished` without the lock: each step on a deque is atomic, and the side
    that pops a loan has it.
    """

    batch: deque[Loan]
    """Lent and not begun. The borrower takes from the left, the desk takes back from the right."""
    finished: deque[Loan]
    """Ended, all done or stopped in the middle, and not yet brought back."""
    slow: list[float]
    """Seconds of each attempt since the last visit that was not quick."""
    ended: int
    """Attempts since the last visit, quick ones too."""
    seconds: float
    """What they took together."""
    borrowed_at: float
    """When the batch was lent, in seconds of the monotonic clock; 0 while there is none."""
    batch_seconds: float
    """How long the batch was meant to take."""

    def current(self) -> Iterable[Loan]:
        """Return the loans that it has begun and not ended."""


class Invited(Borrower, Protocol):
    """A borrower that does not wait at the desk."""

    def invite(self) -> None:
        """Learns that lanes are ready. The desk calls it under its lock: it must not block, nor come back at once."""


class PartitionCut(NamedTuple):
    """What may be committed of one partition, read at one moment."""

    partition: Partition
    ledger: Ledger
    stamp: Stamp
    cut: Cut


class Waiting(NamedTuple):
    """The head of a lane that waits for something else than a worker."""

    ledger: Ledger
    lane: Lane
    record: Record


class Report(NamedTuple):
    """What one report says of the tasks, read at one moment."""

    assignment: AssignmentSnapshot[Partition]
    counts: Mapping[str, int | float]
    """Totals of tasks since the start, and `handler_seconds`."""
    durations: Durations
    longest_seconds: float
    gates: Sequence[GateSnapshot]
    pauses: PausesSnapshot


REPORTED = (
    "suspensions",
    "succeeded",
    "failed_attempts",
    "retried",
    "timed_out",
    "stuck",
    "dead_lettered",
    "expired",
    "cancelled",
    "results",
    "skipped",
    "settled",
)


class Desk:
    """The lending desk of one consumer."""

    def __init__(self, lease: Lease, timers: Timers, *, stages: bool = False) -> None:
        """`stages` is whether outputs wait in outboxes, to be committed together with offsets."""
        self.lease = lease
        """Once it is over the desk lends nothing, and borrowers begin nothing of what they have."""
        self.counts = Counts()
        self.pauses = Pauses()
        """Changed under the lock."""
        self._paused = PausedLanes(self.pauses, self._place_of)
        self.cancels = Cancels()
        """Changed under the lock."""
        self._unexamined: dict[Lane, Ledger] = {}
        """Lanes that have begun to wait while anything is cancelled, or waited when it was."""
        self.pace = Pace()
        self._timers = timers
        self._stages = stages
        self._lock = threading.Lock()
        self._assignment: Assignment[Partition] = Assignment(terms_of)
        self._gatherer = Gatherer()
        self._isolation: Isolation[Partition] = Isolation()
        self._borrowers: list[Borrower] = []
        self._invited: Invited | None = None
        self._most_borrowers: float = inf
        self._ready = threading.Condition(self._lock)
        self._space = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._space_level = -1
        self._draining = 0
        self._awake = 0
        self._away = 0
        self._closed = False
        self._has_turned_away = False
        self._watched_delay: float | None = None
        """The time of a task for which the watchdog will wake, in seconds since the epoch."""
        self._gates: Sequence[Gate[Ledger, Lane]] = ()
        self._gates_due = inf
        """When the watchdog looks after them next."""
        self.runs_low = threading.Event()
        """Set when a session is about to run out of tasks while others of it are set aside."""
        self.has_joins = False
        """Whether anything has waited for other branches of its group so far."""
        self.is_draining = False
        """Whether the consumer is leaving: nothing more is admitted or begun, and each partition drains."""

    def guard(self, gates: Iterable[Gate[Ledger, Lane]]) -> None:
        """Looks after these gates from now on. For the start."""
        self._gates = list(gates)

    # --- read without the lock, so only of about now --------------------------------------------------

    @property
    def partitions(self) -> list[Partition]:
        """The assigned partitions. For the poller's thread, which alone changes them."""
        return list(self._assignment.ledgers)

    @property
    def assigned(self) -> int:
        """How many partitions are assigned."""
        return len(self._assignment.ledgers)

    @property
    def in_flight(self) -> int:
        """Tasks that are held and not settled."""
        return self._assignment.in_flight

    @property
    def waiting(self) -> int:
        """Tasks that are held and not lent."""
        return self._assignment.waiting

    @property
    def running(self) -> int:
        """Lanes that are lent."""
        return self._assignment.lent_loans

    @property
    def idle(self) -> bool:
        """Whether nothing is ready for a worker."""
        return not self._assignment.ready_lanes

    @property
    def ready(self) -> int:
        """Sessions and batches that wait for a worker."""
        return self._assignment.ready_lanes + len(self._gatherer.ready)

    @property
    def awake(self) -> int:
        """Worker threads that do not wait for work."""
        return self._awake

    @property
    def attempts(self) -> int:
        """Attempts that have ended, as far as their workers have been here since."""
        return sum(self.counts.durations.counts)

    @property
    def suspended(self) -> list[str]:
        """The handlers that are suspended."""
        return [gate.name for gate in self._gates if gate.is_suspended]

    def usage(self) -> dict[Partition, Usage]:
        """Return what is held of each assigned partition. For the poller's thread."""
        ledgers = self._assignment.ledgers
        if self._stages or self.has_joins:
            return {p: _usage_beside_kept(ledger) for p, ledger in ledgers.items()}
        return {p: Usage(len(ledger.offsets), ledger.offsets.bytes) for p, ledger in ledgers.items()}

    def delayed_usage(self) -> dict[Partition, Usage]:
        """Return what of that waits for its time, where something does. For the poller's thread."""
        ledgers = self._assignment.ledgers
        return {p: ledger.delayed_usage for p, ledger in ledgers.items() if ledger.delayed_usage.tasks}

    def holds(self, partition: Partition) -> bool:
        """Return whether the partition is assigned."""
        return partition in self._assignment.ledgers

    def position(self, partition: Partition) -> int | None:
        """Return the offset after the last delivered one of an assigned partition; None before the first."""
        return self._assignment.ledgers[partition].offsets.position

    def continues_at(self, partition: Partition, offset: int) -> bool:
        """Return whether `offset` may be delivered next of an assigned partition: offsets only go up."""
        return self._assignment.ledgers[partition].continues_at(offset)

    # --- the poller's thread: partitions ---------------------------------------------------------------

    def assign(self, partition: Partition, committed: int | None, settled: Sequence[Range]) -> None:
        """The partition is this consumer's, and goes on at `committed`; `settled` is what is done above that."""
        with self._lock:
            if self.holds(partition):
                self._forget_waiting(partition)
            self._assignment.assign(partition, committed, settled)
            if self.is_draining:
                self._assignment.drain(partition)

    def restart(self, partition: Partition, offset: int) -> int:
        """The partition's offsets went back: forgets what it holds, goes on at `offset`. Return the tasks forgotten."""
        with self._lock:
            forgotten = self._close([partition])
            self._assignment.assign(partition, offset)
            return forgotten

    def reach(self, ends: Iterable[End]) -> None:
        """Nothing more will be delivered below these ends."""
        with self._lock:
            for end in ends:
                ledger = self._assignment.ledgers.get(end.partition)
                if ledger is not None:
                    ledger.offsets.reach(end.offset)

    def miss(self, partition: Partition, offset: int) -> list[Range]:
        """What lies below `offset` is gone. Return what of it was neither delivered nor settled before."""
        with self._lock:
            offsets = self._assignment.ledgers[partition].offsets
            missed = offsets.undelivered_below(offset)
            offsets.reach(offset)
            self.counts.missed_offsets += sum(high - low for low, high in missed)
            return missed

    def drain_all(self) -> None:
        """The consumer is leaving: begins no task any more, whatever is assigned yet."""
        self.is_draining = True
        self.drain(self.partitions)

    def drain(self, partitions: Iterable[Partition]) -> None:
        """Begins no task of these partitions any more."""
        with self._lock:
            for partition in partitions:
                self._assignment.drain(partition)
                self._forget_waiting(partition)
            for borrower in self._borrowers:
                self._take_back(borrower, lambda loan: not loan.ledger.may_begin)
            self._ungather(lambda loan: not loan.ledger.may_begin)

    def wait_drained(self, partitions: Sequence[Partition], seconds: float) -> bool:
        """Waits for what runs of these partitions to end and settle. Return whether it did."""
        with self._lock:
            self._draining += 1
            try:
                return self._drained.wait_for(lambda: not self._lent_of(partitions), seconds)
            finally:
                self._draining -= 1

    def lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        """Return the loans of these partitions that are not over."""
        with self._lock:
            return self._lent_of(partitions)

    def forget(self, partitions: Sequence[Partition]) -> int:
        """These partitions are another consumer's. Return how many waiting tasks that forgets."""
        with self._lock:
            return self._close(partitions)

    # --- the poller's thread: tasks --------------------------------------------------------------------

    def admit(self, runs: Iterable[tuple[Partition, Sequence[Record]]]) -> None:
        """Takes records in, each run being of one assigned partition, and wakes the workers that are worth waking."""
        now = monotonic()
        with self._lock:
            for partition, records in runs:
                self._assignment.admit(partition, records, now)
            self._wake_borrowers()

    def go_on(self) -> None:
        """The lease holds: borrowers that came while it did not may come again."""
        if self._has_turned_away:
            with self._lock:
                self._has_turned_away = False
                self._wake_borrowers()

    def rest(self, seconds: float) -> None:
        """Waits that long, or until a quarter of what is in flight now is settled."""
        with self._lock:
            self._space_level = self._assignment.in_flight * 3 // 4
            self._space.wait(seconds)
            self._space_level = -1

    def progress(
        self, partitions: Iterable[Partition] | None, known: Mapping[Partition, Stamp]
    ) -> list[tuple[Partition, Stamp, Progress]]:
        """Settle what is done, of running batches too, and return what may be committed, offset and map in one moment.

        Args:
            partitions: which; None is all that are assigned.
            known: left out is each partition whose stamp is still this one.
        """
        changed = []
        with self._lock:
            self._collect_all()
            ledgers = self._assignment.ledgers
            for partition in ledgers if partitions is None else partitions:
                ledger = ledgers.get(partition)
                if ledger is None or known.get(partition) == (stamp := ledger.stamp):
                    continue
                progress = ledger.progress()
                if progress is not None:
                    changed.append((partition, stamp, progress))
        return changed

    def cut(self, partitions: Iterable[Partition] | None, known: Mapping[Partition, Stamp]) -> list[PartitionCut]:
        """The same with the outboxes: progress and outputs of all partitions, in one moment.

        A partition whose outbox holds anything is not left out.
        """
        cuts = []
        with self._lock:
            self._collect_all()
            now, ledgers = monotonic(), self._assignment.ledgers
            for partition in ledgers if partitions is None else partitions:
                ledger = ledgers.get(partition)
                if ledger is None or (known.get(partition) == (stamp := ledger.stamp) and not ledger.outbox):
                    continue
                cut = ledger.cut(now)
                if cut is not None:
                    cuts.append(PartitionCut(partition, ledger, stamp, cut))
        return cuts

    def committed(self, ledger: Ledger, offsets: Iterable[int]) -> list[object]:
        """A committed transaction holds the outputs of these tasks. Return them."""
        with self._lock:
            return ledger.committed(offsets)

    def refuse(self, ledger: Ledger, offset: int, due: float) -> None:
        """A topic does not accept this task's output. It is withheld until `due`."""
        with self._lock:
            ledger.outbox.refuse(offset, due)

    @property
    def has_staged(self) -> bool:
        """Whether any outbox holds anything. For the poller's thread."""
        return any(ledger.outbox for ledger in self._assignment.ledgers.values())

    def commit_points(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Settle what is done, and return the commit points of those that are assigned and have one.

        Below its commit point a partition has no task that is unsettled, or whose output is not committed yet.
        """
        with self._lock:
            self._collect_all()
            ledgers = self._assignment.ledgers
            points = {p: ledgers[p].secured_point for p in partitions if p in ledgers}
        return {partition: point for partition, point in points.items() if point is not None}

    def unkept_points(self, partitions: Iterable[Partition], epoch: float) -> dict[Partition, int]:
        """The same where arrivals do not count whose join does not expire before `epoch`."""
        if not self.has_joins:
            return self.commit_points(partitions)
        with self._lock:
            self._collect_all()
            ledgers = self._assignment.ledgers
            points = {p: ledgers[p].unkept_point(epoch) for p in partitions if p in ledgers}
        return {partition: point for partition, point in points.items() if point is not None}

    def markers(self) -> list[tuple[Partition, Identity, Marker]]:
        """Return the markers of joins that are complete."""
        with self._lock:
            return [
                (self._assignment.partition_of(ledger), identity, marker)
                for ledger, joins in self._assignment.joining()
                for identity, marker in joins.markers.items()
            ]

    def settle_markers(self, partition: Partition, ends: Mapping[Identity, int]) -> None:
        """No branch of these joins arrives again in a partition from these offsets on: settles their markers.

        But for those below whose offset something is not delivered yet, or whose arrivals wait in a lane.
        """
        with self._lock:
            ledger = self._assignment.ledgers.get(partition)
            if ledger is None or ledger.joins is None:
                return
            position, markers = ledger.offsets.position or 0, ledger.joins.markers
            over = [
                identity
                for identity, end in ends.items()
                if identity in markers and position >= end and not ledger.has_session(markers[identity].record.key())
            ]
            self._count(ledger.unmark(over))

    def report(self, now: float) -> Report:
        """Return this moment, all that is done being settled. The longest duration begins anew."""
        with self._lock:
            self._collect_all()
            counts = self.counts
            longest, counts.longest_seconds = counts.longest_seconds, 0.0
            return Report(
                self._assignment.snapshot(now, BUSIEST),
                {**{name: getattr(counts, name) for name in REPORTED}, "handler_seconds": counts.handler_seconds},
                counts.durations.copy(),
                longest,
                [gate.snapshot(now) for gate in self._gates],
                self._paused.snapshot(PAUSES),
            )

    def close(self) -> None:
        """Sends the borrowers home."""
        with self._lock:
            self._closed = True
            self._ready.notify_all()
        if self._invited:
            self._invited.invite()

    # --- what is set aside ----------------------------------------------------------------------------

    @property
    def set_aside(self) -> int:
        """Tasks of which only the offset is kept. Read without the lock, so only of about now."""
        return self._assignment.set_aside

    def set_aside_of(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of the partitions of which tasks are set aside. For the poller's thread."""
        if not self._assignment.has_set_aside:
            return []
        ledgers = self._assignment.ledgers
        overflows = [(p, ledgers[p].overflow) for p in partitions if p in ledgers]
        return [partition for partition, overflow in overflows if overflow is not None and overflow.tasks]

    def make_room(self, partitions: Iterable[Partition], limits: Usage, most: int) -> dict[Partition, int]:
        """Sets at most `most` tasks aside where their sessions fill one of these partitions. Return how many of each.

        `limits` are those of what may be in flight.
        """
        now, counts = monotonic(), dict[Partition, int]()
        with self._lock:
            for partition in partitions:
                count = self._assignment.make_room(partition, limits, most - sum(counts.values()), now)
                if count:
                    counts[partition] = count
        return counts

    def make_room_of_delayed(self, limits: Usage, most: int) -> dict[Partition, int]:
        """Sets at most `most` tasks aside whose time is far, where delayed tasks take much of what may be in flight.

        Return how many of each partition: none while any is to be looked at that may be cancelled.
        """
        with self._lock:
            if self._unexamined or self._assignment.newly_delayed:
                return {}
            return self._assignment.make_room_of_delayed(limits, most, time())

    def ask(self, limits: Usage, lead: float) -> list[Asked[Partition]]:
        """Return what is to be read again now; `lead` is how many seconds before its time a delayed task is."""
        with self._lock:
            self.runs_low.clear()
            self._assignment.lead = lead
            return self._assignment.ask(limits, time())

    def read_again(self, ledger: Ledger, records: Sequence[Record]) -> bool:
        """Takes in records that were asked for. Return whether more of the ledger may come."""
        with self._lock:
            is_open = self._assignment.read_again(ledger, records)
            self._wake_borrowers()
            return is_open

    def miss_again(self, ledger: Ledger, offsets: Iterable[int], below: int | None = None) -> list[int]:
        """These offsets, and all `below` one, have no record any more. Return those that were set aside."""
        with self._lock:
            missed = self._assignment.miss(ledger, offsets, below)
            self.counts.missed_offsets += len(missed)
            return missed

    # --- the borrowers' side -----------------------------------------------------------------------

    def enter(self, borrower: Borrower) -> None:
        """A borrower begins; until it waits it counts as awake."""
        with self._lock:
            self._borrowers.append(borrower)
            self._awake += 1

    def leave(self, borrower: Borrower) -> None:
        """A borrower that has entered could not begin."""
        with self._lock:
            self._leave(borrower)

    def limit_borrowers(self, most: int) -> Sequence[Borrower]:
        """Sends a borrower that comes back home while there are more than `most`. Return those that are here yet."""
        with self._lock:
            self._most_borrowers = most
            self._ready.notify_all()  # those that wait leave at once
            return list(self._borrowers)

    def enter_invited(self, borrower: Invited) -> None:
        """A borrower begins that comes when it is invited."""
        with self._lock:
            self._borrowers.append(borrower)
            self._invited = borrower

    def borrow(self, borrower: Borrower) -> bool:
        """Brings back what the borrower finished, and waits for its next batch. Return False if there will be none."""
        with self._lock:
            self._bring_back(borrower)
            while not self._closed:
                workers = len(self._borrowers)
                if workers > self._most_borrowers:
                    self._leave(borrower)
                    return False
                borrower.batch_seconds = self.pace.batch_seconds(self._assignment.waiting, workers)
                if self._lend(borrower, self.pace.batch_size(borrower.batch_seconds), workers):
                    return True
                self._awake -= 1
                if self._awake == 0:
                    self._away = 0
                self._ready.wait()
                self._awake += 1
            return False

    def exchange(self, borrower: Borrower, slots: int) -> bool:
        """The same without waiting, for at most `slots` tasks. Return False when the desk is closed."""
        with self._lock:
            self._bring_back(borrower)
            if slots > 0 and not self._closed:
                self._lend(borrower, slots)
            return not self._closed

    def recover(self, borrower: Borrower) -> None:
        """The borrower met an internal error: takes back all that it has, done or not."""
        with self._lock:
            self._collect(borrower)
            for lent in [*borrower.current(), *borrower.batch]:
                for loan in members(lent):
                    if loan in loan.ledger.lent:
                        self._count(self._assignment.release(loan))
                    for gate in self._gates:
                        gate.drop(loan.lane)
            borrower.batch.clear()
            self._wake_borrowers()

    # --- any thread: what became of a loan's next task ------------------------------------------------

    def park(self, loan: Loan, failed: Failed, due: float) -> None:
        """It failed; its session waits until `due`."""
        with self._lock:
            if failed.counts or failed.verdict is Verdict.OUTAGE:
                self._count_failure(loan, failed)
            self.counts.retried += 1
            self._park(loan, failed, due, attempted=failed.counts)

    def postpone(self, loan: Loan, deferred: Deferred, due: float) -> None:
        """It was not attempted; its session waits until `due`."""
        with self._lock:
            self._park(loan, deferred, due, attempted=False)

    def begin(self, gate: Gate[Ledger, Lane], loan: Loan) -> bool:
        """Return whether an attempt of it may begin; if not, `hold` follows."""
        with self._lock:
            may_begin = gate.begin(loan.ledger, loan.lane, monotonic())
            self._watch(gate)
            return may_begin

    def end(self, gate: Gate[Ledger, Lane], loan: Loan, ending: Ending, jitter: float) -> Change | None:
        """Its attempt has ended. Return what that changes for its handler."""
        with self._lock:
            now = monotonic()
            change = gate.end(loan.lane, ending, now, jitter)
            self.counts.suspensions += change is Change.SUSPENDED
            self._invite(gate, now)
            self._watch(gate)
            return change

    def drop(self, loan: Loan) -> None:
        """It comes to nothing without an attempt: if its session was invited by a gate, another one may come."""
        with self._lock:
            now = monotonic()
            self._drop(loan.lane, now)

    def hold_paused(self, loan: Loan, name: str) -> None:
        """Tasks of its name are paused: its session waits until they are resumed."""
        with self._lock:
            pause = self.pauses.of_name(name)
            if pause is None:
                self._count(self._assignment.release(loan))
            else:
                self._hold_paused(loan, pause, name)
            self._after_release(loan)

    def hold(self, gate: Gate[Ledger, Lane], loan: Loan, setback: Setback, failed: Failed | None) -> None:
        """It may not begin, or `failed` while nothing else may: its session waits until the gate lets it."""
        with self._lock:
            if failed is not None:
                self._count_failure(loan, failed)
                self.counts.retried += 1
            settled, may_begin = self._assignment.hold(loan, setback)
            self._count(settled)
            if may_begin:
                gate.wait(loan.ledger, loan.lane)
                self._note_waiting(loan.ledger, loan.lane)
            self._invite(gate, monotonic())  # there may be room since it was refused
            self._watch(gate)
            self._after_release(loan)

    def fail(self, loan: Loan, failed: Failed) -> None:
        """It failed for the last time; its dead letter is on its way."""
        with self._lock:
            self._count_failure(loan, failed)
            self._count(self._assignment.settle(loan))
            if loan.joined is not None and loan.ledger.joins is not None:
                loan.ledger.joins.fail(loan.joined)
            now = loan.handed_over_at = monotonic()
            loan.lane.setback = Setback(failed.error_type, failed.message, now, now)

    def hand_over(self, loan: Loan) -> None:
        """It succeeded; its result is on its way."""
        loan.handed_over_at = monotonic()
        if loan.done > loan.settled:
            with self._lock:
                self._count(self._assignment.settle(loan))

    def cancel(self, loan: Loan, failed: Failed) -> None:
        """It is settled without a dead letter, as it was cancelled; `failed` is how far it came."""
        with self._lock:
            self._count_failure(loan, failed)
            loan.ledger.cancelled += 1
            settled = self._settle_next(loan, release=True)
            self.counts.settled += settled
            self.counts.succeeded += settled - 1
            self._after_release(loan)

    def delay(self, loan: Loan, setback: Setback) -> None:
        """Its dead letter or result was not accepted; it is sent again."""
        with self._lock:
            loan.lane.setback = setback

    def settle_next(self, loan: Loan, *, dead_letter: bool = False, result: bool = False, release: bool = True) -> None:
        """It is settled: its dead letter or result is acknowledged, and what follows from it.

        Without `release` its lane stays lent for good. A loan that was attempted in a batch stays lent until all of its
        tasks are settled, or are to be tried again.
        """
        with self._lock:
            settled = self._settle_next(loan, release=release)
            self._count_output(loan, settled, dead_letter=dead_letter, result=result)
            self._after_release(loan)

    def stage(
        self, loan: Loan, output: object, size: int, *, dead_letter: bool, result: bool, release: bool = True
    ) -> None:
        """It is settled, and `output` waits in the outbox to be committed with it: one step. See `settle_next`.

        Args:
            loan: whose next task it is.
            output: what a committed transaction is to hold.
            size: of the output in memory, in bytes.
            dead_letter: whether it is a dead letter.
            result: whether it has a result.
            release: whether the lane goes on; else it stays lent for good.
        """
        with self._lock:
            is_last = loan.batch is None or loan.done + 1 == len(loan.records)
            loan.abandoned = is_last and not release
            settled = self._assignment.stage(loan, output, size, release=is_last and release)
            self._count_output(loan, settled, dead_letter=dead_letter, result=result)
            self._after_release(loan)

    def settle_others(self, loan: Loan, left: Sequence[int]) -> None:
        """Of a loan that was attempted in a batch, all but the tasks at these indices have succeeded."""
        with self._lock:
            self._count(self._assignment.settle_others(loan, left))
            self._notify_space()

    def park_all(self, loan: Loan, failures: Sequence[Failed], due: float) -> None:
        """All that is left of a loan failed in a batch; its session waits until `due`."""
        with self._lock:
            for failed in failures:
                if failed.counts or failed.verdict is Verdict.OUTAGE:
                    self._count_failure(loan, failed)
            self.counts.retried += len(failures)
            self._park(loan, failures[0], due, attempted=failures[0].counts)

    def arrive(self, loan: Loan, due: Due) -> Mapping[int, KeptRecord] | None:
        """It is an arrival at a join: keeps it. For the last one, return the others; its loan goes on."""
        with self._lock:
            self.has_joins = True
            if loan.ledger.state is LedgerState.CLOSED or self._has_cancelled_join(loan):
                self._count(self._assignment.release(loan))
                self._after_release(loan)
                return None
            standing, settled = self._assignment.arrive(loan, due, monotonic())
            self._count(settled)
            if standing is Standing.LAST:
                assert loan.ledger.joins is not None
                return dict(loan.ledger.joins.arrivals(due.identity))
            if due.expires != inf:
                self._timers.wake()
            self._after_release(loan)
            return None

    def mark(self, loan: Loan, identity: Identity, path: Mapping[str, Mapping[int, Sequence[int]]]) -> None:
        """It says that a join is complete: keeps it."""
        with self._lock:
            self.has_joins = True
            if loan.ledger.state is LedgerState.CLOSED:
                self._count(self._assignment.release(loan))
            else:
                self._count(self._assignment.mark(loan, identity, path, monotonic()))
            self._after_release(loan)

    def give_up(self, loan: Loan) -> None:
        """The loan is over; what it has not done waits in its lane, or is another consumer's."""
        with self._lock:
            self._count(self._assignment.release(loan))
            self._after_release(loan)

    # --- the control topic's thread ------------------------------------------------------------------

    def pause(self, target: Target, pause: Pause) -> bool:
        """Begins nothing of the target any more. Return whether it was not paused before."""
        with self._lock:
            if not self.pauses.begin(target, pause):
                return False
            self._recall(self._is_paused if target.kind != "name" else _any_loan)
            return True

    def resume(self, target: Target) -> bool:
        """Begins tasks of the target again, unless another pause covers them. Return whether it was paused."""
        with self._lock:
            if not self.pauses.end(target):
                return False
            for ledger, lane in self._paused.take_resumed(target):
                self._assignment.free(ledger, lane)
            self._wake_borrowers()
            return True

    def begin_cancel(self, target: CancelTarget, cancel: Cancel) -> bool:
        """Begins none of the target's tasks any more without a look at `cancels`. Return whether that is new."""
        with self._lock:
            if not self.cancels.begin(target, cancel):
                return False
            self._assignment.newly_delayed = []
            self._recall(lambda loan: self.cancels.may_cover(loan.lane.key))
            for ledger in self._assignment.ledgers.values():
                self._unexamined.update(dict.fromkeys(ledger.lanes.waiting_lanes(), ledger))
            if self.has_joins:
                recall_joins(self._assignment, self.cancels)
                self._wake_borrowers()
            self._timers.wake()
            return True

    def end_cancel(self, target: CancelTarget) -> bool:
        """Looks for the target's tasks no more. Return whether it was in force."""
        with self._lock:
            was_in_force = self.cancels.end(target)
            if not self.cancels.in_force:
                self._assignment.newly_delayed = None
                self._unexamined.clear()
            return was_in_force

    # --- what is cancelled while it waits ------------------------------------------------------------

    def unexamined(self, most: int) -> list[Waiting]:
        """Take at most `most` of the waiting lanes that may be cancelled and were not looked at. Return their heads."""
        waiting = list[Waiting]()
        with self._lock:
            if self._assignment.newly_delayed:
                self._unexamined.update((lane, ledger) for ledger, lane in self._assignment.newly_delayed)
                self._assignment.newly_delayed.clear()
            while self._unexamined and len(waiting) < most:
                lane = next(iter(self._unexamined))
                ledger = self._unexamined.pop(lane)
                if ledger.may_begin and ledger.lanes.waits(lane) and self.cancels.may_cover(lane.key):
                    waiting.append(Waiting(ledger, lane, lane.waiting[0]))
            if self._unexamined:
                self._timers.wake()
        return waiting

    def claim(self, waiting: Waiting) -> Loan | None:
        """Lend the head of a lane that waits, whatever it waits for; None where it waits no more, or has another head.

        The head is not to be attempted.
        """
        ledger, lane, record = waiting
        with self._lock:
            if not ledger.may_begin or not ledger.lanes.waits(lane) or lane.waiting[0] is not record:
                return None
            self._paused.drop(lane)
            for gate in self._gates:
                gate.withdraw(lane)
            return self._assignment.claim(ledger, lane)

    # --- after a process of the fleet has died -------------------------------------------------------

    def suspect(self, suspects: Iterable[tuple[Partition, int, int]]) -> None:
        """Runs these tasks alone from now on, and no others: partition, offset, and the deaths that count."""
        with self._lock:
            self._isolation.suspect(suspects)

    def acquit(self, partition: Partition, below: int) -> list[int]:
        """The group has committed that all below this offset is settled. Return the offsets that were suspects."""
        with self._lock:
            return self._isolation.acquit(partition, below)

    def deaths_of(self, partition: Partition, offset: int) -> int:
        """Return the deaths of processes that count against a task. It takes no lock."""
        return self._isolation.deaths_of(partition, offset)

    # --- the borrowers' side: batches --------------------------------------------------------------

    def gather(self, handler: Hashable, rule: BatchRule, part: Part, *, alone: bool) -> None:
        """The loan's next tasks wait for a batch of their handler; `alone` are the next ones of a task that failed.

        What follows them goes back to the lane.
        """
        loan, tasks = part.loan, part.tasks
        with self._lock:
            if not loan.ledger.may_begin or self._is_paused(loan) or self._has_cancelled(tasks):
                self._count(self._assignment.release(loan))
                self._after_release(loan)
                return
            now = monotonic()
            alone = alone or loan is self._isolation.loan
            count = 1 if alone else min(len(tasks), self._gatherer.room(handler, rule))
            part.ends = part.ends and count == len(tasks)
            del tasks[count:]
            self._count(self._assignment.narrow(loan, count))
            if alone:
                self._gatherer.add_alone(handler, rule, part, now)
            else:
                self._gatherer.add(handler, rule, part, now)
            self._wake_borrowers()

    def widen(self, batch: Batch) -> list[Part]:
        """Fills the room of a batch with what waits behind its own tasks. Return the parts that have got some."""
        widened = []
        with self._lock:
            for part in batch.parts:
                if part.waiting and batch.room > 0 and part.loan.ledger.may_begin:
                    self._assignment.widen(part.loan, batch.room)
                    batch.count()
                    widened.append(part)
        return widened

    def narrow(self, batch: Batch, part: Part) -> None:
        """What the loan has got beyond its tasks is not for its batch, and goes back to the lane."""
        with self._lock:
            self._count(self._assignment.narrow(part.loan, len(part.tasks)))
            batch.count()

    def reopen(self, batch: Batch) -> None:
        """The batch has room and is not due: it waits for more."""
        with self._lock:
            self._return(batch.remove(lambda loan: not loan.ledger.may_begin))
            if batch.parts:
                self._gatherer.reopen(batch)
                self._wake_borrowers()

    def restore(self, batch: Batch) -> None:
        """The batch may not be begun now."""
        with self._lock:
            self._return(batch.remove(lambda loan: not loan.ledger.may_begin))
            if batch.parts:
                self._gatherer.restore(batch)

    # --- the watchdog's side -----------------------------------------------------------------------

    def tend(self, now: float) -> float | None:
        """Wakes due retries and takes back what waits behind slow tasks. Return when the next retry is due.

        No borrower notices these: lanes that were lent behind a task that turned out slow, and ready lanes while every
        worker that is awake is on a task that turned out slow.
        """
        with self._lock:
            epoch = time()
            self._assignment.wake(now, epoch)
            if self.has_joins:
                refuse_expired(self._assignment, epoch)
            for gate in self._gates:
                self._invite(gate, now)
            stale = [
                b for b in self._borrowers if b.borrowed_at and now - b.borrowed_at > STALE_BATCHES * b.batch_seconds
            ]
            for borrower in stale:
                self._collect(borrower)
                self._take_back(borrower, lambda _: True)
            self._away = len(stale)
            self._gatherer.tend(now)
            self._wake_borrowers()
            return self._next_due(now, epoch)

    # --- under the lock ----------------------------------------------------------------------------

    def _invite(self, gate: Gate[Ledger, Lane], now: float) -> None:
        """Lets those that may begin go back to the queue for a worker."""
        for ledger, lane in (guests := gate.invite(now)):
            self._assignment.free(ledger, lane)
        if guests:
            self._wake_borrowers()

    def _watch(self, gate: Gate[Ledger, Lane]) -> None:
        """Has the watchdog come in time for what waits at the gate."""
        due = gate.due()
        if due is not None and due < self._gates_due:
            self._gates_due = due
            self._timers.wake()

    def _drop(self, lane: Lane, now: float) -> None:
        for gate in self._gates:
            gate.drop(lane)
            self._invite(gate, now)
            self._watch(gate)

    def _recall(self, wanted: Callable[[Loan], bool]) -> None:
        """Takes back what is lent of the `wanted` loans and was not begun."""
        for borrower in self._borrowers:
            self._take_back(borrower, wanted)
        self._ungather(wanted)
        for ledger in self._assignment.ledgers.values():
            for loan in ledger.lent:
                if loan.batch is None and wanted(loan):
                    self._assignment.cut_short(loan)
        self._wake_borrowers()

    def _has_cancelled(self, tasks: Iterable[Task]) -> bool:
        return bool(self.cancels.in_force) and any(cancel_of(self.cancels, task) is not None for task in tasks)

    def _has_cancelled_join(self, loan: Loan) -> bool:
        """Return whether the loan's next record is an arrival that was cancelled after a worker had looked at it."""
        return bool(self.cancels.in_force) and cancel_of_join(self.cancels, loan.records[loan.done]) is not None

    def _note_waiting(self, ledger: Ledger, lane: Lane) -> None:
        """A lane begins to wait: if its head was cancelled meanwhile, no worker looks at it."""
        if self.cancels.in_force:
            self._unexamined[lane] = ledger
            self._timers.wake()

    def _is_paused(self, loan: Loan) -> bool:
        return bool(self.pauses.in_force) and self._paused.pause_of(loan.ledger, loan.lane) is not None

    def _place_of(self, ledger: Ledger) -> str:
        partition = self._assignment.partition_of(ledger)
        return f"{partition.topic}:{partition.number}"

    def _hold_paused(self, loan: Loan, pause: Pause, name: str | None) -> None:
        now = monotonic()
        self._drop(loan.lane, now)
        settled, may_begin = self._assignment.hold(loan, Setback(PAUSED, f"paused by {pause.by}", now, now))
        self._count(settled)
        if may_begin:
            self._paused.hold(loan.ledger, loan.lane, name)
            self._note_waiting(loan.ledger, loan.lane)

    def _lend_unpaused(self, limit: int, workers: int | None, epoch: float) -> list[Loan]:
        """Lends until something is not paused; what is paused waits."""
        while loans := self._assignment.lend(limit, workers, epoch):
            free = list[Loan]()
            for loan in loans:
                pause = self._paused.pause_of(loan.ledger, loan.lane)
                if pause is None:
                    free.append(loan)
                else:
                    self._hold_paused(loan, pause, None)
            if free:
                return free
        return []

    def _is_quiet(self) -> bool:
        """Return whether no borrower has anything, but for the one that is asking."""
        return not any(each.borrowed_at or each.batch or any(each.current()) for each in self._borrowers)

    def _lend_suspect(self, borrower: Borrower, now: float) -> bool | None:
        """Lends the isolated suspect if nothing runs. Return whether; None where none is isolated."""
        isolation = self._isolation
        loan = isolation.loan
        if loan is None:
            return None
        if not self._is_quiet():
            return False
        if isolation.stage is Stage.AWAITING and self._is_paused(loan):
            isolation.give_back(self._assignment)
            return None
        if isolation.stage is Stage.AWAITING:
            isolation.begin()
        elif loan.batch is not None and loan.batch in self._gatherer.ready:
            self._gatherer.take(loan.batch)
        else:
            isolation.end()
            return None
        borrower.batch.append(loan)
        borrower.borrowed_at = now
        self._timers.wake()
        return True

    def _forget_waiting(self, partition: Partition) -> None:
        ledger = self._assignment.ledgers[partition]
        isolation = self._isolation
        if isolation.stage is Stage.AWAITING and isolation.loan is not None and isolation.loan.ledger is ledger:
            isolation.give_back(self._assignment)
        for gate in self._gates:
            gate.forget(ledger)
        self._paused.forget(ledger)

    def _ungather(self, wanted: Callable[[Loan], bool]) -> None:
        """Gives loans back to their lanes that were gathered for a batch and may not be begun any more."""
        self._return(self._gatherer.remove(wanted))

    def _return(self, loans: Iterable[Loan]) -> None:
        for loan in loans:
            self._assignment.take_back(loan)
            self._notify_drained(loan)

    def _close(self, partitions: Sequence[Partition]) -> int:
        closing = {self._assignment.ledgers[partition] for partition in partitions}
        self._ungather(lambda loan: loan.ledger in closing)
        for partition in partitions:
            self._forget_waiting(partition)
        self.counts.skipped += sum(self._assignment.ledgers[partition].skipped for partition in partitions)
        return sum(self._assignment.close(partition) for partition in partitions)

    def _collect_all(self) -> None:
        for borrower in self._borrowers:
            self._collect(borrower)
            for loan in borrower.current():
                self._count(self._assignment.settle(loan))

    def _park(self, loan: Loan, why: Failed | Deferred, due: float, *, attempted: bool) -> None:
        is_outage = isinstance(why, Failed) and why.verdict is Verdict.OUTAGE
        setback = Setback(why.error_type, why.message, monotonic(), due, loan.outages + 1 if is_outage else 0)
        self._count(self._assignment.park(loan, setback, failed=attempted))
        self._note_waiting(loan.ledger, loan.lane)
        self._notify_drained(loan)
        if self._assignment.next_wake() == due:
            self._timers.wake()

    def _lend(self, borrower: Borrower, limit: int, workers: int | None = None) -> bool:
        now = monotonic()
        if not self.lease.holds(now):
            self._has_turned_away = True
            return False
        if self._isolation.is_active and (lent := self._lend_suspect(borrower, now)) is not None:
            return lent
        if self._gatherer.ready:
            borrower.batch.append(self._gatherer.take().leader)
            borrower.borrowed_at = now
            self._wake_borrowers()
            return True
        assignment = self._assignment
        lend = self._lend_unpaused if self.pauses.in_force else assignment.lend
        loans = lend(limit, workers, time() if assignment.has_terms else 0.0)
        if self._isolation.is_active and loans:
            loans = self._isolation.filter(assignment, loans)
            if not loans:
                return bool(self._lend_suspect(borrower, now))
        if not loans:
            if assignment.next_delay() != self._watched_delay:
                self._timers.wake()
            return False
        if assignment.lent_loans == len(loans):
            self._timers.wake()  # after a time without loans: their deadlines are to be watched now
        borrower.batch.extend(loans)
        borrower.borrowed_at = now
        if assignment.ready_lanes:
            self._wake_borrowers()
        if assignment.has_set_aside and assignment.runs_low:
            self.runs_low.set()
        return True

    def _next_due(self, now: float, epoch: float) -> float | None:
        """Return when a retry, the time of a task or of a join, or a gate is due, in seconds of the monotonic clock."""
        retry, self._watched_delay = self._assignment.next_wake(), self._assignment.next_delay()
        delayed = None if self._watched_delay is None else now + self._watched_delay - epoch
        gated = [gate.due() for gate in self._gates]
        self._gates_due = min([due for due in gated if due is not None], default=inf)
        expiry = next_expiry(self._assignment) if self.has_joins else None
        expires = None if expiry is None else now + expiry - epoch
        return min([due for due in (retry, delayed, expires, *gated) if due is not None], default=None)

    def _leave(self, borrower: Borrower) -> None:
        self._borrowers.remove(borrower)
        self._awake -= 1
        self._wake_borrowers()  # it may have been woken for a task

    def _bring_back(self, borrower: Borrower) -> None:
        if borrower.ended:
            self._time(borrower)
        borrower.borrowed_at = 0.0
        self._collect(borrower)
        self._notify_space()

    def _collect(self, borrower: Borrower) -> None:
        finished = borrower.finished
        if finished:  # the borrower may append meanwhile, and only the desk takes from it
            loans = [finished.popleft() for _ in range(len(finished))]
            self._count(self._assignment.release_all(loans))
            if self._draining:
                self._drained.notify_all()

    def _time(self, borrower: Borrower) -> None:
        counts, slow = self.counts, borrower.slow
        self.pace.observe(borrower.ended, borrower.seconds)
        counts.handler_seconds += borrower.seconds
        counts.durations.add(borrower.ended - len(slow), slow)
        borrower.ended, borrower.seconds = 0, 0.0
        if slow:
            counts.longest_seconds = max(counts.longest_seconds, *slow)
            slow.clear()

    def _count_failure(self, loan: Loan, failed: Failed) -> None:
        self.counts.expired += failed.cause is Cause.EXPIRED
        self.counts.cancelled += failed.cause in (Cause.CANCELLED, Cause.INTERRUPTED)
        if not failed.is_attempt:
            return
        loan.ledger.failed_attempts += 1
        self.counts.failed_attempts += 1
        self.counts.timed_out += failed.cause in (Cause.TIMED_OUT, Cause.STUCK)
        self.counts.stuck += failed.cause is Cause.STUCK

    def _settle_next(self, loan: Loan, *, release: bool) -> int:
        loan.done += 1
        is_last = loan.batch is None or loan.done == len(loan.records)
        loan.abandoned = is_last and not release
        return self._assignment.release(loan) if is_last and release else self._assignment.settle(loan)

    def _count_output(self, loan: Loan, settled: int, *, dead_letter: bool, result: bool) -> None:
        counts = self.counts
        letters = settled if dead_letter and loan.joined is not None else int(dead_letter)
        counts.settled += settled
        counts.succeeded += settled - letters
        counts.dead_lettered += letters
        counts.results += result
        loan.ledger.dead_lettered += letters

    def _count(self, settled: int) -> None:
        self.counts.settled += settled
        self.counts.succeeded += settled

    def _after_release(self, loan: Loan) -> None:
        self._notify_drained(loan)
        self._notify_space()
        if self._assignment.ready_lanes:
            self._wake_borrowers()

    def _notify_space(self) -> None:
        if self._space_level >= self._assignment.in_flight:
            self._space.notify()

    def _notify_drained(self, loan: Loan) -> None:
        if self._draining and loan.ledger.state is not LedgerState.OPEN:
            self._drained.notify_all()

    def _take_back(self, borrower: Borrower, wanted: Callable[[Loan], bool]) -> None:
        kept = deque[Loan]()
        while borrower.batch:
            try:
                loan = borrower.batch.pop()
            except IndexError:  # the borrower began the last one between the check and the pop
                break
            if loan.batch is not None:
                self._gatherer.restore(loan.batch)
            elif wanted(loan):
                self._assignment.take_back(loan)
            else:
                kept.appendleft(loan)
        borrower.batch.extend(kept)

    def _wake_borrowers(self) -> None:
        assignment = self._assignment
        batches = len(self._gatherer.ready) + (self._isolation.loan is not None)
        if not assignment.ready_lanes and not batches:
            return
        if self._invited:
            self._invited.invite()
        else:
            wanted = self.pace.wanted(assignment.ready_lanes, assignment.waiting, max(0, self._awake - self._away))
            wanted += batches
            if wanted:
                self._ready.notify(wanted)

    def _lent_of(self, partitions: Iterable[Partition]) -> list[Loan]:
        ledgers = self._assignment.ledgers
        return [loan for p in partitions if p in ledgers for loan in ledgers[p].lent if not loan.abandoned]


def _usage_beside_kept(ledger: Ledger) -> Usage:
    """Return what is in flight of a partition, and what waits in its outbox."""
    kept = ledger.kept
    return Usage(len(ledger.offsets) - kept.tasks, ledger.offsets.bytes + ledger.outbox.bytes - kept.bytes)


def _any_loan(_: Loan) -> bool:
    return True

"""Everything that is assigned to one consumer: a ledger for each partition, and the order of their turns."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from processor.engine.delays import GROUP, LEAD_SECONDS, Horizon, are_crowded, room_for_each
from processor.engine.joins import Due, Identity, Joins, Standing
from processor.engine.lane import DELAYED, HELD, PARKED, Lane
from processor.engine.lanes import QUANTUM
from processor.engine.ledger import CLOSED, OPEN, Ledger, LedgerSnapshot, Loan
from processor.engine.offsets import Range
from processor.engine.overflow import Overflow, kept_by_each, portion
from processor.engine.record import Record
from processor.engine.retry import Setback
from processor.engine.stock import Usage
from processor.engine.terms import TermsOf, no_terms
from processor.engine.urgency import Turns

FULL_SECONDS = 0.25
"""A partition without a ready lane is given room once its oldest task has waited this long. If its tasks settle faster,
it is full only for a moment."""

MOST_DELIVERING = 16
"""A partition is not considered full while more lanes than this wait for an acknowledgement: they are ready soon. With
fewer of them, a session with very many tasks may be the reason that no lane is ready."""

OVERDUE_SECONDS = 1.0
"""An acknowledgement that takes longer is overdue. On a busy machine, 1,000 sessions whose tasks are sent on by one
thread wait up to 0.3 s each. Setting their tasks aside then doubles the work, and makes the next ones overdue."""

LANES_SEEN = 4
"""The number of ready lanes from which the tasks in all ready lanes are estimated."""

_ledger_of = attrgetter("ledger")

P = TypeVar("P", bound=Hashable)


class Busy(NamedTuple, Generic[P]):
    """A session that has more than one task waiting."""

    waiting: int
    partition: P
    key: bytes


class Asked(NamedTuple, Generic[P]):
    """Tasks of one partition to read again."""

    partition: P
    ledger: Ledger
    offsets: Sequence[int]
    """Ascending."""


class AssignmentSnapshot(NamedTuple, Generic[P]):
    """One consumer at one moment. Numbers are of tasks, except for `running`, the lanes that are lent."""

    in_flight: int
    waiting: int
    running: int
    set_aside: int
    """Tasks of hot sessions of which only the offset is kept. They count neither as in flight nor as waiting."""
    urgent: int
    """Ready lanes that hold urgent tasks."""
    delayed_aside: int
    """Tasks that are delayed for long, and those behind them in their sessions, of which only the offset is kept."""
    next_delay: float | None
    """When the next delayed task is due, in seconds since the epoch."""
    partitions: Mapping[P, LedgerSnapshot]
    busiest: Sequence[Busy[P]]


class Assignment(Generic[P]):
    """The assigned partitions of one consumer.

    Not thread-safe: several threads must hold one lock around each call.
    """

    def __init__(self, terms_of: TermsOf = no_terms) -> None:
        """`terms_of` reads what a record's headers ask for its task."""
        self.ledgers: dict[P, Ledger] = {}
        self.in_flight = 0
        """Unsettled tasks in memory, without the records of joins that are kept."""
        self.waiting = 0
        """The tasks in flight that are not lent."""
        self.ready_lanes = 0
        self.lent_loans = 0
        """Lanes that are lent, those of closed ledgers too."""
        self._rotation: deque[Ledger] = deque()
        """Ledgers that have ready lanes, each once; a ledger that has lent one goes to the end."""
        self._queued: set[Ledger] = set()
        self._parked: list[tuple[float, int, Ledger, Lane]] = []
        self._parkings = 0
        self.has_terms = False
        """Whether any task had terms so far: until then, lending does not need the time."""
        self.has_set_aside = False
        """Whether any task was set aside so far."""
        self._limits = Usage(0, 0)
        """The limits of what may be in flight, as of the last `ask`."""
        self.lead = LEAD_SECONDS
        """How many seconds before its time a task is read again that was set aside because of a delay."""
        self._delayed: list[tuple[float, int, Ledger, Lane]] = []
        self._delays = 0
        self.newly_delayed: list[tuple[Ledger, Lane]] | None = None
        """Lanes found to be too early since the last check for cancellations; None while there are no such checks."""
        self._terms_of = terms_of
        self._turns: Turns | None = None
        """The order of lanes by urgency; None until a task has a priority."""
        self._orphaned_keys: dict[P, set[bytes]] = {}
        """Sessions whose handlers run on after their ledger was closed; until they end, the sessions are not lent."""
        self._partition_of: dict[Ledger, P] = {}

    def snapshot(self, now: float, busiest: int) -> AssignmentSnapshot[P]:
        """Return the state of this moment, for reports, with the `busiest` sessions by the number of waiting tasks."""
        sessions = [
            (waiting, partition, key)
            for partition, ledger in self.ledgers.items()
            for key, waiting in ledger.lanes.longest(busiest)
            if waiting > 1
        ]
        partitions = {partition: ledger.snapshot(now) for partition, ledger in self.ledgers.items()}
        delays = [self.next_delay(), *(each.next_delay_aside for each in partitions.values())]
        return AssignmentSnapshot(
            in_flight=self.in_flight,
            waiting=self.waiting,
            running=self.lent_loans,
            set_aside=sum(each.set_aside for each in partitions.values()),
            urgent=self._turns.urgent if self._turns is not None else 0,
            delayed_aside=sum(each.delayed_aside for each in partitions.values()),
            next_delay=min((delay for delay in delays if delay is not None), default=None),
            partitions=partitions,
            busiest=[Busy(*session) for session in sorted(sessions, key=lambda each: -each[0])[:busiest]],
        )

    def assign(
        self, partition: P, committed: int | None, settled: Sequence[Range] = (), kept_until: int | None = None
    ) -> Ledger:
        """Begin an assigned partition, which continues at `committed`; see `Ledger` for what is settled above."""
        if partition in self.ledgers:
            self.close(partition)
        ledger = Ledger(committed, settled, self._orphaned_keys.get(partition, ()), self._terms_of, kept_until)
        self.ledgers[partition] = ledger
        self._partition_of[ledger] = partition
        if self._turns is not None:
            self._turns.add(ledger)
        return ledger

    def drain(self, partition: P) -> None:
        """Begins no further task of the partition."""
        ledger = self.ledgers[partition]
        self._dequeue(ledger)
        ledger.transition("drain")

    def close(self, partition: P) -> int:
        """Forgets a partition that no longer belongs to this consumer. Return how many waiting tasks it had.

        Sessions that are still lent are remembered: if the partition is assigned again, their tasks
        wait until those handlers have ended.
        """
        ledger = self.ledgers.pop(partition)
        forgotten = ledger.lanes.waiting
        self.in_flight -= len(ledger.offsets) - ledger.kept.tasks
        self.waiting -= forgotten
        self._dequeue(ledger)
        ledger.transition("close")
        if ledger.lanes.delayed():  # their entries would keep the ledger in memory until they are due
            self._forget_delayed(lambda of, _: of is ledger)
        if ledger.lanes.parked():  # as would these
            self._parked = [entry for entry in self._parked if entry[2] is not ledger]
            heapq.heapify(self._parked)
        running = {loan.lane.key for loan in ledger.lent if loan.lane.key is not None}
        if running:
            self._orphaned_keys.setdefault(partition, set()).update(running)
        if not ledger.lent:
            del self._partition_of[ledger]
        return forgotten + (ledger.overflow.tasks if ledger.overflow is not None else 0)

    def admit(self, partition: P, records: Sequence[Record], now: float) -> int:
        """Admits records of one assigned partition, ascending. Return how many enter a lane."""
        ledger = self.ledgers[partition]
        ready_before = len(ledger.lanes.ready)
        count = ledger.admit(records, now)
        self.in_flight += count
        self.waiting += count
        self._queue(ledger, len(ledger.lanes.ready) - ready_before)
        if ledger.terms:
            self.has_terms = True
        if ledger.lanes.lifted:
            self._lift(ledger)
        return count

    def lend(self, limit: int, workers: int | None = None, epoch: float = 0.0) -> list[Loan]:
        """Lends ready lanes with at most `limit` tasks together, from one partition after the other.

        With `workers`, a session that has more than a worker's share of what waits may get some more. `epoch` is the
        time in seconds since the epoch, or any value if no task has terms: a task for which it is too early waits.
        """
        share = None if workers is None else self.waiting // workers
        loans: list[Loan] = []
        if self._turns:
            limit = self._lend_urgent(limit, epoch, loans)
        rotation = self._rotation
        while limit > 0 and rotation:
            ledger = rotation.popleft()
            lanes = ledger.lanes
            waiting = lanes.waiting
            lent = ledger.lend(min(limit, QUANTUM) if rotation else limit, share, epoch)
            count = waiting - lanes.waiting
            self.ready_lanes -= len(lent)
            self.waiting -= count
            limit -= count
            loans += lent
            if ledger.delayed:
                self._delay(ledger)
            if lanes.ready:
                rotation.append(ledger)
            else:
                self._queued.discard(ledger)
        self.lent_loans += len(loans)
        if self.has_set_aside:
            self._look_after(loans)
        return loans

    def estimate_ready_tasks(self) -> int:
        """Return about how many of the waiting tasks may be lent: the next ready lanes stand for all of them.

        The other waiting tasks are in lanes that are lent, or wait for a time. There may be many times as many. Each
        ready lane has at least one task.
        """
        lanes = islice(self._rotation[0].lanes.ready if self._rotation else (), LANES_SEEN)
        counts = [len(lane.waiting) for lane in lanes]
        estimate = self.ready_lanes * sum(counts) // max(1, len(counts))
        return max(self.ready_lanes, min(self.waiting, estimate))

    @property
    def set_aside(self) -> int:
        """Tasks of which only the offset is kept. Read without the lock too, while partitions come and go."""
        if not self.has_set_aside:
            return 0
        ledgers = list(self.ledgers.values())  # one step: the dict may change during a loop
        return sum(ledger.overflow.tasks for ledger in ledgers if ledger.overflow is not None)

    @property
    def runs_low(self) -> bool:
        """Whether a session is about to run out of tasks while others of it are set aside."""
        if not self.has_set_aside:
            return False
        return any(ledger.overflow is not None and ledger.overflow.is_low for ledger in self.ledgers.values())

    def make_room(self, partition: P, limits: Usage, most: int, now: float, not_begun: Collection[Loan] = ()) -> int:
        """Sets tasks of the partition aside, if lanes hold so many that no other one can get a turn.

        Args:
            partition: one of which more is fetched than may be in flight.
            limits: the limits of what may be in flight.
            most: how many tasks may be set aside.
            now: in seconds, as for `admit`.
            not_begun: the loans that wait in batches of workers. Their lanes are ready soon, as those that wait for an
                acknowledgement.

        Returns:
            How many were set aside.
        """
        ledger = self.ledgers.get(partition)
        if ledger is None or ledger.state is not OPEN or ledger.lanes.ready or most <= 0:
            return 0
        if ledger.oldest_age(now) < FULL_SECONDS:
            return 0
        if ledger.delivering(now - OVERDUE_SECONDS) + ledger.count_own(not_begun) > MOST_DELIVERING:
            return 0
        offsets, lengths = ledger.offsets, [len(lane.waiting) for lane in ledger.lanes.longer_than(0)]
        held = Usage(len(offsets) - ledger.kept.tasks, offsets.bytes - ledger.kept.bytes)
        kept = kept_by_each(lengths, ledger.lanes.waiting, held, limits)
        if kept is None:
            return 0
        if ledger.overflow is None:
            ledger.overflow = Overflow(ledger)
        self.has_set_aside = True
        overflow = ledger.overflow
        # sessions of other partitions, too, may have all of their tasks in memory again
        sessions = sum(each.sessions_with(kept) for each in self._open_overflows)
        count = overflow.put_aside(kept, most, portion(sessions, overflow.record_bytes, limits))
        self.in_flight -= count
        self.waiting -= count
        return count

    def make_room_of_delayed(self, limits: Usage, most: int, epoch: float) -> dict[P, int]:
        """Sets aside sessions that are delayed for long, if delayed sessions take much of what may be in flight.

        Args:
            limits: the limits of what may be in flight.
            most: how many tasks may be set aside.
            epoch: the time, in seconds since the epoch.

        Returns:
            How many tasks of each partition were set aside.
        """
        ledgers = {p: ledger for p, ledger in self.ledgers.items() if ledger.delayed_usage.tasks}
        if most <= 0 or not are_crowded([ledger.delayed_usage for ledger in ledgers.values()], limits):
            return {}
        lanes, counts = set[Lane](), dict[P, int]()
        for partition, ledger in ledgers.items():
            if ledger.state is not OPEN:
                continue
            if ledger.overflow is None:
                ledger.overflow = Overflow(ledger)
            waiting = ledger.lanes.waiting
            lanes.update(ledger.overflow.put_delayed_aside(epoch + GROUP * self.lead, most - sum(counts.values())))
            if count := waiting - ledger.lanes.waiting:
                counts[partition] = count
        if lanes:
            self.has_set_aside = True
            self._forget_delayed(lambda _, lane: lane in lanes)
            self.in_flight -= sum(counts.values())
            self.waiting -= sum(counts.values())
        return counts

    @property
    def _sessions_aside(self) -> int:
        """How many sessions have tasks that are set aside because they have very many, in open ledgers."""
        return sum(overflow.sessions for overflow in self._open_overflows)

    @property
    def _open_overflows(self) -> list[Overflow]:
        """The overflows of those open ledgers that have one."""
        overflows = [ledger.overflow for ledger in self.ledgers.values() if ledger.state is OPEN]
        return [overflow for overflow in overflows if overflow is not None]

    def ask(self, limits: Usage, epoch: float = 0.0) -> list[Asked[P]]:
        """Return the tasks to read again now.

        Args:
            limits: the limits of what may be in flight.
            epoch: the time, in seconds since the epoch, or any value if nothing is set aside because of a delay.
        """
        self._limits = limits
        ledgers, (room, none_here) = self.ledgers.items(), self._room_again()
        overflows = [(p, ledger, ledger.overflow) for p, ledger in ledgers if ledger.state is OPEN and ledger.overflow]
        sessions = self._sessions_aside
        delayed, asked = sum(overflow.delayed > 0 for _, _, overflow in overflows), list[Asked[P]]()
        size = sum(ledger.offsets.bytes for ledger in self.ledgers.values())
        free = Usage(max(0, limits.tasks - self.in_flight), max(0, limits.bytes - size))
        for partition, ledger, overflow in overflows:
            most, size = portion(sessions, overflow.record_bytes, limits), overflow.record_bytes
            tasks, spare = (room_for_each(delayed, size, usage) for usage in (limits, free))
            if none_here or overflow.needs <= room:
                asked.append(Asked(partition, ledger, overflow.ask(most, Horizon(epoch, self.lead, tasks, spare))))
        return [each for each in asked if each.offsets]

    def read_again(self, ledger: Ledger, records: Iterable[Record]) -> bool:
        """Admits those of the records that were asked for, while there is room. Return whether the ledger takes more.

        It does not if it is not open, or if the others that were asked for had to be set aside again.
        """
        if ledger.state is not OPEN:
            return False
        assert ledger.overflow is not None
        room, none_here = self._room_again()
        count, ready = ledger.overflow.read_again(records, room, at_least_one=none_here)
        self.in_flight += count
        self.waiting += count
        self._queue(ledger, ready)
        if ledger.terms:
            self.has_terms = True
        if ledger.lanes.lifted:
            self._lift(ledger)
        return not ledger.overflow.needs

    def _room_again(self) -> tuple[int, bool]:
        """Return how many more bytes may be read again, and whether no task that was read again is in flight.

        Memory may be full of other tasks that wait. So tasks that are read again may always take half of the limit.
        """
        again = sum(ledger.bytes_again for ledger in self.ledgers.values())
        held = sum(ledger.offsets.bytes - ledger.kept.bytes for ledger in self.ledgers.values())
        return max(self._limits.bytes // 2 - again, self._limits.bytes - held), not again

    def miss(self, ledger: Ledger, offsets: Iterable[int], below: int | None) -> list[int]:
        """Drops records that are gone: at these offsets, and all `below` one. Return those set aside, ascending."""
        if ledger.state is not OPEN:
            return []
        assert ledger.overflow is not None
        missed = ledger.overflow.miss(offsets)
        return missed if below is None else sorted([*missed, *ledger.overflow.miss_below(below)])

    def _look_after(self, loans: Iterable[Loan]) -> None:
        for loan in loans:
            overflow = loan.ledger.overflow
            if overflow is not None and overflow.sessions:
                overflow.look(loan.lane)

    def _lend_urgent(self, limit: int, epoch: float, loans: list[Loan]) -> int:
        """Adds to `loans` while a lane with an urgent task is ready. Return what is left of `limit`.

        From such a lane it lends only the tasks up to the most urgent one: those behind it have their own turn.
        """
        turns = self._turns
        while limit > 0 and turns:
            ledger, lane = turns.next()
            loan = ledger.lend_lane(lane, min(limit, QUANTUM, lane.urgent_tasks()), None, epoch)
            if loan is None:
                self._delay(ledger)
                continue
            turns.taken += 1
            self.ready_lanes -= 1
            self.waiting -= len(loan.records)
            limit -= len(loan.records)
            loans.append(loan)
        return limit

    def settle(self, loan: Loan) -> int:
        """Settles what the loan's borrower has done since the last call. Return the number of tasks."""
        count = loan.ledger.settle(loan)
        if loan.ledger.state is not CLOSED:
            self.in_flight -= count if loan.joined is None else min(count, 1)
        return count

    def arrive(self, loan: Loan, due: Due, now: float) -> tuple[Standing, int]:
        """Handles the loan's next record, an arrival. Return what it means to its join, and how many tasks settled.

        For the last arrival the lane stays lent: it settles together with what follows.
        """
        count = self.settle(loan)
        standing = loan.ledger.arrive(loan, due, now)
        if standing is Standing.KEPT:
            self._keep(loan)
        elif standing is Standing.REPEATED:
            loan.done += 1
            count += self.release(loan)
        return standing, count

    def mark(self, loan: Loan, identity: Identity, path: Any, now: float) -> int:
        """Handles the loan's next record, the marker of a complete join. Return how many tasks settled."""
        count = self.settle(loan)
        is_kept, arrivals = loan.ledger.mark(loan, identity, path, now)
        if is_kept:
            self._keep(loan)
            return count + arrivals
        loan.done += 1
        return count + self.release(loan)

    def refuse(self, ledger: Ledger, identity: Identity, error: tuple[type[Exception], str] | None) -> None:
        """Refuses a join of an open ledger: its arrivals wait for a worker, see `Ledger.refuse`."""
        before = len(ledger.lanes.ready)
        count = ledger.refuse(identity, error)
        self.in_flight += count
        self.waiting += count
        self._queue(ledger, len(ledger.lanes.ready) - before)

    def joining(self) -> Iterator[tuple[Ledger, Joins]]:
        """Yield the open ledgers that have or had arrivals waiting for other branches of their group."""
        for ledger in self.ledgers.values():
            if ledger.joins is not None and ledger.state is OPEN:
                yield ledger, ledger.joins

    def release(self, loan: Loan) -> int:
        """Ends the loan: settles what was done; the rest waits for another turn. Return how many tasks settled."""
        return self._return(loan, first=False)

    def stage(self, loan: Loan, output: object, size: int, *, release: bool = True) -> int:
        """Settles the loan's next task and puts `output` in the outbox, in one step. Return how many tasks settled.

        Without `release` the lane stays lent.
        """
        loan.ledger.stage(loan, output, size)
        return self.release(loan) if release else self.settle(loan)

    def release_all(self, loans: Sequence[Loan]) -> int:
        """Does the same for many loans. Adjacent loans of one partition share the cost."""
        ledgers = list(map(_ledger_of, loans))
        if ledgers and ledgers.count(ledgers[0]) == len(ledgers):
            return self._release_of(ledgers[0], loans)
        return sum([self._release_of(ledger, list(group)) for ledger, group in groupby(loans, _ledger_of)])

    def _release_of(self, ledger: Ledger, loans: Sequence[Loan]) -> int:
        done = [loan for loan in loans if loan.done == len(loan.records)]
        if ledger.state is CLOSED or len(done) < len(loans) or ledger.lanes.shelves:
            return sum(map(self.release, loans))
        count, ready = ledger.release_done(done)
        self.lent_loans -= len(done)
        self.in_flight -= count
        self._queue(ledger, ready)
        return count

    def narrow(self, loan: Loan, count: int) -> int:
        """Settles what was done, and leaves the loan only the next `count` tasks. Return how many settled."""
        settled = self.settle(loan)
        behind = loan.ledger.narrow(loan, count)
        if loan.ledger.state is not CLOSED:
            self.waiting += len(behind)
        return settled

    def partition_of(self, ledger: Ledger) -> P:
        """Return the partition of a ledger that is not closed, or of which something is lent."""
        return self._partition_of[ledger]

    def cut_short(self, loan: Loan) -> None:
        """Returns to the lane the tasks that the loan's borrower has not begun. The borrower may work meanwhile."""
        behind = loan.ledger.cut_short(loan)
        if loan.ledger.state is not CLOSED:
            self.waiting += behind

    def widen(self, loan: Loan, limit: int) -> None:
        """Adds at most `limit` more tasks of its lane to the loan. The ledger must be open."""
        self.waiting -= len(loan.ledger.widen(loan, limit))

    def settle_others(self, loan: Loan, left: Sequence[int]) -> int:
        """Settles the loan's tasks except those at the indices `left`, none of which is done. Return how many."""
        count = loan.ledger.settle_others(loan, left)
        if loan.ledger.state is not CLOSED:
            self.in_flight -= count
        return count

    def take_back(self, loan: Loan) -> None:
        """Takes back a loan that never began: its lane goes to the front of its queue."""
        self._return(loan, first=True)

    def park(self, loan: Loan, setback: Setback, *, failed: bool = True) -> int:
        """Parks the loan's lane until its next task, which failed or did not begin, is due. Return how many settled."""
        count = self.settle(loan)
        self.lent_loans -= 1
        if loan.ledger.park(loan, setback, failed=failed):
            self.waiting += len(loan.records) - loan.done
            self._parkings += 1
            heapq.heappush(self._parked, (setback.due, self._parkings, loan.ledger, loan.lane))
        else:
            self._orphan_finished(loan)
        return count

    def hold(self, loan: Loan, setback: Setback) -> tuple[int, bool]:
        """Makes the loan's lane wait until `free`: its next task may not begin. Return the tasks settled before it, and
        whether anything of its ledger may still begin.
        """
        count = self.settle(loan)
        self.lent_loans -= 1
        if not loan.ledger.park(loan, setback, failed=False):
            self._orphan_finished(loan)
            return count, False
        loan.lane.state = HELD
        self.waiting += len(loan.records) - loan.done
        return count, loan.ledger.may_begin

    def claim(self, ledger: Ledger, lane: Lane) -> Loan:
        """Lends the head of a lane that waits, whatever it waits for. For a task that is not to be attempted."""
        if lane.state is PARKED:  # an entry that stays would end a later wait of this lane too early
            self._parked = [entry for entry in self._parked if entry[3] is not lane]
            heapq.heapify(self._parked)
        elif lane.state is DELAYED:
            self._forget_delayed(lambda _, other: other is lane)
        loan = ledger.claim(lane)
        self.waiting -= 1
        self.lent_loans += 1
        return loan

    def free(self, ledger: Ledger, lane: Lane) -> None:
        """Makes a held lane ready: its next task may begin."""
        if ledger.state is OPEN:
            ledger.lanes.wake(lane)
            self._queue(ledger, 1)

    def wake(self, now: float, epoch: float = 0.0) -> None:
        """Makes lanes ready whose retry, or whose head's time, is due. `epoch` is in seconds since the epoch."""
        while self._parked and self._parked[0][0] <= now:
            _, _, ledger, lane = heapq.heappop(self._parked)
            if ledger.state is OPEN and lane.state is PARKED:
                ledger.lanes.wake(lane)
                self._queue(ledger, 1)

        while self._delayed and self._delayed[0][0] <= epoch:
            _, _, ledger, lane = heapq.heappop(self._delayed)
            if ledger.state is OPEN:
                ledger.end_delay(lane)
                self._queue(ledger, 1)

    def next_delay(self) -> float | None:
        """Return when the next delayed task in memory is due, in seconds since the epoch."""
        return self._delayed[0][0] if self._delayed else None

    def next_wake(self) -> float | None:
        """Return when the next retry is due; None if none is."""
        return self._parked[0][0] if self._parked else None

    def _keep(self, loan: Loan) -> None:
        """Takes back the loan's lane without its next record, which is kept."""
        ledger = loan.ledger
        self.lent_loans -= 1
        ready = ledger.keep(loan)
        self.in_flight -= 1
        self.waiting += len(loan.records) - loan.done - 1
        if ready:
            self._queue(ledger, 1)

    def _return(self, loan: Loan, *, first: bool) -> int:
        ledger = loan.ledger
        count = ledger.settle(loan)
        self.lent_loans -= 1
        ready = ledger.release(loan, first=first)
        if ledger.state is CLOSED:
            self._orphan_finished(loan)
            return count
        self.in_flight -= count if loan.joined is None else min(count, 1)
        if ready:
            self.waiting += len(loan.records) - loan.done
            self._queue(ledger, 1)
        return count

    def _lift(self, ledger: Ledger) -> None:
        """Moves the ledger's lanes that urgent tasks have joined."""
        if self._turns is None:
            self._turns = Turns(each for each in self.ledgers.values() if each.state is OPEN)
        elif ledger in self._turns.queues:
            for lane in ledger.lanes.lifted:
                self._turns.queues[ledger].lift(lane)
        ledger.lanes.lifted.clear()

    def _delay(self, ledger: Ledger) -> None:
        """Notes the lanes that were found to be too early."""
        self.ready_lanes -= len(ledger.delayed)
        for due, lane in ledger.delayed:
            self._delays += 1
            heapq.heappush(self._delayed, (due, self._delays, ledger, lane))
            if self.newly_delayed is not None:
                self.newly_delayed.append((ledger, lane))
        ledger.delayed.clear()

    def _forget_delayed(self, is_over: Callable[[Ledger, Lane], bool]) -> None:
        """Removes lanes that no longer wait for their time, although it has not come."""
        self._delayed = [entry for entry in self._delayed if not is_over(entry[2], entry[3])]
        heapq.heapify(self._delayed)

    def _orphan_finished(self, loan: Loan) -> None:
        """Unblocks the session of a loan of a closed ledger, whose handler has ended."""
        ledger = loan.ledger
        partition = self._partition_of[ledger]
        if not ledger.lent:
            del self._partition_of[ledger]
        key = loan.lane.key
        if key is None:
            return
        orphaned = self._orphaned_keys[partition]
        orphaned.discard(key)
        if not orphaned:
            del self._orphaned_keys[partition]
        successor = self.ledgers.get(partition)
        if successor is not None and successor.lanes.unblock(key):
            self._queue(successor, 1)

    def _queue(self, ledger: Ledger, lanes: int) -> None:
        """Counts this many more ready lanes, and queues the ledger for its turn. A draining ledger is left out."""
        if lanes and ledger.state is OPEN:
            self.ready_lanes += lanes
            if ledger not in self._queued:
                self._queued.add(ledger)
                self._rotation.append(ledger)

    def _dequeue(self, ledger: Ledger) -> None:
        if self._turns is not None:
            self._turns.remove(ledger)
        if ledger in self._queued:
            self._queued.discard(ledger)
            self._rotation.remove(ledger)
            self.ready_lanes -= len(ledger.lanes.ready)

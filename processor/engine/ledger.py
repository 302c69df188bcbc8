"""One assigned partition: its offsets and its lanes, and whether its tasks may still begin."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Container, Iterable, Sequence
from itertools import chain
from operator import add
from typing import Any, Literal, NamedTuple

from processor.engine.joins import Due, Identity, Joins, KeptRecord, Marker, Standing
from processor.engine.lane import BLOCKED, DELAYED, HELD, PARKED, Lane, LaneState
from processor.engine.lanes import HOT_TASKS, QUANTUM, Lanes
from processor.engine.loan import Loan
from processor.engine.offsets import Offsets, Progress, Range
from processor.engine.outbox import Cut, Outbox, Staged, unsettling
from processor.engine.overflow import Overflow
from processor.engine.record import Headers, Record
from processor.engine.retry import Setback
from processor.engine.stock import NOTHING, Usage
from processor.engine.terms import ANY_TIME, Terms, TermsOf, no_terms

__all__ = [
    "CLOSED",
    "DRAINING",
    "OPEN",
    "TRANSITIONS",
    "Block",
    "Head",
    "HeadPlace",
    "Ledger",
    "LedgerSnapshot",
    "LedgerState",
    "Loan",
    "Stamp",
    "headers_in",
    "sizes_of",
]

MOST_MARKS = 1000
"""The most admissions whose time is remembered."""


class LedgerState(enum.Enum):
    """The state of one assignment of a partition."""

    OPEN = "records are admitted and lanes are lent"
    DRAINING = "nothing new begins; running tasks may finish and be committed"
    CLOSED = "the partition no longer belongs to this consumer; tasks that still finish have no effect"


OPEN, DRAINING, CLOSED = LedgerState
"""Names at module level: in Python 3.11 a look-up in the enum takes 80 ns, and each loan needs one."""

TRANSITIONS: dict[tuple[LedgerState, str], LedgerState] = {
    (OPEN, "drain"): DRAINING,
    (OPEN, "close"): CLOSED,
    (DRAINING, "drain"): DRAINING,
    (DRAINING, "close"): CLOSED,
    (CLOSED, "close"): CLOSED,
}
"""All transitions: a revoke drains and then closes, a loss closes. Others cannot happen."""


Stamp = tuple[int, int, int | None]
"""The number of tasks settled or missed and of arrivals kept, the number of records skipped, and the position."""


HeadPlace = Literal["waiting", "lent", "delivering", "parked", "blocked", "delayed", "held", "joining"]


PLACES: dict[LaneState, HeadPlace] = {
    PARKED: "parked",
    BLOCKED: "blocked",
    DELAYED: "delayed",
    HELD: "held",
}
"""Where the head of a lane is, if the lane is neither lent nor ready."""


class Head(NamedTuple):
    """The oldest unsettled task of a partition, which the commit point cannot pass."""

    record: Record
    lane: Lane
    loan: Loan | None
    """None if the lane is not lent."""

    @property
    def setback(self) -> Setback | None:
        """Why it was not settled the last time. A lent lane may still have the setback of an earlier, settled task."""
        return None if self.loan is not None and self.loan.done else self.lane.setback

    @property
    def place(self) -> HeadPlace:
        """Where the task is: with a worker, being delivered as a dead letter or result, or in its lane."""
        if self.loan is not None:
            if self.loan.batch is not None and not self.loan.batch.is_lent:
                return "waiting"
            return "lent" if self.loan.handed_over_at is None else "delivering"
        return PLACES.get(self.lane.state, "waiting")

    @property
    def since(self) -> float | None:
        """When it came there, in the caller's seconds; None if that is not recorded."""
        if self.loan is not None:
            return self.loan.handed_over_at
        if self.setback is None:
            return None
        return self.setback.at if self.place == "parked" else self.setback.due

    @property
    def attempt(self) -> int:
        """The attempt that it is on or that comes next, 1 for the first."""
        if self.loan is None:
            return self.lane.attempts + 1
        return 1 if self.loan.done else self.loan.attempt

    @property
    def session_waiting(self) -> int:
        """How many tasks of its session wait behind it."""
        if self.loan is None:
            return len(self.lane.waiting) - 1
        return len(self.lane.waiting) + len(self.loan.records) - self.loan.settled - 1


class Block(NamedTuple):
    """What holds a partition's commit point, as plain values that stay true after the lock is released."""

    record: Record
    loan: Loan | None
    """A key by which to find the running attempt; its fields are not to be read."""
    place: HeadPlace
    since: float | None
    setback: Setback | None
    attempt: int
    session_waiting: int
    delayed_until: float | None
    """When it may begin, in seconds since the epoch; None if it need not wait for a time."""


class LedgerSnapshot(NamedTuple):
    """One partition at one moment."""

    in_flight: int
    in_flight_bytes: int
    waiting: int
    running: int
    parked: int
    delayed: int
    set_aside: int
    """Tasks of sessions with very many tasks of which only the offset is kept. They are not in flight."""
    sessions_aside: int
    delayed_aside: int
    """Tasks that are delayed for long, and those behind them in their sessions, of which only the offset is kept."""
    next_delay_aside: float | None
    """When the first of these is due, in seconds since the epoch."""
    open_joins: int
    """Groups of which some branches have arrived and others have not."""
    sessions: int
    settled: int
    """Tasks settled since the partition was assigned, dead letters included."""
    failed_attempts: int
    dead_lettered: int
    cancelled: int
    """Tasks settled without a dead letter, because they were cancelled."""
    skipped: int
    commit_point: int | None
    highest_settled: int | None
    oldest_age: float
    oldest_ready_age: float
    head: Block | None


class Ledger:
    """Records what is held, lent and settled during one assignment of one partition."""

    __slots__ = (
        "_assigned_at",
        "_marks",
        "_terms_of",
        "cancelled",
        "dead_lettered",
        "delayed",
        "delayed_usage",
        "done",
        "failed_attempts",
        "joins",
        "kept_until",
        "lanes",
        "lent",
        "may_begin",
        "missed",
        "offsets",
        "outbox",
        "overflow",
        "skipped",
        "state",
        "terms",
        "tried",
    )

    def __init__(
        self,
        committed: int | None,
        settled: Sequence[Range] = (),
        blocked: Iterable[bytes] = (),
        terms_of: TermsOf = no_terms,
        kept_until: int | None = None,
    ) -> None:
        """Begins an assignment.

        Args:
            committed: the offset at which it continues; None if the group has committed none.
            settled: ranges above it that an earlier assignment settled, ascending.
            blocked: keys of the sessions that must wait.
            terms_of: reads the terms of a record, and whether it is one of a join.
            kept_until: the offset below which every task was settled before; None if no commit noted one.
        """
        self.state = OPEN
        self.may_begin = True
        """Read by borrowers before each task, without the lock: false once the ledger drains."""
        self._assigned_at = committed
        self.offsets = Offsets(committed, settled)
        self.lanes = Lanes(blocked)
        self.lent: set[Loan] = set()
        self.joins: Joins | None = None
        """Arrivals that wait for other branches of their group; None until one does."""
        self.done = 0
        """Tasks settled, however they ended."""
        self.failed_attempts = 0
        self.dead_lettered = 0
        self.cancelled = 0
        """Tasks settled without a dead letter, because they were cancelled."""
        self.skipped = 0
        """Records that were settled before this assignment."""
        self.missed = 0
        """Tasks that were set aside and whose records are gone."""
        self.overflow: Overflow | None = None
        """None until a task is set aside."""
        self.terms: dict[int, Terms] = {}
        """The terms of unsettled tasks that have any, by offset. Borrowers read it without the lock."""
        self.delayed: list[tuple[float, Lane]] = []
        """Lanes whose head the last `lend` found too early, and when it may begin, in seconds since the epoch."""
        self.delayed_usage = NOTHING
        """The tasks that wait in lanes whose head is too early."""
        self._terms_of = terms_of
        self.kept_until = kept_until or 0
        """Every task below this offset is settled; 0 if unknown. A commit may have noted it, so it never falls."""
        self.outbox = Outbox()
        """Empty unless outputs are committed together with offsets."""
        self.tried: dict[Lane, int] = {}
        """For each lane whose head has failed in a batch, how many tasks behind it have failed with it."""
        self._marks: deque[tuple[int, float]] = deque()
        """First offset and time of each admission, for the age of the oldest unsettled task."""

    def admit(self, records: Sequence[Record], now: float) -> int:
        """Admits records, ascending from the position on. Return how many enter a lane. `now` is in seconds."""
        offsets = self.offsets
        if offsets.expects_settled or self.kept_until > (offsets.position or 0):
            wanted = [record for record in records if not self._skips(record)]
            self.skipped += len(records) - len(wanted)
            records = wanted
            if not records:
                return 0
        if self.overflow is not None:
            first = records[0].offset()
            records = self.overflow.divert(records)
            if not records:
                self._mark(first, now)
                return 0
        kind = type(records[0])
        numbers = list(map(kind.offset, records))
        keys = list(map(kind.key, records))
        headers = headers_in(kind, records)
        offsets.admit(numbers, sizes_of(kind, records, keys, headers))
        if headers is not None and (priorities := self._read_terms(numbers, headers)):
            self.lanes.admit_urgent(records, keys, priorities)
        else:
            self.lanes.admit(records, keys)
        if self.delayed_usage.tasks:
            self.add_delayed([n for n, key in zip(numbers, keys, strict=True) if self.lanes.is_delayed(key)])
        self._mark(numbers[0], now)
        return len(records)

    def _skips(self, record: Record) -> bool:
        """Return whether the record was settled in an earlier assignment, as its skip map lists or a note says."""
        offset = record.offset()
        if self.offsets.skips(offset):
            return True
        if offset >= self.kept_until or self.terms_of(record).arrives:
            return False
        self.offsets.reach(offset + 1)
        return True

    def missed_below(self, offset: int) -> list[Range]:
        """Return the ranges that a jump to `offset` would miss: they were neither delivered nor settled.

        A skip map may have been cut short among offsets of which the commit notes that every task is settled. Such
        offsets behind its last range are not missed. Records of joins among them cannot be distinguished from
        tasks, except the one at the committed offset, which is unsettled.
        """
        missed, position = self.offsets.undelivered_below(offset), self.offsets.position or 0
        low, high = max(self.offsets.listed_until, position + (position == self._assigned_at)), self.kept_until
        if high <= low:
            return missed
        parts = [part for start, end in missed for part in ((start, min(end, low)), (max(start, high), end))]
        return [(start, end) for start, end in parts if start < end]

    def admit_again(self, records: Sequence[Record], sizes: Sequence[int]) -> list[int]:
        """Admits records of tasks that were set aside, of these sizes in bytes. Return their offsets."""
        if not records:
            return []
        kind = type(records[0])
        numbers = list(map(kind.offset, records))
        headers = headers_in(kind, records)
        self.offsets.read_again(numbers, sizes)
        if headers is not None:
            self._read_terms(numbers, headers)
        return numbers

    def record_sizes(self, records: Sequence[Record]) -> list[int]:
        """Return the size of each record in bytes."""
        if not records:
            return []
        kind = type(records[0])
        return sizes_of(kind, records, list(map(kind.key, records)), headers_in(kind, records))

    @property
    def bytes_again(self) -> int:
        """The bytes of tasks that were read again and are in flight."""
        kept = self.offsets.set_aside
        return max(0, kept.again_bytes - self.kept.bytes) if kept is not None else 0

    def has_session(self, key: bytes | None) -> bool:
        """Return whether the session has tasks in its lane, or may have some that are set aside."""
        return self.lanes.has_lane(key) or (self.overflow is not None and self.overflow.may_hold(key))

    def terms_of(self, record: Record) -> Terms:
        """Return the terms that the record's headers set for its task."""
        headers = record.headers()
        terms = self._terms_of(headers) if headers else None
        return terms if terms is not None else ANY_TIME

    def continues_at(self, offset: int) -> bool:
        """Return whether `offset` may be delivered next: offsets only go up."""
        return self.offsets.position is None or offset >= self.offsets.position

    def lend(self, limit: int, share: int | None = None, epoch: float = 0.0) -> list[Loan]:
        """Lends the next ready lanes, with at most `limit` tasks together, as `Lanes.lend_next` does.

        A lane whose head may not begin yet at `epoch`, in seconds since the epoch, is added to `delayed` instead.
        """
        if self.terms:
            loans = list[Loan]()
            self._lend_on_terms(limit, share, epoch, loans)
            return loans
        loans = [Loan(self, lane, records, lane.attempts + 1) for lane, records in self.lanes.lend_next(limit, share)]
        self.lent.update(loans)
        return loans

    def _lend_on_terms(self, limit: int, share: int | None, epoch: float, loans: list[Loan]) -> None:
        """Lends as `lend` does, into `loans`, if some tasks of the partition have terms."""
        lanes = self.lanes
        while limit > 0 and lanes.ready:
            loan = self.lend_lane(lanes.ready.popleft(), min(limit, QUANTUM), share, epoch)
            if loan is not None:
                loans.append(loan)
                limit -= len(loan.records)

    def lend_lane(self, lane: Lane, limit: int, share: int | None, epoch: float) -> Loan | None:
        """Lends a lane that was taken out of the queue, with those of its oldest tasks that may begin at `epoch`.

        Return None if the first of them may not: the lane is `delayed` then.
        """
        if share is not None and len(lane.waiting) > share:
            limit = max(limit, HOT_TASKS)
        for index, record in enumerate(lane.waiting[:limit]):
            terms = self.terms.get(record.offset())
            if terms is not None and terms.due > epoch:
                if not index:
                    self.lanes.delay(lane)
                    self.delayed.append((terms.due, lane))
                    self.add_delayed([record.offset() for record in lane.waiting])
                    return None
                limit = index
                break
        loan = Loan(self, lane, self.lanes.lend(lane, limit), lane.attempts + 1)
        self.lent.add(loan)
        return loan

    def end_delay(self, lane: Lane) -> None:
        """Makes a delayed lane ready: the time of its head has come."""
        self.take_delayed([record.offset() for record in lane.waiting])
        self.lanes.wake(lane)

    def claim(self, lane: Lane) -> Loan:
        """Lends the head of a lane that waits, whatever it waits for."""
        if lane.state is DELAYED:
            self.take_delayed([record.offset() for record in lane.waiting])
        loan = Loan(self, lane, self.lanes.claim(lane), lane.attempts + 1)
        self.lent.add(loan)
        return loan

    def settle(self, loan: Loan) -> int:
        """Settles what the loan's borrower has done since the last call. Return how many tasks settled."""
        done = loan.done
        count = done - loan.settled
        if count and self.state is not CLOSED:
            self._settle(loan.records if count == len(loan.records) else loan.records[loan.settled : done])
            if loan.joined is not None:
                count += self.settle_kept(record.offset() for record in self._joins.complete(loan.joined))
        loan.settled = done
        return count

    def stage(self, loan: Loan, output: object, size: int) -> None:
        """Marks the loan's next task as done, and stages `output`, of `size` bytes, to be committed with it.

        The caller settles or releases the loan in the same step. If the ledger is closed, nothing is staged: another
        consumer runs the task.
        """
        record = loan.records[loan.done]
        loan.done += 1
        if self.state is not CLOSED:
            others: tuple[int, ...] = ()
            if loan.joined is not None:
                others = tuple(kept.offset() for kept in self._joins.arrivals(loan.joined).values())
            terms = self.terms.get(record.offset())
            arrives = terms is not None and terms.arrives
            self.outbox.put(Staged(record.offset(), record.key(), output, size, others, arrives))

    def arrive(self, loan: Loan, due: Due, now: float) -> Standing:
        """Return what the loan's next record, an arrival, means to its join. If it is kept, the caller calls `keep`.

        The last arrival is not kept: it and the others settle once what follows is sent. A repeated one is done.
        """
        record = loan.records[loan.done]
        standing = self._joins.arrive(due, record, self.offsets.size_of([record.offset()]), now)
        if standing is Standing.LAST:
            loan.joined = due.identity
        return standing

    def keep(self, loan: Loan) -> bool:
        """Takes back the loan's lane without its next record, which is kept. Return whether the lane is ready again.

        The ledger may not be closed.
        """
        record = loan.records[loan.done]
        self.terms.pop(record.offset(), None)
        self._advance(loan.lane)
        self.lent.discard(loan)
        ready = self.lanes.give_back(loan.lane, loan.records[loan.done + 1 :])
        if self.overflow is not None:
            self.overflow.look(loan.lane)
        return ready

    def mark(self, loan: Loan, identity: Identity, path: Any, now: float) -> tuple[bool, int]:
        """Handles a marker, the loan's next record. Return whether it is kept, and how many arrivals settle.

        There are arrivals to settle if a process crashed between the commit of the marker and theirs.
        """
        offset = loan.records[loan.done].offset()
        record = KeptRecord(loan.records[loan.done], self.offsets.size_of([offset]))
        if not self._joins.mark(identity, Marker(record, now, path)):
            return False, 0
        return True, self.settle_kept(kept.offset() for kept in self._joins.take(identity))

    def unmark(self, identities: Iterable[Identity]) -> int:
        """Settles the markers of these joins, whose branches cannot arrive again. Return how many settled."""
        return self.settle_kept(self._joins.unmark(identities))

    def settle_complete(self, identities: Iterable[Identity]) -> int:
        """Settles the arrivals that still wait at these joins, which were complete before. Return how many."""
        waiting = [identity for identity in identities if self._joins.waits(identity)]
        return sum(self.settle_kept(kept.offset() for kept in self._joins.complete(each)) for each in waiting)

    def refuse(self, identity: Identity, error: tuple[type[Exception], str] | None) -> int:
        """Refuses a join: its arrivals go back to their lane, to become dead letters. Return how many.

        Without an error, a worker checks them once more.
        """
        kept = self._joins.take(identity)
        for index, record in enumerate(kept):
            # what was to follow the join becomes a dead letter with one of them
            self.terms[record.offset()] = Terms(linked=True, followed=not index, arrives=True, refusal=error)
        key = kept[0].key()
        self.lanes.readmit(key, kept)
        if self.delayed_usage.tasks and self.lanes.is_delayed(key):
            self.add_delayed([record.offset() for record in kept])
        return len(kept)

    def delivering(self, since: float) -> int:
        """Return how many lent lanes wait for the acknowledgement of an output that was sent after `since`."""
        return sum(loan.handed_over_at is not None and loan.handed_over_at > since for loan in self.lent)

    def count_own(self, loans: Iterable[Loan]) -> int:
        """Return how many of the loans are of this partition."""
        return sum(loan.ledger is self for loan in loans)

    @property
    def kept(self) -> Usage:
        """Arrivals and markers that are kept: they are unsettled, and do not count as in flight."""
        return NOTHING if self.joins is None else Usage(self.joins.tasks, self.joins.bytes)

    def unkept_point(self, epoch: float) -> int | None:
        """Return the offset below which all is settled except arrivals at joins that do not expire before `epoch`.

        `epoch` is in seconds since the epoch. Return None before any offset is known.
        """
        if self.joins is None or not self.joins.open:
            return self.secured_point
        progress = self.offsets.progress()
        assert progress is not None
        point = self._point_past(progress, self.joins.lasting(epoch))
        return point if self.outbox.oldest is None else min(point, self.outbox.oldest)

    def _point_past(self, progress: Progress, kept: Container[int]) -> int:
        """Return the lowest offset that is unsettled and not one of these; the position if there is none."""
        aside = self.offsets.set_aside
        points = [stretch.offsets[stretch.start] for stretch in aside.stretches()] if aside is not None else []
        points.append(next((offset for offset in progress.unsettled if offset not in kept), progress.position))
        return min(points)

    def settle_kept(self, offsets: Iterable[int]) -> int:
        """Settles records that are no longer kept. Return how many."""
        if found := list(offsets):
            self.offsets.settle(found)
            self.done += len(found)
        return len(found)

    @property
    def _joins(self) -> Joins:
        if self.joins is None:
            self.joins = Joins(self._assigned_at)
        return self.joins

    def release(self, loan: Loan, *, first: bool = False) -> bool:
        """Takes back the loan's lane, with the tasks that are not done. Return whether it is ready again."""
        lane, records, done = loan.lane, loan.records, loan.done
        if done:
            self._advance(lane)
        unfinished = records[done:] if done < len(records) else []
        if not self._end(loan):
            return False
        ready = self.lanes.give_back(lane, unfinished, first=first)
        if self.overflow is not None:
            self.overflow.look(lane)
        return ready

    def cut_short(self, loan: Loan) -> int:
        """Leaves the loan the task that its borrower is at. Return how many behind it go back to the lane.

        The borrower iterates over `loan.records` meanwhile, without the lock, and increases `done` before it goes on
        to the next record. So if `done` is unchanged after the others were removed, it has begun none of them, and its
        next step finds the end of the list. If `done` has changed, it may have read one of them before the removal:
        they are put back, and the cut is made behind its new place.
        """
        records, behind = loan.records, list[Record]()
        while (end := loan.done + 1) < len(records):
            behind = records[end:]
            del records[end:]
            if loan.done < end:
                break
            records.extend(behind)  # the borrower went on meanwhile, and may be at one of them
            behind = []
        if behind and self.state is not CLOSED:
            self.lanes.put_front(loan.lane, behind)
        return len(behind)

    def narrow(self, loan: Loan, count: int) -> list[Record]:
        """Leaves the loan only its next `count` tasks. Return those behind them, which go back to the lane.

        Tasks that were done before are settled already, and leave the loan.
        """
        if loan.done:
            self._advance(loan.lane)
            loan.attempt = loan.lane.attempts + 1
        kept = loan.done + count
        behind = loan.records[kept:]
        loan.records = loan.records[loan.done : kept]
        loan.done = loan.settled = 0
        if behind and self.state is not CLOSED:
            self.lanes.put_front(loan.lane, behind)
        return behind

    def widen(self, loan: Loan, limit: int) -> list[Record]:
        """Adds at most `limit` more tasks of its lane to the loan, up to the first that has terms. Return them."""
        if self.terms:
            behind = loan.lane.waiting[:limit]
            limit = next((n for n, record in enumerate(behind) if record.offset() in self.terms), limit)
        more = self.lanes.take_more(loan.lane, limit)
        loan.records = [*loan.records, *more]
        return more

    def settle_others(self, loan: Loan, left: Sequence[int]) -> int:
        """Settles the loan's tasks except those at the indices `left`, which stay in it. Return how many settled."""
        records, kept = loan.records, set(left)
        settled = [record for index, record in enumerate(records) if index not in kept]
        if self.state is not CLOSED:
            self._settle(settled)
        loan.records = [records[index] for index in left]
        return len(settled)

    def release_done(self, loans: Sequence[Loan]) -> tuple[int, int]:
        """Takes back lanes whose lent tasks are all done. Return how many tasks settle, and how many lanes are ready.

        The ledger may not be closed. Work that the loans have in common is done once: a million sessions of one task
        each take 0.9 us for it, and 2.6 us one by one.
        """
        before = self.done
        unsettled = [loan.records[loan.settled :] if loan.settled else loan.records for loan in loans]
        self._settle(list(chain.from_iterable(unsettled)) if len(unsettled) > 1 else unsettled[0])
        for loan in loans:
            loan.settled = loan.done
        self.lent.difference_update(loans)
        return self.done - before, self.lanes.give_back_done([loan.lane for loan in loans])

    def park(self, loan: Loan, setback: Setback, *, failed: bool = True) -> bool:
        """Parks the loan's next task, which failed or could not begin. Return False if the ledger has closed meanwhile.

        With `failed`, the attempt counts. If it was made in a batch, all tasks left in the loan have failed with it.
        """
        failed_before = 0 if loan.done else loan.attempt - 1
        loan.lane.attempts = failed_before + failed
        loan.lane.setback = setback
        if not self._end(loan):
            return False
        unfinished = loan.records[loan.done :]
        if failed and loan.batch is not None and len(unfinished) > 1:
            self.tried[loan.lane] = len(unfinished) - 1
        self.lanes.park(loan.lane, unfinished)
        return True

    def transition(self, event: str) -> None:
        """Moves to the state that follows in `TRANSITIONS`.

        Raises:
            KeyError: the event cannot happen in this state.
        """
        self.state = TRANSITIONS[self.state, event]
        self.may_begin = self.state is OPEN

    @property
    def stamp(self) -> Stamp:
        """A value that changes whenever what may be committed changes."""
        kept = self.joins.kept if self.joins is not None else 0
        return self.done + self.missed + kept, self.skipped, self.offsets.position

    def progress(self) -> Progress | None:
        """Return what may be committed now; None before any offset is known, or once the ledger is closed."""
        progress = None if self.state is CLOSED else self.offsets.progress()
        if progress is None or (self.joins is None and not self.kept_until):
            return progress
        kept = self.joins.offsets if self.joins is not None else ()
        self.kept_until = max(self.kept_until, self._point_past(progress, kept))
        return progress._replace(kept_until=self.kept_until)

    def cut(self, now: float) -> Cut | None:
        """Return what a transaction may commit now; None before any offset is known, or once the ledger is closed."""
        progress = self.progress()
        if progress is None:
            return None
        outputs, withheld = self.outbox.content(now)
        return Cut(unsettling(progress, withheld, self.outbox.tasks_in(withheld)), outputs)

    def committed(self, offsets: Iterable[int]) -> list[Any]:
        """Takes the committed outputs of these tasks out of the outbox. Return them; none once the ledger is closed."""
        return [] if self.state is CLOSED else self.outbox.commit(offsets)

    @property
    def secured_point(self) -> int | None:
        """The offset below which every task is settled, and its output committed; None before any offset is known."""
        point, oldest = self.offsets.commit_point, self.outbox.oldest
        return point if oldest is None or point is None else min(point, oldest)

    def oldest_age(self, now: float) -> float:
        """Return the seconds since the oldest unsettled task was admitted; 0 if everything is settled."""
        oldest = self.offsets.oldest
        if oldest is None:
            return 0.0
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= oldest:
            marks.popleft()
        return now - marks[0][1]

    def _ready_age(self, now: float) -> float:
        """Return the seconds since the oldest task in a ready lane was admitted; 0 if no lane is ready."""
        heads = [lane.waiting[0].offset() for lane in self.lanes.ready]
        if not heads:
            return 0.0
        oldest = min(heads)
        return now - max(at for first, at in self._marks if first <= oldest)

    def head(self) -> Head | None:
        """Return the task that holds the commit point. The cost grows with the number of lanes.

        Return None if everything is settled, or if the record of that task is being read again.
        """
        oldest = self.offsets.oldest
        if oldest is None:
            return None
        for loan in self.lent:
            if loan.settled < len(loan.records) and loan.records[loan.settled].offset() == oldest:
                return Head(loan.records[loan.settled], loan.lane, loan)
        lane = self.lanes.headed_by(oldest)
        return Head(lane.waiting[0], lane, None) if lane is not None else None

    def _joining(self) -> Block | None:
        """Return the arrival or the marker that holds the commit point; None if it is neither."""
        oldest = self.offsets.oldest
        found = self.joins.holder_of(oldest) if self.joins is not None and oldest is not None else None
        if found is None:
            return None
        identity, record, since = found
        setback = Setback("processor.Join", self._joins.describe(identity), since, since)
        return Block(record, None, "joining", since, setback, 1, 0, None)

    def snapshot(self, now: float) -> LedgerSnapshot:
        """Return the state of this moment, for reports. The cost grows with the number of sessions that have tasks."""
        offsets, lanes, head, kept = self.offsets, self.lanes, self.head(), self.kept
        return LedgerSnapshot(
            in_flight=len(offsets) - kept.tasks,
            in_flight_bytes=offsets.bytes + self.outbox.bytes - kept.bytes,
            waiting=lanes.waiting,
            running=len(self.lent),
            parked=lanes.parked(),
            delayed=lanes.delayed(),
            set_aside=self.overflow.tasks - self.overflow.delayed if self.overflow is not None else 0,
            sessions_aside=self.overflow.sessions if self.overflow is not None else 0,
            delayed_aside=self.overflow.delayed if self.overflow is not None else 0,
            next_delay_aside=self.overflow.next_due if self.overflow is not None else None,
            open_joins=len(self.joins.open) if self.joins is not None else 0,
            sessions=len(lanes),
            settled=self.done,
            failed_attempts=self.failed_attempts,
            dead_lettered=self.dead_lettered,
            cancelled=self.cancelled,
            skipped=self.skipped,
            commit_point=offsets.commit_point,
            highest_settled=offsets.highest_settled,
            oldest_age=self.oldest_age(now),
            oldest_ready_age=self._ready_age(now),
            head=self._block(head) if head is not None else self._joining(),
        )

    def _block(self, head: Head) -> Block:
        place = head.place
        due = self.terms[head.record.offset()].due if place == "delayed" else None
        waiting = head.session_waiting + self.lanes.waiting_elsewhere(head.lane.key)
        return Block(head.record, head.loan, place, head.since, head.setback, head.attempt, waiting, due)

    def _mark(self, offset: int, now: float) -> None:
        """Notes when `offset` was admitted. If there are too many notes, every second one is dropped.

        An age is then too high, by at most the time between two notes that are left.
        """
        self._marks.append((offset, now))
        if len(self._marks) > MOST_MARKS:
            self._marks = deque(list(self._marks)[::2])

    def _settle(self, records: Sequence[Record]) -> None:
        if records:
            if self.joins is None:
                numbers = list(map(type(records[0]).offset, records))
            else:  # a refused arrival is a `KeptRecord`, so the records may be of two types
                numbers = [record.offset() for record in records]
            self.offsets.settle(numbers)
            self.done += len(records)
            if self.terms:
                for number in numbers:
                    self.terms.pop(number, None)

    def _read_terms(self, numbers: Sequence[int], headers: Sequence[Headers | None]) -> dict[int, int]:
        """Notes the terms on which these records, by offset and headers, may begin. Return their priorities."""
        priorities = {}
        for number, pairs in zip(numbers, headers, strict=True):
            if not pairs or (terms := self._terms_of(pairs)) is None:
                continue
            if terms.bind_its_begin:
                self.terms[number] = terms
            if terms.priority:
                priorities[number] = terms.priority
        return priorities

    def add_delayed(self, numbers: Sequence[int]) -> None:
        """Counts the tasks at these offsets as waiting behind a head that is too early."""
        usage = self._usage_of(numbers)
        self.delayed_usage = Usage(self.delayed_usage.tasks + usage.tasks, self.delayed_usage.bytes + usage.bytes)

    def take_delayed(self, numbers: Sequence[int]) -> None:
        """Counts the tasks at these offsets as no longer waiting there."""
        usage = self._usage_of(numbers)
        self.delayed_usage = Usage(self.delayed_usage.tasks - usage.tasks, self.delayed_usage.bytes - usage.bytes)

    def _usage_of(self, numbers: Sequence[int]) -> Usage:
        return Usage(len(numbers), self.offsets.size_of(numbers))

    def _advance(self, lane: Lane) -> None:
        """Resets the attempts of a lane whose head is settled: to 1 if the next task failed in its batch, else to 0."""
        lane.attempts = 0
        lane.setback = None
        if self.tried and (left := self.tried.pop(lane, 0)):
            lane.attempts = 1
            if left > 1:
                self.tried[lane] = left - 1

    def _end(self, loan: Loan) -> bool:
        self.lent.discard(loan)
        return self.state is not CLOSED


def headers_in(kind: type[Record], records: Sequence[Record]) -> Sequence[Headers | None] | None:
    """Return the headers of each record; None if no record has any, so that one check covers the whole batch."""
    headers = list(map(kind.headers, records))
    return headers if any(headers) else None


def sizes_of(
    kind: type[Record],
    records: Sequence[Record],
    keys: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
) -> list[int]:
    """Return the bytes of key, value and headers of each. `headers` is what `headers_in` returned.

    The client's accessors are called through `map`: in a Python loop each call costs twice as much. Only the poller
    admits, so admission limits a consumer with quick handlers. No-op tasks on 64 threads: 2.56 us of a core a record
    with loops, 2.45 without (three runs each).
    """
    values = list(map(kind.value, records))
    try:
        sizes = list(map(add, map(len, keys), map(len, values)))  # type: ignore[arg-type]
    except TypeError:  # a record without a key, or without a value
        sizes = [len(key or b"") + len(value or b"") for key, value in zip(keys, values, strict=True)]
    for index, pairs in enumerate(headers or ()):
        sizes[index] += sum(len(name) + len(text or b"") for name, text in pairs or ())
    return sizes

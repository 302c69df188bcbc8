"""The poller: the one thread that talks to the consumer group. Takes records, commits offsets, obeys the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, repeat
from operator import is_
from time import monotonic

from processor.engine.flow import Flow, Held
from processor.engine.ledger import Loan
from processor.runtime.attempt import about
from processor.runtime.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.ports import Commit, End, Partition, Record, Source, Start
from processor.runtime.stop_at_end import Goal
from processor.settings import Settings
from processor.telemetry.events import (
    ConsumerAssigned,
    ConsumerFetchPaused,
    ConsumerFetchResumed,
    ConsumerLeaseLapsed,
    ConsumerLeaseRenewed,
    ConsumerLost,
    ConsumerOffsetsMissed,
    ConsumerOffsetsRewound,
    ConsumerRevoked,
    Emit,
    TaskAbandoned,
)

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

EARLY_COMMIT = 100_000
"""Settled tasks that are worth a commit before its time: what a crash would repeat."""

EARLY_COMMIT_SECONDS = 0.1
"""And never more often than this."""

UNANSWERED_SECONDS = 30.0
"""A commit that is not answered for so long is made again. A client that has lost its coordinator answers late, when
it has found one and has sent the commit again: one that was made meanwhile might get there before it."""

ASK_AGAIN_SECONDS = 0.2
"""How often the group is asked whether this is a member still, while it does not answer."""

LAST_COMMIT_SECONDS = 5.0
"""How long a last commit is tried when the drain has used up its time."""

MOST_PAUSE_SECONDS = 1.0
"""Between two tries of a last commit; the pauses double up to this."""

JOIN_SECONDS = 5.0
"""How long a stop waits for a join that is under way: who leaves in the middle of it stays in the group,
with partitions that nobody serves, until its session times out."""

MOST_SPANS = 100
"""Ranges of missed offsets in one log line."""


class Poller:
    """Runs in one thread. The listener's methods are called in it too, from inside the source."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        desk: Desk,
        committer: Committer,
        emit: Emit,
        chore: Callable[[], None],
        hurry: Callable[[], bool],
        running_seconds: Callable[[Loan], float],
    ) -> None:
        """`chore` is called between polls, `hurry` tells whether there is no time for a drain."""
        self.abandoned = 0
        self.missed = 0
        self.rebalances = 0
        self.in_group = False
        """Whether it has been assigned something, or nothing, since it last lost all."""
        self.turned_at = monotonic()
        """When it last went round; other threads read it."""
        self._settings = settings
        self._source = source
        self._desk = desk
        self._committer = committer
        self._lease = desk.lease
        self._lapsed_at: float | None = None
        self._emit = emit
        self._chore = chore
        self._hurry = hurry
        self._running_seconds = running_seconds
        self._flow: Flow[Partition] = Flow(settings.max_in_flight, settings.max_in_flight_bytes)
        self._record_bytes = 1024
        self._full_since: float | None = None
        self._all_paused = False
        self._next_poll = 0.0
        self._next_commit = 0.0
        self._next_ask = 0.0
        self._last_commit = 0.0
        self._settled_at_commit = 0
        self._joined = False
        self._stopping = False

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions that are not fetched for now."""
        return frozenset(self._desk.assignment.ledgers) if self._all_paused else self._flow.paused

    def run(self, stopped: Callable[[], bool], goal: Goal | None) -> bool:
        """Polls until `stopped`, or until the goal is reached; whether that was it."""
        self._source.open(self)
        if goal is not None:
            goal.set()
        while not stopped():
            self._step()
            if goal is not None and goal.reached():
                return True
        return False

    def drain(self, *, let_in: bool = True) -> bool:
        """Begins nothing more, waits for what runs, commits; whether all ended and was committed in time.

        Args:
            let_in: whether the brokers let this client in; else a join under way will not end.
        """
        self._stopping = True
        partitions = list(self._desk.assignment.ledgers)
        self._desk.drain(partitions)
        self._pause(partitions)
        deadline = monotonic() + self._settings.drain_timeout
        if let_in:
            self._await_join()
        ended = self._await_running(deadline)
        committed = self._commit_last(deadline)
        return ended and committed

    def leave(self) -> None:
        """Forgets everything: what the group still asks for while this member leaves finds nothing to wait for."""
        self._forget(list(self._desk.assignment.ledgers))

    # --- one step ----------------------------------------------------------------------------------

    def _step(self) -> None:
        now = monotonic()
        self._turn(now)
        room = self._room(now)
        if room:
            self._admit(self._source.take(room, POLL_SECONDS))
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        elif now >= self._next_poll:
            self._admit(self._source.take(1, 0.0))
            self._next_poll = monotonic() + FULL_POLL_SECONDS
        else:
            self._desk.rest(FULL_REST_SECONDS)
        self._commit_when_due(monotonic())
        self._chore()

    def _room(self, now: float) -> int:
        """How many records may be asked for now; 0 while there is no room."""
        held = self._held()
        tasks, size = sum(h.tasks for h in held.values()), sum(h.bytes for h in held.values())
        if tasks:
            self._record_bytes = max(1, size // tasks)
        verdict = self._flow.decide(held, now, idle=self._desk.idle, behind=self._is_behind)
        if verdict.pause:
            self._source.pause(verdict.pause)
            self._tell(ConsumerFetchPaused, verdict.pause, held)
        if verdict.resume and not self._all_paused:
            self._source.resume(verdict.resume)
            self._tell(ConsumerFetchResumed, verdict.resume, held)
        if verdict.take:
            self._go_on()
            return min(TAKE, self._flow.room(tasks, size, self._record_bytes))
        self._hold(now)
        return 0

    def _held(self) -> dict[Partition, Held]:
        ledgers = self._desk.assignment.ledgers
        return {p: Held(len(ledger.offsets), ledger.offsets.bytes) for p, ledger in ledgers.items()}

    def _is_behind(self, partition: Partition) -> bool:
        """Whether the broker may have more of it. Before the first fetch nobody knows: then it may."""
        position = self._desk.assignment.ledgers[partition].offsets.position
        end = self._source.high_watermark(partition)
        return position is None or end is None or end > position

    def _hold(self, now: float) -> None:
        """Nothing may be taken: after a while everything is paused, so that polling brings nothing."""
        if self._full_since is None:
            self._full_since = now
        elif not self._all_paused and now - self._full_since > FULL_PAUSE_SECONDS:
            self._all_paused = True
            self._pause(list(self._desk.assignment.ledgers))

    def _go_on(self) -> None:
        self._full_since = None
        if self._all_paused:
            self._all_paused = False
            paused = self._flow.paused
            self._source.resume([p for p in self._desk.assignment.ledgers if p not in paused])

    def _pause(self, partitions: Sequence[Partition]) -> None:
        if partitions:
            self._source.pause(partitions)

    def _tell(
        self,
        event: type[ConsumerFetchPaused] | type[ConsumerFetchResumed],
        partitions: Sequence[Partition],
        held: dict[Partition, Held],
    ) -> None:
        for partition in partitions:
            tasks = held[partition].tasks if partition in held else 0
            self._emit(event(topic=partition.topic, partition=partition.number, in_flight=tasks))

    # --- records -----------------------------------------------------------------------------------

    def _admit(self, records: Sequence[Record]) -> None:
        if not records:
            return
        ledgers = self._desk.assignment.ledgers
        records, ends = self._interpreted(records)
        # a record may still arrive of a partition that was revoked while it was taken: it is another's now
        runs = [(p, run) for p, run in self._runs(records) if p in ledgers and not self._stopping]
        for partition, run in runs:
            if not ledgers[partition].continues_at(run[0].offset()):
                self._restart(partition, run[0].offset())
        if runs:
            self._desk.admit(runs)
        self._reach(ends)

    def _interpreted(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[End]]:
        """The records among them that are records, and what the others say."""
        errors = list(map(type(records[0]).error, records))
        if all(map(is_, errors, repeat(None))):  # by identity: a client's error cannot be compared with None
            return records, []
        told = [record for record, error in zip(records, errors, strict=True) if error is not None]
        ends = [end for end in map(self._source.interpret, told) if end is not None]
        return [record for record, error in zip(records, errors, strict=True) if error is None], ends

    def _runs(self, records: Sequence[Record]) -> Iterator[tuple[Partition, Sequence[Record]]]:
        """The records by partition, as they come one behind the other."""
        if not records:
            return
        kind = type(records[0])
        places: Sequence[object] = list(map(kind.partition, records))
        if len(self._settings.topics) > 1:
            places = list(zip(map(kind.topic, records), places, strict=True))
        at = 0
        for _, same in groupby(places):
            run = records[at : at + len(list(same))]
            at += len(run)
            yield Partition(run[0].topic(), run[0].partition()), run

    def _reach(self, ends: Sequence[End]) -> None:
        with self._desk.lock:
            for end in ends:
                ledger = self._desk.assignment.ledgers.get(end.partition)
                if ledger is not None and not self._stopping:
                    ledger.offsets.reach(end.offset)

    def _restart(self, partition: Partition, offset: int) -> None:
        """The offsets went back: what is held belongs to records that are gone, or will come again."""
        with self._desk.lock:
            expected = self._desk.assignment.ledgers[partition].offsets.position
            discarded = self._desk.assignment.close(partition)
            self._desk.assignment.assign(partition, offset)
        self._committer.forget([partition])
        self._emit(
            ConsumerOffsetsRewound(
                topic=partition.topic,
                partition=partition.number,
                expected_offset=expected,
                offset=offset,
                discarded=discarded,
            )
        )

    # --- commits -----------------------------------------------------------------------------------

    def _commit_when_due(self, now: float) -> None:
        early = self._desk.settled - self._settled_at_commit >= EARLY_COMMIT
        ask = now >= self._next_ask and self._lease.renewal_due(now)
        due = ask or now >= self._next_commit or (early and now - self._last_commit >= EARLY_COMMIT_SECONDS)
        # one commit at a time; but one that is never answered must not be the last
        if due and (self._committer.idle or now - self._last_commit > UNANSWERED_SECONDS):
            self._last_commit = now
            self._next_commit = now + self._settings.commit_interval
            self._next_ask = now + ASK_AGAIN_SECONDS if ask else self._next_ask
            self._settled_at_commit = self._desk.settled
            self._commit(ask=ask)

    def _commit(self, *, ask: bool) -> None:
        """Commits what has changed, or asks whether this is a member: by itself where there is nothing to commit, or
        where what there is was refused, perhaps for what is in it.
        """
        if not (ask and self._committer.refused and self._committer.ask()) and not self._committer.commit() and ask:
            self._committer.ask()

    def _turn(self, now: float) -> None:
        """Goes round once more. While the lease does not hold nobody begins anything; it is said where that matters."""
        self.turned_at = now
        slept = self._lease.turn(now)
        if self._lease.holds(now):
            self._desk.go_on()
            if self._lapsed_at is not None:
                self._emit(ConsumerLeaseRenewed(seconds=round(now - self._lapsed_at, 3)))
                self._lapsed_at = None
        elif self._lapsed_at is None and self._desk.assignment.waiting and not self._stopping:
            self._lapsed_at = now
            seconds = slept or self._lease.unproven_seconds(now)
            self._emit(
                ConsumerLeaseLapsed(
                    reason="asleep" if slept else "unanswered",
                    seconds=round(seconds, 3),
                    waiting=self._desk.assignment.waiting,
                )
            )

    def _commit_last(self, deadline: float) -> bool:
        """Commits until it is accepted: in the middle of a rebalance it is refused, and polling gets past that.

        An asynchronous one that is still to be answered could get to the group behind it: then it is made again. Such a
        one is waited for only so long: where the coordinator went away with it, no answer will come.
        """
        answered_by = monotonic() + LAST_COMMIT_SECONDS
        deadline = max(deadline, answered_by)
        seconds = 1.0 if self._hurry() else LAST_COMMIT_SECONDS
        pause = POLL_SECONDS
        while True:
            self._turn(monotonic())
            partitions = list(self._desk.assignment.ledgers)
            was_idle = self._committer.idle
            error = self._committer.commit_now(partitions, seconds)
            if error is None and (was_idle or not partitions or monotonic() > answered_by):
                return True
            if self._hurry() or monotonic() > deadline:
                return error is None
            self._source.take(1, pause)
            pause = min(2 * pause, MOST_PAUSE_SECONDS)

    # --- the end -----------------------------------------------------------------------------------

    def _await_join(self) -> None:
        deadline = monotonic() + JOIN_SECONDS
        while not self._joined and monotonic() < deadline and not self._hurry():
            self._source.take(1, POLL_SECONDS)

    def _await_running(self, deadline: float) -> bool:
        """Waits for what runs, and stays in the group meanwhile."""
        while True:
            ended = self._drained(list(self._desk.assignment.ledgers), deadline)
            if ended is not None:
                return ended
            self._source.take(1, 0.0)
            self._commit_when_due(monotonic())

    def _drained(self, partitions: Sequence[Partition], deadline: float) -> bool | None:
        """Waits a moment: True once nothing runs, False once time is over and the rest is abandoned, else None."""
        self._turn(monotonic())
        if self._desk.wait_drained(partitions, min(0.05, max(0.0, deadline - monotonic()))):
            return True
        if monotonic() >= deadline or self._hurry():
            self._abandon(partitions)
            return False
        return None

    def _abandon(self, partitions: Sequence[Partition]) -> None:
        loans = self._desk.lent_of(partitions)
        self.abandoned += len(loans)
        for loan in loans:
            if loan.done < len(loan.records):
                record = loan.records[loan.done]
                seconds = round(self._running_seconds(loan), 3)
                self._emit(TaskAbandoned(**about(record, loan.attempt, None), running_seconds=seconds))

    # --- what the group decides --------------------------------------------------------------------

    def on_assign(self, starts: Sequence[Start]) -> None:
        """These partitions are this consumer's now."""
        now = monotonic()
        self._turn(now)
        self._lease.renew(now)
        self._joined = self.in_group = True
        self.rebalances += 1
        settled_ahead = 0
        for start in starts:
            ranges = self._committer.restore(start)
            settled_ahead += sum(high - low for low, high in ranges)
            self._flow.forget(start.partition)
            with self._desk.lock:
                self._desk.assignment.assign(start.partition, start.offset, ranges)
                if self._stopping:
                    self._desk.assignment.drain(start.partition)
        # the client keeps an application's pause over a revoke and a new assignment
        partitions = [start.partition for start in starts]
        if self._stopping or self._all_paused:
            self._pause(partitions)
        elif partitions:
            self._source.resume(partitions)
        names = [f"{s.partition}@{s.offset if s.offset is not None else 'start'}" for s in starts]
        self._emit(ConsumerAssigned(partitions=names, settled_ahead=settled_ahead))

    def on_revoke(self, partitions: Sequence[Partition]) -> None:
        """Drain, commit, forget."""
        self.rebalances += 1
        partitions = [p for p in partitions if p in self._desk.assignment.ledgers]
        begun = monotonic()
        deadline = begun + self._settings.drain_timeout
        self._desk.drain(partitions)
        abandoned_before = self.abandoned
        while self._drained(partitions, deadline) is None:
            continue
        self._committer.commit_now(partitions, LAST_COMMIT_SECONDS)
        released = self._forget(partitions)
        self._emit(
            ConsumerRevoked(
                partitions=[str(p) for p in partitions],
                drain_seconds=round(monotonic() - begun, 3),
                abandoned=self.abandoned - abandoned_before,
                released=released,
            )
        )

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        """Forget, commit nothing: they are another's already."""
        self.in_group = False
        self.rebalances += 1
        partitions = [p for p in partitions if p in self._desk.assignment.ledgers]
        running = len(self._desk.lent_of(partitions))
        released = self._forget(partitions)
        self._emit(ConsumerLost(partitions=[str(p) for p in partitions], released=released, running=running))

    def on_reset(self, partition: Partition, offset: int) -> None:
        """Retention has deleted what came next, or the topic was made anew."""
        ledger = self._desk.assignment.ledgers.get(partition)
        if ledger is None or self._stopping:
            return
        if not ledger.continues_at(offset):
            self._restart(partition, offset)
            return
        with self._desk.lock:
            missed = ledger.offsets.undelivered_below(offset)
            ledger.offsets.reach(offset)
        if missed:
            count = sum(high - low for low, high in missed)
            self.missed += count
            self._emit(
                ConsumerOffsetsMissed(
                    topic=partition.topic,
                    partition=partition.number,
                    missed_offsets=count,
                    offsets=[_span(low, high) for low, high in missed[:MOST_SPANS]],
                    next_offset=offset,
                )
            )

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """An asynchronous commit has ended."""
        self._committer.on_committed(commits, error)

    def _forget(self, partitions: Sequence[Partition]) -> int:
        with self._desk.lock:
            for partition in partitions:
                self._desk.counts.skipped += self._desk.assignment.ledgers[partition].skipped
            released = sum(self._desk.assignment.close(partition) for partition in partitions)
        self._committer.forget(partitions)
        for partition in partitions:
            self._flow.forget(partition)
        return released


def _span(low: int, high: int) -> str:
    return str(low) if high == low + 1 else f"{low}-{high - 1}"

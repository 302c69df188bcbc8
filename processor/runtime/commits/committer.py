"""`Committer`: makes commits, and handles the responses to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic, sleep

from processor.engine.commit_note import Note
from processor.runtime.commits.changes import Change, Changes
from processor.runtime.commits.held import Held, HeldCommits
from processor.runtime.commits.known import KnownCommits
from processor.runtime.commits.map_records import WRITE_SECONDS, MapRecords
from processor.runtime.commits.metadata import Metadata, Restored
from processor.runtime.commits.staging import Staging
from processor.runtime.desk import Desk
from processor.runtime.ports import Commit, MetadataTooLarge, NotSent, OutputsRefused, Partition, Source, Start
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.events import ConsumerCommitFailed, Emit

EARLY_COMMIT = 100_000
"""A commit is made before its time after this many settled tasks, since a crash would repeat all of them."""

EARLY_COMMIT_SECONDS = 0.1
"""The shortest time between two such commits."""

UNANSWERED_SECONDS = 30.0
"""A commit is made again if it is not answered for this long. A client that has lost its coordinator answers late, once
it has found one and has sent the commit again. A commit that was made meanwhile might arrive there before that one."""

FINISH_SECONDS = 5.0
"""At a stop, a commit is made again if it is not answered for this long."""

FIRST_ABORT_SECONDS, LAST_ABORT_SECONDS = 0.01, 0.16
"""The first and the last pause between two tries of a transaction that a revoke waits for. Each is twice as long as the
one before. A member that the group has evicted is refused each time, so it waits for 0.3 s in all."""

ASK_AGAIN_SECONDS = 0.2
"""Time between two checks that the consumer is still a member, while the group does not answer."""

MAP_FAILED = "the skip maps of this commit could not be written to the progress topic"


class Committer:
    """Commits the progress of all partitions. Belongs to the poller's thread."""

    def __init__(self, interval: float, desk: Desk, source: Source, emit: Emit, staging: Staging | None = None) -> None:
        """`interval` is the time between two commits, in seconds. `staging`, with exactly-once, has the outputs that
        are committed with them.
        """
        self._interval = interval
        self._desk = desk
        self._source = source
        self._emit = emit
        self._staging = staging
        self._known = KnownCommits()
        self._metadata = Metadata(emit)
        self._changes = Changes(desk, self._known, self._metadata, staging)
        self._held: HeldCommits | None = None
        """Commits that wait for their skip maps, if these may be written as records; else None."""
        self._next_commit = 0.0
        self._next_ask = 0.0
        self._last_commit = 0.0
        self._settled_at_commit = 0
        self._asked = 0
        self._finish_by = inf
        """When a stop ends its wait for answers to earlier commits."""
        self._is_finishing = False
        self._error: str | None = None
        """The error of the last commit; None if it was accepted."""
        self._refusals = Repeats(LOG_AGAIN_SECONDS)

    def write_to(self, records: MapRecords) -> None:
        """From now on, skip maps that do not fit into metadata are written as records."""
        self._metadata.records = records
        self._held = HeldCommits(records)

    # --- partitions ----------------------------------------------------------------------------------

    def follow(self, starts: Sequence[Start]) -> None:
        """Reads the skip maps that these commits refer to, before they are restored.

        Raises:
            BrokerError: with exactly-once, no broker responds for one of them.
        """
        if self._metadata.records is not None:
            self._metadata.records.follow(starts, must_respond=self._staging is not None)

    def restore(self, start: Start) -> Restored:
        """Return what the group has as settled above the committed offset."""
        self.forget([start.partition])
        if start.offset is None:
            return Restored([], None)
        restored = self._metadata.restore(start, start.offset)
        if restored is None:
            return Restored([], None)  # the next commit replaces it, even if no task settles before
        self._known.start_at(Commit(start.partition, start.offset, start.metadata))
        return restored

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forgets partitions that no longer belong to this consumer."""
        for partition in partitions:
            if self._held is not None and self._held.holds(partition):
                self._drop_held()
            self._metadata.forget(partition)
            self._known.forget(partition)

    def committed(self, partition: Partition) -> int | None:
        """Return the offset that the group is known to have committed; None if there is none."""
        commit = self._known.accepted(partition)
        return commit.offset if commit else None

    def has_uncommitted(self, partitions: Sequence[Partition]) -> bool:
        """Return whether tasks of these partitions are settled, and the group is not known to have that."""
        known, held = self._known, self._held
        changed = self._desk.commits.progress(partitions, known.stamps)  # stages what was to be staged, too
        return (
            self._desk.commits.have_staged(partitions)
            or any(not known.is_accepted(p) or (held is not None and held.holds(p)) for p in partitions)
            or any(
                settled and not self._metadata.covers(known.accepted(partition), progress)
                for partition, (settled, *_), progress in changed
            )
        )

    def note(self, partition: Partition, note: Note) -> None:
        """Adds the note to the partition's commits until the note expires."""
        self._metadata.note(partition, note)

    def drop_note(self, partition: Partition) -> None:
        """Stops adding a note to the partition's commits. The next commit replaces the one that the group has."""
        if self._metadata.drop_note(partition):
            self._known.stamps.pop(partition, None)  # even if no task of the partition ever settles again

    def note_of(self, partition: Partition) -> Note | None:
        """Return the note in the partition's commits; None if there is none."""
        return self._metadata.note_of(partition)

    # --- without waiting -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no asynchronous commit is in progress."""
        return self._known.unanswered_since is None

    def commit_soon(self) -> None:
        """Commits as soon as no commit is in progress."""
        self._next_commit = 0.0

    def commit_when_due(self, now: float) -> None:
        """Commits without waiting: every interval, earlier after very many tasks, or to renew the lease."""
        if not self._release(now):
            return
        settled, lease = self._desk.counts.settled, self._desk.lease
        early = settled - self._settled_at_commit >= EARLY_COMMIT
        ask = now >= self._next_ask and lease.renewal_due(now)
        due = ask or now >= self._next_commit or (early and now - self._last_commit >= EARLY_COMMIT_SECONDS)
        # One commit at a time, but a commit that is never answered must not be the last one.
        if due and (self.idle or (self._staging is None and now - self._last_commit > UNANSWERED_SECONDS)):
            self._last_commit = now
            self._next_commit = now + self._interval
            self._next_ask = now + ASK_AGAIN_SECONDS if ask else self._next_ask
            self._settled_at_commit = settled
            self._commit_or_ask(ask=ask)

    def finish(self, now: float) -> bool:
        """Commits what is left. Return whether the group has all of it; call it again until it has.

        An unanswered commit could reach the group after the last one, which is then made again. The wait for its answer
        is bounded: if the coordinator was lost with it, no answer will come.
        """
        self._is_finishing = True
        if not self._release(now):
            return False
        if self._staging is not None:
            return self.idle and not self._commit_changes() and not self._desk.commits.has_staged
        self._finish_by = min(self._finish_by, now + FINISH_SECONDS)
        if self._known.has_pending and now - self._last_commit > FINISH_SECONDS:
            self._known.stamps.clear()
        if self._commit_changes():
            self._last_commit = now
        is_held = self._held is not None and self._held.now is not None
        is_answered = not self._known.has_pending or now > self._finish_by
        return self._known.are_all_accepted and not is_held and is_answered

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """Handles the answer to an asynchronous commit."""
        self._conclude(commits, error, self._known.answer(commits))

    def _commit_or_ask(self, *, ask: bool) -> None:
        """Commits what has changed, or asks whether this consumer is still a member.

        It sends a separate request for that if there is nothing to commit, or if the last commit was refused, perhaps
        because of its content.
        """
        if ask and self._error is not None and self._ask():
            return
        if not self.idle:
            self._known.give_up_waiting()
        if not self._commit_changes() and ask:
            self._ask()

    def _ask(self) -> bool:
        """Repeats the last accepted commit of one partition, to find out whether this consumer is still a member.

        If the group has no commit, it sends the current commit point without a skip map, which the group might refuse.
        Each call takes the next partition, since the topic of one may be the reason of a refusal. Return False if there
        is nothing to commit.
        """
        partitions = self._desk.partitions.assigned
        known = [commit for p in partitions if (commit := self._known.accepted(p)) is not None]
        if not known:
            known = [Commit(p, at, "") for p, at in self._desk.commits.points(partitions).items()]
        self._asked += 1
        return self._send(Change([known[self._asked % len(known)]] if known else [], {}))

    # --- waiting -------------------------------------------------------------------------------------

    def commit_now(self, partitions: Sequence[Partition], seconds: float) -> str | None:
        """Commits what has changed in these partitions, and waits. Return None if all is committed, else why not."""
        if self._staging is not None:
            return self._commit_outputs_now(partitions, monotonic() + seconds)
        self._drop_held()  # otherwise these older commits would be sent after the new ones
        self._known.expect_again(partitions)
        commits = self._with_references(self._changes.take(partitions, is_patient=False), seconds)
        if commits is None:
            return self.commit_now(partitions, seconds)  # with maps that fit
        if not commits:
            return None
        self._known.send(commits, is_awaited=True)
        asked_at = monotonic()
        error = self._source.commit_now(commits, seconds)
        self._conclude(commits, error, asked_at)
        if isinstance(error, MetadataTooLarge) and any(commit.metadata for commit in commits):
            return self.commit_now(partitions, seconds)  # with shorter maps, and in the end with none
        return error

    def _commit_outputs_now(self, partitions: Sequence[Partition], deadline: float) -> str | None:
        """Does the same with exactly-once. A transaction in progress must end first: it has some of the outputs.

        An aborted transaction is tried again a few times. The one in progress may have belonged to a generation that
        ended with the rebalance; and the first one after an abort may find that sequence numbers were skipped.
        """
        pause = FIRST_ABORT_SECONDS
        while True:
            self._await_commit(deadline)
            if not self.idle:
                return "the transaction takes too long"
            if not self._send(self._changes.take(partitions, is_patient=False)):
                return None
            self._await_commit(deadline)
            may_be_mended = self._error == MAP_FAILED or isinstance(self._error, MetadataTooLarge | OutputsRefused)
            if self._error is None or (may_be_mended and monotonic() < deadline):
                continue
            if pause > LAST_ABORT_SECONDS or monotonic() + pause > deadline:
                return self._error
            sleep(pause)
            pause *= 2

    def _await_commit(self, deadline: float) -> None:
        """Waits for the commit in progress, and for the skip maps that it waits for."""
        held = self._held.now if self._held is not None else None
        if held is not None:
            held.wait(deadline)
            self._release(inf)
        self._source.await_commit(max(0.0, deadline - monotonic()))

    def _with_references(self, change: Change, seconds: float) -> Sequence[Commit] | None:
        """Wait for the skip maps, and return the commits with references to them; None if they were not written."""
        if not change.maps or self._held is None:
            return change.commits
        held = self._held.hold(change.commits, change.maps, WRITE_SECONDS)
        held.wait(monotonic() + seconds)
        return self._taken(self._held, held)

    # --- sending -------------------------------------------------------------------------------------

    def _commit_changes(self) -> bool:
        """Commits what has changed, without waiting. Return whether anything had."""
        return self._send(self._changes.take(None, is_patient=not self._is_finishing))

    def _send(self, change: Change) -> bool:
        if change.commits:
            if self._known.unanswered_since is None:
                self._known.unanswered_since = monotonic()
            if change.maps and self._held is not None:
                self._held.hold(change.commits, change.maps, WRITE_SECONDS)
            else:
                self._hand_over(change.commits)
        return bool(change.commits)

    def _hand_over(self, commits: Sequence[Commit]) -> None:
        self._known.send(commits)
        if self._staging is None:
            self._source.commit(commits)
        else:
            self._source.commit(commits, self._staging.records())

    def _release(self, now: float) -> bool:
        """Sends the commits that are held, once their skip maps are written. Return whether none is held any more.

        If they were not written, the partitions are committed later with maps that fit.
        """
        if self._held is None or self._held.now is None:
            return True
        if not self._held.now.is_over(now):
            return False
        commits = self._taken(self._held, self._held.now)
        if commits is not None:
            self._hand_over(commits)
        return True

    def _taken(self, held_commits: HeldCommits, held: Held) -> list[Commit] | None:
        """Return the held commits with references. If their skip maps were not written, drop them and return None."""
        held_commits.take()
        commits = held_commits.referring(held)
        if commits is None:
            self._drop(held, MAP_FAILED)
        return commits

    def _drop_held(self) -> None:
        held = self._held.take() if self._held is not None else None
        if held is not None:
            self._drop(held, "its partitions were given up")

    def _drop(self, held: Held, error: str) -> None:
        """Drops commits that were held: their partitions are soon committed again."""
        self._known.withdraw(held.commits)
        self._error = error
        if self._staging is not None:
            self._staging.conclude(error)
        self.commit_soon()

    # --- answers -------------------------------------------------------------------------------------

    def _conclude(self, commits: Sequence[Commit], error: str | None, asked_at: float | None) -> None:
        self._error = error
        if self._staging is not None:
            self._staging.conclude(error)
        if error is None:
            self._desk.counts.commits += 1
            if asked_at is not None:
                self._desk.lease.renew(asked_at)  # the group accepts commits from its members only
            self._refusals.forget()
            self._metadata.accept(self._known.accept(commits))
            return
        self._known.refuse(commits)
        if isinstance(error, MetadataTooLarge) and any(commit.metadata for commit in commits):
            self._metadata.shorten(commits, error.partitions)
            self.commit_soon()
        elif isinstance(error, OutputsRefused | NotSent):
            self.commit_soon()
        else:
            self._desk.counts.commit_failures += 1
            if self._refusals.is_due(error, monotonic()):
                self._emit(ConsumerCommitFailed(error=error, partitions=[str(c.partition) for c in commits]))

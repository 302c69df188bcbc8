"""`Committer`: what is committed, and when. It encodes skip maps and remembers what the group accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import wait
from math import inf
from time import monotonic, sleep, time
from typing import NamedTuple

from processor.engine import skipmap
from processor.engine.commit_note import Note, split
from processor.engine.ledger import Stamp
from processor.engine.offsets import Progress, Range
from processor.engine.outbox import Cut
from processor.runtime.desk import Desk
from processor.runtime.map_records import WRITE_SECONDS, MapRecords, Written
from processor.runtime.ports import Commit, MetadataTooLarge, OutputsRefused, Partition, Source, Start
from processor.runtime.staging import Staging
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, Repeats
from processor.telemetry.events import (
    ConsumerCommitFailed,
    ConsumerSkipMapCut,
    ConsumerSkipMapIgnored,
    ConsumerSkipMapRefused,
    Emit,
)

EARLY_COMMIT = 100_000
"""Settled tasks that are worth a commit before its time: what a crash would repeat."""

EARLY_COMMIT_SECONDS = 0.1
"""And never more often than this."""

UNANSWERED_SECONDS = 30.0
"""A commit that is not answered for so long is made again. A client that has lost its coordinator answers late, when
it has found one and has sent the commit again: one that was made meanwhile might get there before it."""

FINISH_SECONDS = 5.0
"""The same at a stop."""

FIRST_ABORT_SECONDS, LAST_ABORT_SECONDS = 0.01, 0.16
"""Between two tries of a transaction that a revoke waits for; the pauses double. A member that the group has given up
is refused each time: it waits for 0.3 s in all."""

ASK_AGAIN_SECONDS = 0.2
"""How often the group is asked whether this is a member still, while it does not answer."""

MAP_FAILED = "the skip maps of this commit could not be written to the progress topic"


class _Held(NamedTuple):
    """Commits that wait until the skip maps that they refer to are acknowledged."""

    commits: Sequence[Commit]
    """The metadata of those without a map yet is what follows the reference."""
    values: Mapping[Partition, bytes]
    written: Written
    until: float
    """How long they wait, in seconds of the monotonic clock."""


class Committer:
    """Belongs to the poller's thread."""

    def __init__(self, interval: float, desk: Desk, source: Source, emit: Emit, staging: Staging | None = None) -> None:
        """`interval` is the time between two commits, in seconds; `staging` has the outputs that go with them."""
        self._staging = staging
        self._interval = interval
        self._next_commit = 0.0
        self._next_ask = 0.0
        self._last_commit = 0.0
        self._settled_at_commit = 0
        self._desk = desk
        self._source = source
        self._emit = emit
        self._accepted: dict[Partition, Commit] = {}
        self._sent: dict[Partition, Commit] = {}
        """The last one of each partition, whether answered or not."""
        self._pending: set[Commit] = set()
        """Those that are not answered."""
        self._finish_by = inf
        """Until when answers to earlier commits are waited for, at a stop."""
        self._stamps: dict[Partition, Stamp] = {}
        self._shortened: set[Partition] = set()
        """Partitions whose last skip map left something out."""
        self._limits: dict[Partition, int] = {}
        """Of partitions whose metadata was refused: the characters that are tried now."""
        self._notes: dict[Partition, Note] = {}
        """What the commits of a partition say beside their skip map, where that is anything."""
        self._unanswered_since: float | None = None
        """When the oldest commit that is not answered was sent."""
        self._asked = 0
        self._error: str | None = None
        """The last answer, where it was a refusal."""
        self._refusals = Repeats(LOG_AGAIN_SECONDS)
        self._records: MapRecords | None = None
        """Writes the maps that do not fit, and reads those that commits refer to."""
        self._values: dict[Partition, bytes] = {}
        """The maps that are to be written before what `_changed` has returned is committed."""
        self._held: _Held | None = None
        self._is_finishing = False

    def write_to(self, records: MapRecords) -> None:
        """Has skip maps written as records where they do not fit into metadata."""
        self._records = records

    @property
    def idle(self) -> bool:
        """Whether no commit is under way that is not waited for."""
        return self._unanswered_since is None

    def follow(self, starts: Sequence[Start]) -> None:
        """Reads the skip maps that these commits refer to, before they are restored.

        Raises:
            BrokerError: with exactly-once, no broker responds for one of them.
        """
        if self._records is not None:
            self._records.follow(starts, must_respond=self._staging is not None)

    def restore(self, start: Start) -> list[Range]:
        """What the group knows to be settled above the offset where it goes on."""
        self._forget(start.partition)
        if start.offset is None:
            return []
        self._accepted[start.partition] = Commit(start.partition, start.offset, start.metadata)
        _, note = split(start.metadata)
        if note is not None:
            self._notes[start.partition] = note
        try:
            recorded = self._records.settled(start) if self._records is not None else None
            return skipmap.decode(start.metadata, start.offset) if recorded is None else recorded
        except skipmap.SkipMapError as error:
            topic, number = start.partition
            self._emit(ConsumerSkipMapIgnored(topic=topic, partition=number, offset=start.offset, reason=str(error)))
            return []

    def note(self, partition: Partition, note: Note) -> None:
        """Has the commits of the partition say this until its time."""
        self._notes[partition] = note

    def note_of(self, partition: Partition) -> Note | None:
        """Return what the commits of the partition say beside their skip map."""
        note = self._notes.get(partition)
        if note is not None and note.until <= time():
            del self._notes[partition]
            return None
        return note

    def commit_soon(self) -> None:
        """Commits as soon as no commit is under way."""
        self._next_commit = 0.0

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are not this consumer's any more."""
        for partition in partitions:
            self._forget(partition)

    def committed(self, partition: Partition) -> int | None:
        """The offset that the group is known to have."""
        commit = self._accepted.get(partition)
        return commit.offset if commit else None

    def commit_when_due(self, now: float) -> None:
        """Commits without waiting: every interval, earlier after very many tasks, or to renew the lease."""
        if self._held is not None and not self._release(now):
            return
        settled, lease = self._desk.counts.settled, self._desk.lease
        early = settled - self._settled_at_commit >= EARLY_COMMIT
        ask = now >= self._next_ask and lease.renewal_due(now)
        due = ask or now >= self._next_commit or (early and now - self._last_commit >= EARLY_COMMIT_SECONDS)
        # one commit at a time; but one that is never answered must not be the last
        if due and (self.idle or (self._staging is None and now - self._last_commit > UNANSWERED_SECONDS)):
            self._last_commit = now
            self._next_commit = now + self._interval
            self._next_ask = now + ASK_AGAIN_SECONDS if ask else self._next_ask
            self._settled_at_commit = settled
            self._commit_or_ask(ask=ask)

    def finish(self, now: float) -> bool:
        """Commits what is left. Return whether the group has all of it; call it again until it has.

        A commit that is still to be answered could get to the group behind the last one, which is then made again. Such
        a one is waited for only so long: where the coordinator went away with it, no answer will come.
        """
        self._is_finishing = True
        if self._held is not None and not self._release(now):
            return False
        if self._staging is not None:
            return self.idle and not self._send(self._changed(None)) and not self._desk.commits.has_staged
        self._finish_by = min(self._finish_by, now + FINISH_SECONDS)
        if self._pending and now - self._last_commit > FINISH_SECONDS:
            self._stamps.clear()
        if self._send(self._changed(None)):
            self._last_commit = now
        is_accepted = all(self._accepted.get(partition) == commit for partition, commit in self._sent.items())
        return is_accepted and self._held is None and (not self._pending or now > self._finish_by)

    def _commit_or_ask(self, *, ask: bool) -> None:
        """Commits what has changed, or asks whether this is a member.

        It asks by itself where there is nothing to commit, or where what there is was refused, perhaps for what is in
        it.
        """
        if not (ask and self._error is not None and self._ask()) and not self._commit() and ask:
            self._ask()

    def _commit(self) -> bool:
        """Commits what has changed, without waiting. Return whether anything had."""
        if self._unanswered_since is not None:  # it was never answered: what it held is to be committed still
            self._stamps.clear()
            self._pending.clear()
        return self._send(self._changed(None))

    def _ask(self) -> bool:
        """Commits once more what the group has of a partition, to hear whether this is a member still.

        Where it has nothing, the point where the consumer goes on is as true; its skip map is left out, since that may
        be what the group does not accept. Each time another partition's, as one may be refused for its topic.
        False where nothing can be committed.
        """
        known = [self._accepted[p] for p in self._desk.partitions.assigned if p in self._accepted]
        if not known:
            known = [Commit(p, at, "") for p, at in self._desk.commits.points(self._desk.partitions.assigned).items()]
        self._asked += 1
        return self._send([known[self._asked % len(known)]] if known else [])

    def commit_now(self, partitions: Sequence[Partition], seconds: float) -> str | None:
        """Commits what has changed of these and waits; None when all is committed, else why not."""
        if self._staging is not None:
            return self._commit_outputs_now(partitions, monotonic() + seconds)
        self._drop_held()  # else it would be committed behind this
        commits = self._with_references(self._changed(partitions), seconds)
        if commits is None:
            return self.commit_now(partitions, seconds)  # with maps that fit
        if not commits:
            return None
        self._sent.update((c.partition, c) for c in commits)
        asked_at = monotonic()
        error = self._source.commit_now(commits, seconds)
        self._conclude(commits, error, asked_at)
        if isinstance(error, MetadataTooLarge) and any(commit.metadata for commit in commits):
            return self.commit_now(partitions, seconds)  # with shorter maps, and in the end with none
        return error

    def _commit_outputs_now(self, partitions: Sequence[Partition], deadline: float) -> str | None:
        """The same with outputs: a commit that is under way has to end first, since it holds some of them.

        A transaction that was aborted is tried again a few times: the generation of the one under way may have ended
        with the rebalance, and the first one after an abort may find its sequence numbers skipped.
        """
        pause = FIRST_ABORT_SECONDS
        while True:
            self._await_held(deadline)
            self._source.await_commit(max(0.0, deadline - monotonic()))
            if not self.idle:
                return "the transaction takes too long"
            if not self._send(self._changed(partitions)):
                return None
            self._await_held(deadline)
            self._source.await_commit(max(0.0, deadline - monotonic()))
            may_be_mended = self._error == MAP_FAILED or isinstance(self._error, MetadataTooLarge | OutputsRefused)
            if self._error is None or (may_be_mended and monotonic() < deadline):
                continue
            if pause > LAST_ABORT_SECONDS or monotonic() + pause > deadline:
                return self._error
            sleep(pause)
            pause *= 2

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """A commit that was not waited for has ended."""
        asked_at, self._unanswered_since = self._unanswered_since, None
        self._pending.difference_update(commits)
        self._conclude(commits, error, asked_at)

    def _send(self, commits: Sequence[Commit]) -> bool:
        if commits:
            if self._unanswered_since is None:
                self._unanswered_since = monotonic()
            if self._values and self._records is not None:
                values, self._values = self._values, {}
                self._held = _Held(commits, values, self._records.write(values), monotonic() + WRITE_SECONDS)
            else:
                self._hand_over(commits)
        return bool(commits)

    def _hand_over(self, commits: Sequence[Commit]) -> None:
        self._sent.update((c.partition, c) for c in commits)
        self._pending.update(commits)
        if self._staging is None:
            self._source.commit(commits)
        else:
            self._source.commit(commits, self._staging.records())

    def _release(self, now: float) -> bool:
        """Commits what was held for its skip maps, once they are written. Return whether nothing is held any more.

        Where they are not, it will be committed with maps that fit.
        """
        held = self._held
        if held is None:
            return True
        if not held.written.done() and now < held.until:
            return False
        self._held = None
        commits = self._referring(held)
        if commits is None:
            self._drop(held, MAP_FAILED)
        else:
            self._hand_over(commits)
        return True

    def _referring(self, held: _Held) -> list[Commit] | None:
        """Return the commits with references in front of their metadata; None where the maps were not written."""
        assert self._records is not None
        bases = {commit.partition: commit.offset for commit in held.commits}
        references = self._records.references(held.values, bases, held.written)
        if references is None:
            return None
        return [c._replace(metadata=f"{references.get(c.partition, '')}{c.metadata}") for c in held.commits]

    def _drop(self, held: _Held, error: str) -> None:
        """These are not committed: what they held is to be committed still, soon."""
        for commit in held.commits:
            self._stamps.pop(commit.partition, None)
        if not self._pending:
            self._unanswered_since = None
        self._error = error
        if self._staging is not None:
            self._staging.conclude(error)
        self.commit_soon()

    def _drop_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._drop(held, "its partitions were given up")

    def _await_held(self, deadline: float) -> None:
        held = self._held
        if held is not None:
            wait([held.written], max(0.0, min(deadline, held.until) - monotonic()))
            self._release(inf)

    def _with_references(self, commits: Sequence[Commit], seconds: float) -> Sequence[Commit] | None:
        """Return these commits with references to their skip maps, which it waits for; None where they fail."""
        if not self._values or self._records is None:
            return commits
        values, self._values = self._values, {}
        held = _Held(commits, values, self._records.write(values), inf)
        wait([held.written], min(seconds, WRITE_SECONDS))
        referring = self._referring(held)
        if referring is None:
            self._drop(held, MAP_FAILED)
        return referring

    def _conclude(self, commits: Sequence[Commit], error: str | None, asked_at: float | None) -> None:
        self._error = error
        if self._staging is not None:
            self._staging.conclude(error)
        if error is None:
            self._desk.counts.commits += 1
            if asked_at is not None:
                self._desk.lease.renew(asked_at)  # the group takes commits from its members only
            self._refusals.forget()
            for commit in commits:
                self._accept(commit)
            return
        for commit in commits:
            self._stamps.pop(commit.partition, None)
        if isinstance(error, MetadataTooLarge) and any(commit.metadata for commit in commits):
            self._shorten(commits, error.partitions)
            return
        if isinstance(error, OutputsRefused):
            self.commit_soon()
            return
        self._desk.counts.commit_failures += 1
        if self._refusals.is_due(error, monotonic()):
            self._emit(ConsumerCommitFailed(error=error, partitions=[str(c.partition) for c in commits]))

    def _shorten(self, commits: Sequence[Commit], refused: frozenset[Partition]) -> None:
        """The skip maps of these partitions are too long for the brokers. Halves them, and commits again at once."""
        self.commit_soon()
        for partition, _, metadata in commits:
            if partition in refused and metadata:
                if partition not in self._limits:
                    event = ConsumerSkipMapRefused(
                        topic=partition.topic, partition=partition.number, refused_characters=len(metadata)
                    )
                    self._emit(event)
                self._limits[partition] = len(metadata) // 2

    def _accept(self, commit: Commit) -> None:
        sent = self._sent.get(commit.partition)
        if sent is None:  # forgotten meanwhile
            return
        self._accepted[commit.partition] = commit
        if commit != sent:
            # A client that loses its coordinator sends a commit again, behind later ones: the group went back to it.
            self._stamps.pop(commit.partition, None)

    def _changed(self, partitions: Iterable[Partition] | None) -> list[Commit]:
        self._values = {}
        if self._records is not None and self._records.is_to_be_tried():
            self._stamps.clear()  # partitions were cut, or with outputs not committed at all
        is_patient = partitions is None and not self._is_finishing
        if self._staging is not None:
            return self._cut(self._staging, partitions, is_patient=is_patient)
        commits = []
        for partition, stamp, progress in self._desk.commits.progress(partitions, self._stamps):
            if is_patient and self._is_early(partition):
                continue
            self._stamps[partition] = stamp
            commit = self._commit_of(partition, progress)
            if partition in self._values or commit != self._accepted.get(partition):
                commits.append(commit)
        return commits

    def _is_early(self, partition: Partition) -> bool:
        """Return whether the partition waits for its turn, since its last skip map took long to encode."""
        return self._records is not None and self._records.is_early(partition)

    def _cut(self, staging: Staging, partitions: Iterable[Partition] | None, *, is_patient: bool) -> list[Commit]:
        """The same with the outputs of the tasks that the commits say are settled."""
        commits = []
        for partition, ledger, stamp, cut in self._desk.commits.cut(partitions, self._stamps):
            if is_patient and self._is_early(partition):
                continue
            self._stamps[partition] = stamp
            limit, note = self._room(partition)
            mapped = self._mapped(partition, cut, limit)
            if mapped is None:  # what the group knows must not be forgotten: it goes on once it knows less
                continue
            whole, ranges, metadata, kept = mapped
            self._report_cut(partition, whole.progress, ranges, kept)
            commit = Commit(partition, whole.progress.commit_point, f"{metadata}{note}")
            outputs = whole.outputs if kept is ranges else whole.covered(kept)
            if outputs or partition in self._values or commit != self._accepted.get(partition):
                commits.append(commit)
                staging.take(ledger, outputs)
        return commits

    def _mapped(
        self, partition: Partition, cut: Cut, limit: int
    ) -> tuple[Cut, Sequence[Range], str, Sequence[Range]] | None:
        """Return the cut, its ranges, and the skip map that has room for them: its text and its ranges.

        The text is empty where the map is written as a record instead. Where a map would have one task and not another
        that settled with it, it is made for a cut without them.
        """
        ranges = cut.progress.settled_ranges(skipmap.MOST_RANGES + 1)
        metadata, count = skipmap.encode(cut.progress.commit_point, ranges, limit)
        if count == len(ranges):
            return cut, ranges, metadata, ranges
        if self._has_recorded(partition, cut.progress, limit, is_whole=True):
            return cut, ranges, "", ranges
        while True:
            ranges = cut.progress.settled_ranges(skipmap.MOST_RANGES + 1)
            extended = skipmap.extend(cut.progress.commit_point, ranges, self._known(partition), limit)
            if extended is None:
                return None
            if not (parted := cut.parted(extended[1])):
                return cut, ranges, *extended
            cut = cut.without(parted)

    def _known(self, partition: Partition) -> list[Range]:
        """Return what the last skip map says: outputs of these tasks are committed, and must not be written again."""
        accepted = self._accepted.get(partition)
        if accepted is None:
            return []
        _, offset, metadata = accepted
        try:
            recorded = self._records.known(partition, metadata, offset) if self._records is not None else None
            return skipmap.decode(metadata, offset) if recorded is None else recorded
        except skipmap.SkipMapError:
            return []

    def _commit_of(self, partition: Partition, progress: Progress) -> Commit:
        ranges = progress.settled_ranges(skipmap.MOST_RANGES + 1)
        limit, note = self._room(partition)
        metadata, kept = skipmap.encode(progress.commit_point, ranges, limit)
        if kept < len(ranges) and self._has_recorded(partition, progress, limit, is_whole=False):
            return Commit(partition, progress.commit_point, note)
        self._report_cut(partition, progress, ranges, ranges[:kept])
        return Commit(partition, progress.commit_point, f"{metadata}{note}")

    def _has_recorded(self, partition: Partition, progress: Progress, room: int, *, is_whole: bool) -> bool:
        """Have the skip map written before it is committed. Return whether it will be, as a whole where that is asked.

        `room` is what the metadata has for the reference, in characters.
        """
        if self._records is None or not self._records.may_hold(room):
            return False
        value, ranges, kept = self._records.encode(partition, progress)
        if is_whole and kept < len(ranges):
            return False
        self._report_cut(partition, progress, ranges, ranges[:kept])
        self._values[partition] = value
        return True

    def _room(self, partition: Partition) -> tuple[int, str]:
        """Return how many characters a skip map may have, and the note that follows it."""
        limit, note = self._limits.get(partition, skipmap.MAX_CHARACTERS), str(self.note_of(partition) or "")
        note = note if len(note) <= limit else ""
        return limit - len(note), note

    def _report_cut(
        self, partition: Partition, progress: Progress, ranges: Sequence[Range], kept: Sequence[Range]
    ) -> None:
        """Reports that a skip map leaves something out, once until one does not."""
        if len(kept) == len(ranges):
            self._shortened.discard(partition)
        elif partition not in self._shortened:
            self._shortened.add(partition)
            kept_until = kept[-1][1] if kept else progress.commit_point
            topic, number = partition
            until = progress.settled_ranges()[-1][1]
            self._emit(ConsumerSkipMapCut(topic=topic, partition=number, kept_until=kept_until, settled_until=until))

    def _forget(self, partition: Partition) -> None:
        if self._held is not None and any(commit.partition == partition for commit in self._held.commits):
            self._drop_held()
        if self._records is not None:
            self._records.forget(partition)
        self._accepted.pop(partition, None)
        if (sent := self._sent.pop(partition, None)) is not None:
            self._pending.discard(sent)
        self._stamps.pop(partition, None)
        self._notes.pop(partition, None)
        self._shortened.discard(partition)

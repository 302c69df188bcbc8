"""`MemorySource`: a member of the in-memory Kafka's group."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from processor.runtime.ports import Commit, End, Listener, OutputRecord, Partition, Record, Start, Survey
from processor.testing.memory.cluster import MemoryCluster, MemoryRecord
from processor.testing.memory.reader import END, MemoryReader


class MemorySource:
    """Implements the `Source` port as a member of the group."""

    session_seconds = poll_seconds = math.inf
    begins_at_start = True
    longest_wait = math.inf
    """The longest wait of a `take` in seconds; a longer argument is cut to this."""

    def __init__(self, cluster: MemoryCluster, topics: Sequence[str]) -> None:
        self.topics = topics
        self.positions: dict[Partition, int] = {}
        """The next offset of each assigned partition. The partition that was read last comes last."""
        self._cluster = cluster
        self._listener: Listener | None = None
        self._has_joined = False
        self._ends: dict[Partition, int] = {}
        """The latest reported end of each assigned partition."""
        self._paused: set[Partition] = set()
        self._leaving: set[Partition] = set()
        """Partitions that are revoked, and not released yet."""
        self._answers: deque[tuple[Sequence[Commit], str | None]] = deque()
        self._survey: Survey | None = None

    def open(self, listener: Listener) -> None:
        """Joins the group."""
        self._listener = listener
        with self._cluster.changed:
            self._cluster.members.append(self)
            self._cluster.changed.notify_all()

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        """Calls the listener with all that is due. Returns records, or waits for them for at most `seconds`."""
        deadline = time.monotonic() + min(seconds, self.longest_wait)
        while True:
            with self._cluster.changed:
                call = self._due()
                if call is None:
                    taken = self._fetch(limit)
                    left = deadline - time.monotonic()
                    if taken or left <= 0:
                        return taken
                    self._cluster.changed.wait(left)
                    continue
            call()

    def interpret(self, record: Record) -> End | None:
        """Return the end of a partition: a record can have no other error."""
        return End(Partition(record.topic(), record.partition()), record.offset())

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        """Commits, and appends the outputs to their topics. The next `take` reports the result."""
        with self._cluster.changed:
            error = self._commit(commits, whole=True) if outputs else self.commit_now(commits, 0.0)
            for output in outputs if error is None else ():
                self._cluster.produce(*output)
        self._answers.append((commits, error))

    def await_commit(self, seconds: float) -> None:  # noqa: ARG002 — the port's
        """Reports the result of a commit."""
        while self._answers and self._listener is not None:
            self._listener.on_committed(*self._answers.popleft())

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:  # noqa: ARG002 — the port's
        """Commits. Return why a part was refused, or None."""
        return self._commit(commits)

    def _commit(self, commits: Sequence[Commit], *, whole: bool = False) -> str | None:
        return self._cluster.commit(self, commits, whole=whole)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver none of these until `resume`, even if they are assigned again."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Delivers these again."""
        self._paused.difference_update(partitions)

    def ends(self) -> dict[Partition, int]:
        """Return the end of each partition that is not empty."""
        with self._cluster.changed:
            logs = self._cluster.logs.items()
            return {place: log.end for place, log in logs if place.topic in self.topics and log.end > log.start}

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the committed offsets of these partitions."""
        with self._cluster.changed:
            commits = self._cluster.committed
            return {place: commits[place].offset for place in partitions if place in commits}

    def survey(self, topics: Sequence[str]) -> None:
        """Looks up these topics. The next `take` reports the result."""
        with self._cluster.changed:
            bounds = {p: (log.start, log.end) for p, log in self._cluster.logs.items() if p.topic in topics}
            committed = {p: commit for p, commit in self._cluster.committed.items() if p in bounds}
            self._survey = Survey(bounds, committed)

    def high_watermark(self, partition: Partition) -> int | None:
        """Return the end of an assigned partition."""
        with self._cluster.changed:
            return self._cluster.logs[partition].end if partition in self.positions else None

    def open_reader(self) -> MemoryReader:
        """Return a reader of the same cluster."""
        return MemoryReader(self._cluster)

    def close(self, seconds: float = 0.0, *, for_good: bool = False) -> None:  # noqa: ARG002 — the port's
        """Releases its partitions, and leaves the group. There is never a rebalance to wait for, nor a member that is
        expected to return.
        """
        if self._listener is None:
            return
        if self in self._cluster.members:
            self._release(list(self._leaving))
            self._give_up(list(self.positions))
            with self._cluster.changed:
                self._cluster.members.remove(self)
                self._cluster.changed.notify_all()
        else:
            self._lose()
        self._listener = None

    def _due(self) -> Callable[[], object] | None:
        """Return the next call of the listener, to be made after `changed` is released, or None."""
        listener = self._listener
        assert listener is not None, "the source is not open"
        if (answer := self._answer()) is not None:
            return answer
        if self not in self._cluster.members:
            return self._join_again
        if not self._leaving:
            share = self._cluster.share_of(self)
            if leaving := sorted(self.positions.keys() - share):
                return partial(self._give_up, leaving)
            coming = self._cluster.free(share)
            if coming or not self._has_joined:
                self._has_joined = True
                return partial(listener.on_assign, [self._assigned(partition) for partition in coming])
        for partition, position in self.positions.items():
            log = self._cluster.logs[partition]
            if partition not in self._leaving and not log.start <= position <= log.end:
                self.positions[partition] = log.start
                return partial(listener.on_reset, partition, log.start)
        return None

    def _answer(self) -> Callable[[], object] | None:
        """Return the listener's call that reports the result of a commit or of a survey, or None."""
        assert self._listener is not None
        if self._answers:
            return partial(self._listener.on_committed, *self._answers.popleft())
        if self._survey is not None:
            survey, self._survey = self._survey, None
            return partial(self._listener.on_survey, survey, None)
        return None

    def _assigned(self, partition: Partition) -> Start:
        commit = self._cluster.committed.get(partition)
        self.positions[partition] = commit.offset if commit else self._cluster.logs[partition].start
        if commit is None:
            return Start(partition, None, "")
        return Start(partition, commit.offset, commit.metadata, self._cluster.logs[partition].end)

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        assert self._listener is not None
        self._leaving.update(partitions)
        self._listener.on_revoke(partitions, partial(self._release, partitions))

    def _release(self, partitions: Sequence[Partition]) -> None:
        if self._leaving:
            self._leaving.clear()
            self._forget(partitions)

    def _lose(self) -> None:
        assert self._listener is not None
        lost = list(self.positions)
        self._leaving.clear()
        self._listener.on_lose(lost)
        self._forget(lost)

    def _join_again(self) -> None:
        self._lose()
        with self._cluster.changed:
            self._cluster.members.append(self)
            self._has_joined = False

    def _forget(self, partitions: Sequence[Partition]) -> None:
        with self._cluster.changed:
            for partition in partitions:
                del self.positions[partition]
                self._ends.pop(partition, None)
            self._cluster.changed.notify_all()

    def _fetch(self, limit: int) -> list[MemoryRecord]:
        taken: list[MemoryRecord] = []
        for partition in [place for place in self.positions if place not in self._paused | self._leaving]:
            if len(taken) < limit:
                taken += self._read(partition, limit - len(taken))
        return taken

    def _read(self, partition: Partition, limit: int) -> list[MemoryRecord]:
        """Return the next records of a partition, and its end unless the same end was reported before."""
        log, position = self._cluster.logs[partition], self.positions.pop(partition)
        records = log.read(position, limit)
        if records:
            position = records[-1].offset() + 1
        if len(records) < limit:
            position = log.end
            if self._ends.get(partition) != position:
                self._ends[partition] = position
                records.append(MemoryRecord(partition, position, error=END))
        self.positions[partition] = position
        return records

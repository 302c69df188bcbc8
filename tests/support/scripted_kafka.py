"""The in-memory Kafka of `processor.testing`, with a group, a network and topics that do what a test scripts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from processor.errors import DeliveryError
from processor.runtime.ports import Commit, Delivered, Headers, Listener, OutputRecord, OutputsRefused, Partition, Start
from processor.testing.memory.cluster import GroupMember, Log, MemoryCluster, MemoryRecord
from processor.testing.memory.sink import MemorySink
from processor.testing.memory.source import MemorySource


class ScriptedCluster(MemoryCluster):
    """Topics with holes and retention, and a group that may withhold partitions or give a member up."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld: set[Partition] = set()
        """Partitions that another member has, of which nothing else is known."""

    def append(self, *records: MemoryRecord) -> None:
        """Appends records at their own offsets."""
        with self.changed:
            for record in records:
                self.logs[Partition(record.topic(), record.partition())].append(record)
            self.changed.notify_all()

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions to the topic until it has so many."""
        with self.changed:
            present = sum(place.topic == topic for place in self.logs)
            self.logs.update({Partition(topic, number): Log() for number in range(present, partitions)})
            self.changed.notify_all()

    def skip(self, partition: Partition, offsets: int) -> None:
        """Lets so many offsets be without a record, as transactions and compaction do."""
        with self.changed:
            self.logs[partition].end += offsets
            self.changed.notify_all()

    def delete_below(self, partition: Partition, offset: int) -> None:
        """Deletes the records below the offset, as retention does."""
        with self.changed:
            log = self.logs[partition]
            log.start, log.end = offset, max(offset, log.end)
            log.records = [record for record in log.records if record.offset() >= offset]
            self.changed.notify_all()

    def give_up(self, member: GroupMember) -> None:
        """Takes its partitions from a member that was silent for too long; it learns so from its next `take`."""
        with self.changed:
            self.members.remove(member)
            self.changed.notify_all()

    def share_of(self, member: GroupMember) -> set[Partition]:
        return super().share_of(member) - self.withheld


class ScriptedSource(MemorySource):
    """A member whose group and connection a test scripts."""

    session_seconds = 45.0
    poll_seconds = 300.0

    def __init__(self, cluster: ScriptedCluster, topics: Sequence[str]) -> None:
        super().__init__(cluster, topics)
        self.refusal: str | None = None
        """Why commits are refused, while they are."""
        self.refuses: Callable[[Sequence[Commit]], str | None] = lambda commits: self.refusal
        """Why these commits are refused; None where they are not."""
        self.refuses_output: Callable[[OutputRecord], str | None] = lambda output: None
        """Why a topic does not accept this output of a commit; None where it does."""
        self.lets_in = threading.Event()
        """While it is not set, the group answers nothing: a join is under way."""
        self.lets_in_again = True
        """Whether the group answers at once to a join of a member that it had given up."""
        self.lets_in.set()
        self.keeps: Callable[[Sequence[Commit]], bool] = lambda commits: False
        """Which commits the client keeps back, as it does while it has no coordinator."""
        self.kept: list[Sequence[Commit]] = []
        self._outputs_of_kept: list[Sequence[OutputRecord]] = []
        self.questions = 0
        """How often the group was asked what it has committed."""
        self.is_closed = threading.Event()
        self.closed_for_good = False
        self._scripted = cluster
        self._script: deque[tuple[Callable[[], object], threading.Event]] = deque()
        self._is_revoking = False
        self._done: list[threading.Event] = []
        """Set once what the last steps led to is done."""

    @property
    def paused(self) -> frozenset[Partition]:
        """What is not delivered for now."""
        return frozenset(self._paused)

    @property
    def is_leaving(self) -> bool:
        """Whether a listener has returned from a revoke, and has not released it."""
        return bool(self._leaving) and not self._is_revoking

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        self._is_revoking = True
        super()._give_up(partitions)
        self._is_revoking = False

    @property
    def listener(self) -> Listener:
        """What the group's decisions go to."""
        assert self._listener is not None
        return self._listener

    # --- the test's side: what is to happen inside `take`. The event is set when all that follows from it is done.

    def happens(self, step: Callable[[], object]) -> threading.Event:
        """Anything, in the thread of the source's owner."""
        done = threading.Event()
        with self._scripted.changed:
            self._script.append((step, done))
            self._scripted.changed.notify_all()
        return done

    def revoke(self, partition: Partition) -> threading.Event:
        """The group gives the partition to another member, in order."""
        return self.happens(lambda: self._scripted.withheld.add(partition))

    def assign(self, partition: Partition) -> threading.Event:
        """It gets the partition back."""
        return self.happens(lambda: self._scripted.withheld.discard(partition))

    def lose(self, partition: Partition) -> threading.Event:
        """The group gives this member up, and the partition to another one. The member joins again."""

        def give_up() -> None:
            self._scripted.withheld.add(partition)
            self._scripted.give_up(self)

        return self.happens(give_up)

    def send_kept(self) -> threading.Event:
        """The oldest commit that was kept back gets to the group now, behind later ones, and is answered."""
        commits, outputs = self.kept.pop(0), self._outputs_of_kept.pop(0)
        return self.happens(lambda: super(ScriptedSource, self).commit(commits, outputs))

    # --- the owner's side

    def _assigned(self, partition: Partition) -> Start:
        start = super()._assigned(partition)
        if start.offset is None and not self.begins_at_start:
            self.positions[partition] = self._scripted.logs[partition].end
        return start

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        self.questions += 1
        return super().committed(partitions)

    def pause(self, partitions: Sequence[Partition]) -> None:
        assert partitions, "a call of the client for nothing"
        super().pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        assert partitions, "a call of the client for nothing"
        super().resume(partitions)

    def commit(self, commits: Sequence[Commit], outputs: Sequence[OutputRecord] = ()) -> None:
        if self.keeps(commits):
            self.kept.append(commits)
            self._outputs_of_kept.append(outputs)
            return
        refused = {i: reason for i, output in enumerate(outputs) if (reason := self.refuses_output(output))}
        if refused:
            self._answers.append((commits, OutputsRefused(refused)))
        else:
            super().commit(commits, outputs)

    def _commit(self, commits: Sequence[Commit], *, whole: bool = False) -> str | None:
        return self.refuses(commits) or super()._commit(commits, whole=whole)

    def close(self, seconds: float = 0.0, *, for_good: bool = False) -> None:
        super().close(seconds, for_good=for_good)
        self.closed_for_good = for_good
        self.is_closed.set()

    def _join_again(self) -> None:
        super()._join_again()
        if not self.lets_in_again:
            self.lets_in.clear()

    def _due(self) -> Callable[[], object] | None:
        if not self.lets_in.is_set():
            return None
        call = super()._due()
        if call is not None:
            return call
        if not self._leaving:
            for done in self._done:
                done.set()
            self._done.clear()
        if not self._script:
            return None
        step, done = self._script.popleft()
        self._done.append(done)
        return step


class Sent(NamedTuple):
    """A record that was sent."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


class ScriptedSink(MemorySink):
    """A producer whose topics refuse so many records, or whose acknowledgements are held back."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.sent: list[Sent] = []
        """What was accepted."""
        self.refusals = 0
        self.refused_topic: str | None = None
        """Where it is set, only records for this topic are refused."""
        self.holding = False
        self.held: list[Delivered] = []
        """Called with None, one acknowledges a single record."""
        self._is_acknowledging = False
        self._lock = threading.Lock()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        with self._lock:
            refused = self.refusals > 0 and self.refused_topic in (None, topic)
            self.refusals -= refused
        if refused:
            delivered(DeliveryError("the topic is away"))
            return
        self.sent.append(Sent(topic, key, value, dict(headers or ())))
        super().send(topic, key, value, headers, lambda error: self._acknowledged(delivered, error), partition)

    def acknowledge(self) -> None:
        """Acknowledges everything that is held back, and holds back nothing more."""
        with self._lock:
            held, self.held, self.holding = self.held, [], False
        self._is_acknowledging = True
        for delivered in held:
            delivered(None)
        self._is_acknowledging = False
        self._after_reports()

    def close(self, seconds: float) -> int:
        unacknowledged = super().close(seconds)
        with self._lock:
            held, self.held = self.held, []
        for delivered in held:
            delivered(DeliveryError("not acknowledged before the sink was closed"))
        return unacknowledged + len(held)

    def _acknowledged(self, delivered: Delivered, error: DeliveryError | None) -> None:
        with self._lock:
            if self.holding and error is None:
                self.held.append(partial(self._report_held, delivered))
                return
        delivered(error)

    def _report_held(self, delivered: Delivered, error: DeliveryError | None) -> None:
        delivered(error)
        if not self._is_acknowledging:
            self._after_reports()

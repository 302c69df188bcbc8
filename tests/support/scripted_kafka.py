"""The in-memory Kafka of `processor.testing`, whose group, network and topics a test can script."""

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
    """Topics with gaps and retention, and a group that can withhold partitions or remove a member."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld: set[Partition] = set()
        """Partitions that belong to another member, which is not simulated."""

    def append(self, *records: MemoryRecord) -> None:
        """Appends records at their own offsets."""
        with self.changed:
            for record in records:
                self.logs[Partition(record.topic(), record.partition())].append(record)
            self.changed.notify_all()

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions to the topic until it has this number."""
        with self.changed:
            present = sum(place.topic == topic for place in self.logs)
            self.logs.update({Partition(topic, number): Log() for number in range(present, partitions)})
            self.changed.notify_all()

    def skip(self, partition: Partition, offsets: int) -> None:
        """Skips this number of offsets, which then have no record, as after transactions and compaction."""
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
        """Removes a member that was silent for too long; the member finds out in its next `take`."""
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
        """The reason for which commits are refused; None while they are accepted."""
        self.refuses: Callable[[Sequence[Commit]], str | None] = lambda commits: self.refusal
        """Returns the reason for which these commits are refused; None if they are accepted."""
        self.refuses_output: Callable[[OutputRecord], str | None] = lambda output: None
        """Returns the reason for which a topic refuses this output of a commit; None if it accepts it."""
        self.lets_in = threading.Event()
        """While this is not set, the group does not answer, as during a join."""
        self.lets_in_again = True
        """Whether the group immediately answers the join of a member that it had removed."""
        self.lets_in.set()
        self.keeps: Callable[[Sequence[Commit]], bool] = lambda commits: False
        """Returns whether the client holds back these commits, as it does without a coordinator."""
        self.kept: list[Sequence[Commit]] = []
        self._outputs_of_kept: list[Sequence[OutputRecord]] = []
        self.questions = 0
        """How often the source requested committed offsets from the group."""
        self.is_closed = threading.Event()
        self.closed_for_good = False
        self._scripted = cluster
        self._script: deque[tuple[Callable[[], object], threading.Event]] = deque()
        self._is_revoking = False
        self._done: list[threading.Event] = []
        """Events of the last steps, which are set once everything that follows from the steps is done."""

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions whose records are not delivered at present."""
        return frozenset(self._paused)

    @property
    def is_leaving(self) -> bool:
        """Whether a listener has returned from a revocation, but has not released it."""
        return bool(self._leaving) and not self._is_revoking

    def _give_up(self, partitions: Sequence[Partition]) -> None:
        self._is_revoking = True
        super()._give_up(partitions)
        self._is_revoking = False

    @property
    def listener(self) -> Listener:
        """The listener that receives the group's decisions."""
        assert self._listener is not None
        return self._listener

    # --- the test's side: steps that happen inside `take`. An event is set when all that follows from its step is done.

    def happens(self, step: Callable[[], object]) -> threading.Event:
        """Runs any function in the thread of the source's owner."""
        done = threading.Event()
        with self._scripted.changed:
            self._script.append((step, done))
            self._scripted.changed.notify_all()
        return done

    def revoke(self, partition: Partition) -> threading.Event:
        """Lets the group give the partition to another member, with a revocation."""
        return self.happens(lambda: self._scripted.withheld.add(partition))

    def assign(self, partition: Partition) -> threading.Event:
        """Lets the group give the partition back to this member."""
        return self.happens(lambda: self._scripted.withheld.discard(partition))

    def lose(self, partition: Partition) -> threading.Event:
        """Lets the group remove this member and give the partition to another one. The member joins again."""

        def give_up() -> None:
            self._scripted.withheld.add(partition)
            self._scripted.give_up(self)

        return self.happens(give_up)

    def send_kept(self) -> threading.Event:
        """Sends the oldest commit that was held back to the group now, after later ones; the group answers it."""
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
    """A sent record."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


class ScriptedSink(MemorySink):
    """A producer whose topics can refuse a number of records, or whose acknowledgements can be held back."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.sent: list[Sent] = []
        """The accepted records."""
        self.refusals = 0
        self.refused_topic: str | None = None
        """If this is set, only records for this topic are refused."""
        self.holding = False
        self.held: list[Delivered] = []
        """Callbacks of the records held back; calling one with None acknowledges its record."""
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
        """Acknowledges all records that are held back, and stops holding back records."""
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

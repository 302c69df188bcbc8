"""`Membership`: carries out what the group decides. `Departure`: how a consumer leaves the group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import NamedTuple

from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.drain import CHECK_SECONDS, Drain
from processor.runtime.intake import Intake
from processor.runtime.new_partitions import NewPartitions
from processor.runtime.ports import Commit, Partition, Source, Start, Survey
from processor.runtime.resets import Reset
from processor.telemetry.events import ConsumerAssigned, ConsumerLost, ConsumerRevoked, Emit

QUICK_SECONDS = 0.3
"""How long `on_revoke` itself waits for the drain, so that a quick drain ends with its last task. Then the poller
continues: the partitions that stay do not wait for those that leave."""

LAST_COMMIT_SECONDS = 5.0
"""How long a last commit is tried after the drain has used up its time."""

HASTY_COMMIT_SECONDS = 1.0
"""How long a last commit is tried at an immediate stop."""

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.01, 0.5
"""The first and the longest pause between two checks for the answer to a last commit. Each is twice as long as the one
before."""

POLL_SECONDS = 0.1
"""Time between two checks for the end of a join."""

JOIN_SECONDS = 1.0
"""How long a stop waits for a join in progress. A member that leaves in the middle of a join stays in the group until
its session ends. A join that takes longer waits for a member that is gone, and then leaving at once causes no further
delay: after the kill of another member, all partitions were served again after 33 s, whether the stop had waited one
second or five."""


class Leaving(NamedTuple):
    """Partitions that drain because the group revokes them."""

    partitions: Sequence[Partition]
    release: Callable[[], None]
    began: float
    deadline: float
    abandoned_before: int
    """How many tasks this consumer had abandoned when the drain began."""


class Membership:
    """The source's listener: handles assignments, revokes and losses. The source calls it in the poller's thread, from
    inside `take` or `close`.
    """

    def __init__(
        self,
        desk: Desk,
        committer: Committer,
        intake: Intake,
        new_partitions: NewPartitions,
        drain: Drain,
        emit: Emit,
    ) -> None:
        self.has_joined = False
        """Whether this member has ever received an assignment, even an empty one."""
        self.in_group = False
        """Whether it has received one since the group last evicted it."""
        self.left_work = False
        """Whether tasks of a partition still ran when it was given up or lost, or were not committed."""
        self._desk = desk
        self._committer = committer
        self._intake = intake
        self._new_partitions = new_partitions
        self._drain = drain
        self._emit = emit
        self._leaving: Leaving | None = None

    def tick(self, now: float) -> None:
        """Gives up partitions that are drained, and surveys new ones."""
        if self._leaving is not None and not self._drain.is_cut_short:  # a stop at once ends the drain by itself
            self.end_drain()
        self._new_partitions.tick(now)

    def on_assign(self, starts: Sequence[Start]) -> None:
        """Begins partitions that the group has assigned to this consumer."""
        # Between two loops, the client may have waited for offsets, or the process may have been suspended. The
        # assignment may be older than that, and prove nothing about now.
        asked_at = self._drain.keeper.last_loop_at
        self._drain.keeper.tick()
        self._desk.lease.renew(asked_at)
        self.has_joined = self.in_group = True
        self._desk.counts.rebalances += 1
        settled_ahead = 0
        self._committer.follow(starts)
        for start in starts:
            ranges, kept_until = self._committer.restore(start)
            settled_ahead += sum(high - low for low, high in ranges)
            self._desk.partitions.assign(start.partition, start.offset, ranges, kept_until)
        self._new_partitions.begin(starts)
        names = [f"{s.partition}@{s.offset if s.offset is not None else 'start'}" for s in starts]
        self._emit(ConsumerAssigned(partitions=names, settled_ahead=settled_ahead))

    def on_revoke(self, partitions: Sequence[Partition], release: Callable[[], None]) -> None:
        """Begins to drain these partitions. They are given up once they are drained, in this call if that is soon."""
        counts = self._desk.counts
        counts.rebalances += 1
        partitions = [p for p in partitions if p in self._desk.partitions]
        began = monotonic()
        deadline = self._drain.deadline(of_revoke=True)
        self._leaving = Leaving(partitions, release, began, deadline, counts.abandoned)
        self._intake.leave(partitions)
        self._new_partitions.forget(partitions)
        self._desk.partitions.drain(partitions)
        while not self.end_drain(CHECK_SECONDS) and monotonic() < began + QUICK_SECONDS:
            continue

    def end_drain(self, seconds: float = 0.0) -> bool:
        """Gives up the draining partitions if they drain within `seconds`. Return whether none drains now."""
        leaving = self._leaving
        if leaving is None:
            return True
        ended = self._drain.check(leaving.partitions, leaving.deadline, seconds=seconds)
        if ended is None:
            return False
        error = self._committer.commit_now(leaving.partitions, LAST_COMMIT_SECONDS)
        is_withheld = self._desk.commits.have_staged(leaving.partitions)  # a topic does not accept an output
        self.left_work = self.left_work or not ended or error is not None or is_withheld
        self.give_up()
        return True

    def give_up(self) -> None:
        """Gives up the draining partitions, drained or not, and commits nothing more of them."""
        leaving, self._leaving = self._leaving, None
        if leaving is None:
            return
        released = self.forget(leaving.partitions)
        self._emit(
            ConsumerRevoked(
                partitions=[str(p) for p in leaving.partitions],
                drain_seconds=round(monotonic() - leaving.began, 3),
                abandoned=self._desk.counts.abandoned - leaving.abandoned_before,
                released=released,
            )
        )
        leaving.release()

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        """Forgets these partitions and commits nothing: they belong to another consumer already."""
        self.in_group = False
        self._leaving = None
        self._desk.counts.rebalances += 1
        partitions = [p for p in partitions if p in self._desk.partitions]
        running = len(self._desk.partitions.lent_of(partitions))
        if self._desk.partitions.is_draining:
            self.left_work = self.left_work or running > 0 or self._committer.has_uncommitted(partitions)
        released = self.forget(partitions)
        self._emit(ConsumerLost(partitions=[str(p) for p in partitions], released=released, running=running))

    def on_reset(self, partition: Partition, offset: int) -> None:
        """Continues at another offset: retention has deleted the next records, or the topic was recreated."""
        self._intake.go_on_at(Reset(partition, offset))

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        """Handles the answer to an asynchronous commit."""
        self._committer.on_committed(commits, error)

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        """Passes the answer to a survey to the part that requested it."""
        self._new_partitions.surveys.on_survey(survey, error)

    def forget(self, partitions: Sequence[Partition]) -> int:
        """Forgets these partitions. Return how many waiting tasks they had."""
        released = self._desk.partitions.forget(partitions)
        self._committer.forget(partitions)
        self._intake.forget(partitions)
        self._new_partitions.forget(partitions)
        return released


class Departure:
    """Takes a consumer out of its group: begins no more tasks, waits for running ones, commits, forgets the partitions.

    Belongs to the poller's thread.
    """

    def __init__(
        self, source: Source, desk: Desk, intake: Intake, committer: Committer, drain: Drain, membership: Membership
    ) -> None:
        self._source = source
        self._desk = desk
        self._intake = intake
        self._committer = committer
        self._drain = drain
        self._membership = membership
        self._deadline = -inf

    def drain(self, *, let_in: bool) -> bool:
        """Begins no more tasks, waits for running ones, commits. Return whether all ended and were committed in time,
        also those of partitions that the group takes meanwhile.

        Args:
            let_in: whether the brokers grant this client access; if not, a join that is under way will not end.
        """
        self._membership.left_work = False
        self._desk.partitions.drain_all()
        self._intake.stop(self._desk.partitions.assigned)
        deadline = self._deadline = self._drain.deadline(of_revoke=False)
        if let_in:
            self._await_join()
        ended = self._await_running(deadline)
        committed = self._commit_last(deadline)
        return ended and committed and not self._membership.left_work

    @property
    def seconds_left(self) -> float:
        """How many seconds of the drain timeout are left; 0 if the drain was cut short."""
        return 0.0 if self._drain.is_cut_short else max(0.0, self._deadline - monotonic())

    def leave(self, *, for_good: bool) -> None:
        """Forgets all partitions and leaves the group. A revoke that comes meanwhile has nothing to drain.

        Args:
            for_good: whether no successor takes its place.
        """
        self._membership.give_up()
        self._membership.forget(self._desk.partitions.assigned)
        self._source.close(self.seconds_left, for_good=for_good)

    def _await_join(self) -> None:
        deadline = monotonic() + JOIN_SECONDS
        while not self._membership.has_joined and monotonic() < deadline and not self._drain.is_cut_short:
            self._source.take(1, POLL_SECONDS)

    def _await_running(self, deadline: float) -> bool:
        """Waits for running tasks, and keeps polling, so that the member stays in the group."""
        while (ended := self._drain.check(self._desk.partitions.assigned, deadline)) is None:
            self._source.take(1, 0.0)
            self._membership.end_drain()
            self._committer.commit_when_due(monotonic())
        return ended

    def _commit_last(self, deadline: float) -> bool:
        """Commits until the group has everything. Return whether it has.

        During a rebalance a commit is refused, or answered late; polling lets the rebalance end.
        """
        began, pause = monotonic(), FIRST_PAUSE_SECONDS
        deadline = max(deadline, began + LAST_COMMIT_SECONDS)
        while not self._committer.finish(now := monotonic()):
            if now > (began + HASTY_COMMIT_SECONDS if self._drain.is_cut_short else deadline):
                return False
            self._drain.keeper.tick()
            self._source.take(1, pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)
        return True

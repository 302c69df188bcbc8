"""`CommitRoute`: commits a member's offsets through its client or in transactions, and reports the results.

The client is used unless it is blocked: with the classic protocol, a coordinator that waits for a member (a dead one
until its session ends, or one that drains) answers no other request on the connections of the others. Then the offsets
are committed in transactions, see `transactional_offsets`, until the rebalance is over. `commit_and_wait` is for the
end, when the poller has nothing else to do.

A member that has released partitions joins its group again. The coordinator answers the requests of a connection in
order, so a commit behind the request to join is answered by the next generation, and refused. If a further rebalance
has begun by then, librdkafka waits up to a second before it joins, does not count that as rebalancing, and gives up its
whole assignment because of the refusal: what ran since the last commit runs again. So a commit is kept until the member
has joined.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import ProcessorError
from processor.kafka.aside import Aside
from processor.kafka.elections import NO_COORDINATOR
from processor.kafka.errors import reason_of
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.transactional_offsets import Refused, TransactionalOffsets, is_member
from processor.runtime.ports import Commit, MetadataTooLarge, NotSent, Partition
from processor.settings import Settings
from processor.telemetry.events import ConsumerCommitsHeld, ConsumerCommitsRerouted, Emit

PATIENCE_SECONDS: Final = 1.0
"""Time without a response to a commit after which the state of the group is requested. Most responses take 10 ms."""

KEPT_SECONDS: Final = 2.0
"""The same for a commit that is kept until the member has joined again. That takes up to a second, and longer only if
the group waits for another member."""

AGAIN_SECONDS: Final = 0.1
"""Time between two tries of a commit that is waited for."""

PASSING: Final = NO_COORDINATOR | {KafkaError.REQUEST_TIMED_OUT}
"""Refusals of a commit while a coordinator moves or starts. The client marks them retriable for transactions only."""

GIVEN_UP: Final = NotSent("the group took the partitions away while the commit waited for the end of a rebalance")

OVERTAKEN: Final = NotSent("another commit went first while this one waited for the end of a rebalance")

TOO_LARGE: Final = "the metadata is longer than offset.metadata.max.bytes"

OnAnswer = Callable[[Sequence[Commit], str | None, KafkaError | None], None]
"""Called once for each commit, with the reason of a refusal and the client's error, if it has one; with None twice if
the commit was accepted."""


class _Sent:
    """A commit to which the client has received no response."""

    def __init__(self, commits: Sequence[Commit], *, is_kept: bool = False) -> None:
        self.commits = commits
        self.at = monotonic()
        self.is_answered = False
        """Whether a transaction was tried in its place: a later refusal is then ignored."""
        self.is_kept = is_kept
        """Whether the client has not got it yet."""

    def answers_to(self, partitions: Sequence[TopicPartition]) -> bool:
        """Return whether a response of the client belongs to this commit."""
        return {(t.topic, t.partition, t.offset) for t in partitions} == {
            (*c.partition, c.offset) for c in self.commits
        }


class CommitRoute:
    """Belongs to the poller's thread."""

    def __init__(
        self, settings: Settings, emit: Emit, on_answer: OnAnswer, aside: Aside, inquiry: GroupInquiry
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._on_answer = on_answer
        self._unanswered: list[_Sent] = []
        self._aside = aside
        self._inquiry = inquiry
        self._transactions = TransactionalOffsets(settings, emit)
        self._ask_at = 0.0
        self.is_rerouted = False
        """Whether a rebalance is in progress that blocks the member's client."""
        self._is_unusable = False
        """Whether transactions are not possible during this rebalance."""
        self._logged: str | None = None
        self._assignments_to_come = 0
        """How many assignments, even empty ones, the member receives until it has joined again: two after a release,
        since the first one still belongs to the same rebalance."""

    def send(self, consumer: Consumer, commits: Sequence[Commit]) -> None:
        """Commits without waiting."""
        if self.is_rerouted and not self._is_unusable:
            self._send_in_transaction(consumer, commits)
        elif self._assignments_to_come:
            self._unanswered.append(_Sent(commits, is_kept=True))
        else:
            self._send_by_client(consumer, commits)

    def _send_by_client(self, consumer: Consumer, commits: Sequence[Commit]) -> None:
        try:
            consumer.commit(offsets=positions(commits), asynchronous=True)
        except KafkaException as caught:
            self._on_answer(commits, reason_of(caught.args[0]), caught.args[0])
        else:
            self._unanswered.append(_Sent(commits))

    def _send_kept(self, consumer: Consumer) -> None:
        for kept in self._take_kept():
            self._send_by_client(consumer, kept.commits)

    def _take_kept(self) -> list[_Sent]:
        kept = [sent for sent in self._unanswered if sent.is_kept]
        self._unanswered = [sent for sent in self._unanswered if not sent.is_kept]
        return kept

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Take a response of the client, from inside its `poll`."""
        sent = next((s for s in self._unanswered if s.answers_to(partitions)), None)
        if sent is not None:
            self._unanswered.remove(sent)
        refused = [t for t in partitions if t.error is not None] if error is None else partitions
        accepted = [] if error is not None else [t for t in partitions if t.error is None]
        if accepted:
            self._on_answer(_commits(accepted), None, None)
        if refused and not (sent is not None and sent.is_answered):
            first = error or refused[0].error
            assert first is not None
            self._on_answer(_commits(refused), refusal(first, refused), first)

    def tick(self, consumer: Consumer) -> None:
        """Switch to transactions if the client is blocked, and send what was kept. To be called often."""
        if not self._assignments_to_come and self._unanswered:
            self._send_kept(consumer)
        if self._is_held_up and self._settings.group_protocol == "classic" and monotonic() >= self._ask_at:
            self._ask_at = float("inf")
            self._aside.run(
                self._inquiry.is_rebalancing, lambda rebalancing: self._reroute(consumer, rebalancing=rebalancing)
            )

    def on_assign(self) -> None:
        """Take the end of a rebalance."""
        self._assignments_to_come = max(0, self._assignments_to_come - 1)
        self._on_rebalanced()

    def on_give_up(self, partitions: Collection[Partition]) -> None:
        """Take the end of a rebalance in which these partitions are revoked or lost. Nothing is kept for them."""
        self._assignments_to_come = 0
        for kept in self._take_kept():
            dropped = [commit for commit in kept.commits if commit.partition in partitions]
            kept.commits = [commit for commit in kept.commits if commit.partition not in partitions]
            if kept.commits:
                self._unanswered.append(kept)
            if dropped:
                self._on_answer(dropped, GIVEN_UP, None)
        self._on_rebalanced()

    def on_release(self) -> None:
        """Take the release of revoked partitions: with the classic protocol, the member joins its group again."""
        if self._settings.group_protocol == "classic":
            self._assignments_to_come = 2

    def _on_rebalanced(self) -> None:
        self.is_rerouted = self._is_unusable = False
        self._logged = None

    def close(self) -> None:
        """Drop the transactional producer. To be called in the thread of `Aside`."""
        self._transactions.close()

    @property
    def _is_held_up(self) -> bool:
        if self.is_rerouted or not self._unanswered:
            return False
        sent = next((s for s in self._unanswered if not s.is_answered), None)
        return sent is not None and monotonic() - sent.at > (KEPT_SECONDS if sent.is_kept else PATIENCE_SECONDS)

    def _reroute(self, consumer: Consumer, *, rebalancing: bool) -> None:
        self._ask_at = monotonic() + PATIENCE_SECONDS
        if not self._is_held_up:
            return
        if not rebalancing:
            self._assignments_to_come = 0  # what is kept goes through the client after all
            return
        self.is_rerouted, self._is_unusable = True, False
        held = self._unanswered[-1]
        self._emit(
            ConsumerCommitsRerouted(
                held_seconds=round(monotonic() - self._unanswered[0].at, 3),
                transactional_id=self._transactions.transactional_id,
            )
        )
        self._send_in_transaction(consumer, held.commits, held)

    def _send_in_transaction(self, consumer: Consumer, commits: Sequence[Commit], held: _Sent | None = None) -> None:
        """Commit in a transaction. `held` is the same commit if the client has it as well."""
        metadata = consumer.consumer_group_metadata()
        if not is_member(metadata):
            self._conclude(commits, held, Refused(KafkaError(KafkaError.UNKNOWN_MEMBER_ID)))
            return
        self._aside.run(
            lambda: self._committed(commits, metadata), lambda refused: self._conclude(commits, held, refused)
        )

    def _committed(self, commits: Sequence[Commit], metadata: Any) -> ProcessorError | None:
        try:
            self._transactions.commit(positions(commits), metadata)
        except ProcessorError as refused:
            return refused
        return None

    def _conclude(self, commits: Sequence[Commit], held: _Sent | None, refused: ProcessorError | None) -> None:
        reason = _reason(refused, commits)
        if isinstance(refused, Refused) and refused.of_generation:
            self.is_rerouted = False
        elif reason is not None and not isinstance(reason, MetadataTooLarge):
            self._is_unusable = not isinstance(refused, Refused) or refused.unusable
            self._log(reason)
        if held is not None:
            if self._is_unusable:
                self._assignments_to_come = 0  # what is kept goes through the client after all
                return  # the client's response is still to come
            held.is_answered = True
            self._refuse_kept_beside(held)
        self._on_answer(commits, reason, None)

    def _refuse_kept_beside(self, held: _Sent) -> None:
        """Have what is kept beside this commit made again.

        A rebalance takes some partitions of a kept commit away, and the next commit is kept beside the rest. Or the
        member has joined and keeps a commit again, while the transaction was made.
        """
        for kept in self._take_kept():
            if kept is not held:
                self._on_answer(kept.commits, OVERTAKEN, None)

    def _log(self, error: str) -> None:
        if error != self._logged:
            self._logged = error
            self._emit(ConsumerCommitsHeld(error=error, transactional_id=self._transactions.transactional_id))


def commit_and_wait(consumer: Consumer, commits: Sequence[Commit], seconds: float) -> str | None:
    """Commit through the client and wait, at least until its own timeout. Return None, or the reason of a refusal.

    Args:
        consumer: the member's client.
        commits: of assigned partitions.
        seconds: for how long a refusal that may pass is followed by another try.
    """
    deadline = monotonic() + seconds
    while True:
        error, refused = _try_commit(consumer, commits)
        if error is None:
            return None
        if not (error.retriable() or error.code() in PASSING) or monotonic() >= deadline:
            return refusal(error, refused)
        sleep(AGAIN_SECONDS)  # a coordinator that refuses does so at once


def _try_commit(consumer: Consumer, commits: Sequence[Commit]) -> tuple[KafkaError | None, list[TopicPartition]]:
    """Return the first error, and the partitions that were refused."""
    asked = positions(commits)
    try:
        committed = consumer.commit(offsets=asked, asynchronous=False)
    except KafkaException as caught:
        return caught.args[0], asked
    refused = [t for t in committed or () if t.error is not None]
    return (refused[0].error, refused) if refused else (None, [])


def refusal(error: KafkaError, refused: Sequence[TopicPartition]) -> str:
    """Return the reason of a refusal. Each partition may have its own error."""
    codes = {Partition(t.topic, t.partition): (t.error or error).code() for t in refused}
    large = [partition for partition, code in codes.items() if code == KafkaError.OFFSET_METADATA_TOO_LARGE]
    return MetadataTooLarge(TOO_LARGE, large) if large else reason_of(error)


def _reason(refused: ProcessorError | None, commits: Sequence[Commit]) -> str | None:
    """Return the same for a transaction, which has one error for all of its partitions."""
    if isinstance(refused, Refused) and refused.code == KafkaError.OFFSET_METADATA_TOO_LARGE:
        return too_large(commits)
    return None if refused is None else str(refused)


def too_large(commits: Sequence[Commit]) -> MetadataTooLarge:
    """Return the refusal of a transaction for its metadata. It does not name the partitions."""
    return MetadataTooLarge(TOO_LARGE, [commit.partition for commit in commits])


def positions(commits: Sequence[Commit]) -> list[TopicPartition]:
    """Return the commits in the client's form."""
    return [TopicPartition(*commit.partition, commit.offset, commit.metadata) for commit in commits]


def _commits(partitions: Sequence[TopicPartition]) -> list[Commit]:
    return [Commit(Partition(t.topic, t.partition), t.offset, t.metadata or "") for t in partitions]

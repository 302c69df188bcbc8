"""`KnownCommits`: the last commit of each partition that the group has, and the commits that are not answered yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from processor.engine.ledger import Stamp
from processor.runtime.ports import Commit, Partition


class KnownCommits:
    """Belongs to the poller's thread."""

    def __init__(self) -> None:
        self.stamps: dict[Partition, Stamp] = {}
        """The stamp of each partition's ledger at the last commit. While the ledger has the same stamp, nothing needs a
        commit; without a stamp, the partition is committed again."""
        self.unanswered_since: float | None = None
        """When the oldest commit that is not answered was made, in seconds of the monotonic clock."""
        self._accepted: dict[Partition, Commit] = {}
        self._sent: dict[Partition, Commit] = {}
        """The last commit of each partition, answered or not."""
        self._pending: set[Commit] = set()
        """Commits that are not answered yet."""

    @property
    def has_pending(self) -> bool:
        """Whether a commit was sent and is not answered yet."""
        return bool(self._pending)

    @property
    def are_all_accepted(self) -> bool:
        """Whether the group has the last commit of each partition."""
        return all(map(self.is_accepted, self._sent))

    def is_accepted(self, partition: Partition) -> bool:
        """Return whether the group has the partition's last commit; also if there is none."""
        sent = self._sent.get(partition)
        return sent is None or self._accepted.get(partition) == sent

    def accepted(self, partition: Partition) -> Commit | None:
        """Return the last commit that the group is known to have; None if there is none."""
        return self._accepted.get(partition)

    def start_at(self, commit: Commit) -> None:
        """Notes the commit that the group had when the partition was assigned."""
        self._accepted[commit.partition] = commit

    def send(self, commits: Sequence[Commit], *, is_awaited: bool = False) -> None:
        """Notes commits that are handed to the client; `is_awaited` if the caller waits for their answer."""
        self._sent.update((commit.partition, commit) for commit in commits)
        if not is_awaited:
            self._pending.update(commits)

    def answer(self, commits: Sequence[Commit]) -> float | None:
        """Notes the answer to the oldest commit. Return when that commit was made."""
        made_at, self.unanswered_since = self.unanswered_since, None
        self._pending.difference_update(commits)
        return made_at

    def accept(self, commits: Iterable[Commit]) -> list[Commit]:
        """Notes commits that the group has accepted. Return them, without those of partitions that were forgotten."""
        accepted = [commit for commit in commits if commit.partition in self._sent]
        for commit in accepted:
            sent = self._sent[commit.partition]
            self._accepted[commit.partition] = commit
            if commit != sent:
                # A client that has lost its coordinator sends an earlier commit again, after later ones. The group then
                # has the earlier one, so the partition must be committed again.
                self.stamps.pop(commit.partition, None)
        return accepted

    def refuse(self, commits: Iterable[Commit]) -> None:
        """Note commits that the group does not have: their partitions must be committed again."""
        for commit in commits:
            self.stamps.pop(commit.partition, None)

    def withdraw(self, commits: Iterable[Commit]) -> None:
        """Does the same for commits that were not handed to the client."""
        self.refuse(commits)
        if not self._pending:
            self.unanswered_since = None

    def expect_again(self, partitions: Iterable[Partition]) -> None:
        """Have those of these partitions committed again whose last commit is not answered: it may yet be refused."""
        for partition in partitions:
            if not self.is_accepted(partition):
                self.stamps.pop(partition, None)

    def give_up_waiting(self) -> None:
        """Expect no response to earlier commits any more: all partitions must be committed again."""
        self.stamps.clear()
        self._pending.clear()

    def forget(self, partition: Partition) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        self._accepted.pop(partition, None)
        if (sent := self._sent.pop(partition, None)) is not None:
            self._pending.discard(sent)
        self.stamps.pop(partition, None)

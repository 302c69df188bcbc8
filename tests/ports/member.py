"""A source as the runtime uses it: one thread that takes, and a listener that records each call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from processor.runtime.ports import Commit, Partition, Record, Source, Start, Survey

SECONDS = 60.0
"""How long a member may take for what a test waits for."""

TAKE_SECONDS = 0.05


class Answer(NamedTuple):
    """One call of `on_committed`."""

    commits: list[Commit]
    error: str | None


class Member:
    """One member of the group. Everything happens in the test's thread, inside `take` and `close`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.assigned: dict[Partition, Start] = {}
        self.calls: list[tuple[str, list[Partition]]] = []
        """The listener's calls about partitions, in their order."""
        self.resets: list[tuple[Partition, int]] = []
        self.answers: list[Answer] = []
        self.surveys: list[tuple[Survey | None, str | None]] = []
        self.records: list[Record] = []
        self.ends: dict[Partition, list[int]] = {}
        self.during_revoke: Callable[[Sequence[Partition]], object] = lambda partitions: None
        """Runs inside `on_revoke`, as the drain of a consumer does."""
        self.releases_at_once = True
        """Whether what is revoked is released inside `on_revoke`."""
        self.release: Callable[[], None] = lambda: None
        """Releases what was revoked last."""
        source.open(self)

    # --- the listener

    def on_assign(self, starts: Sequence[Start]) -> None:
        self.calls.append(("assign", [start.partition for start in starts]))
        self.assigned.update({start.partition: start for start in starts})

    def on_revoke(self, partitions: Sequence[Partition], release: Callable[[], None]) -> None:
        self.calls.append(("revoke", list(partitions)))
        self.during_revoke(partitions)
        self._forget(partitions)
        self.release = release
        if self.releases_at_once:
            release()

    def on_lose(self, partitions: Sequence[Partition]) -> None:
        self.calls.append(("lose", list(partitions)))
        self._forget(partitions)

    def on_reset(self, partition: Partition, offset: int) -> None:
        self.resets.append((partition, offset))

    def on_committed(self, commits: Sequence[Commit], error: str | None) -> None:
        self.answers.append(Answer(list(commits), error))

    def on_survey(self, survey: Survey | None, error: str | None) -> None:
        self.surveys.append((survey, error))

    def _forget(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self.assigned.pop(partition, None)

    # --- the test's side

    def leave(self) -> None:
        """Closes the source at the end of a test, which checks nothing of it any more."""
        self.during_revoke, self.releases_at_once = lambda partitions: None, True
        self.source.close()

    def take(self, limit: int = 100, seconds: float = TAKE_SECONDS) -> Sequence[Record]:
        """One `take`, sorted into `records` and `ends`."""
        taken = self.source.take(limit, seconds)
        for record in taken:
            if record.error() is None:
                self.records.append(record)
            elif (end := self.source.interpret(record)) is not None:
                self.ends.setdefault(end.partition, []).append(end.offset)
        return taken

    def take_until(self, condition: Callable[[], object], *beside: Member, limit: int = 100) -> None:
        """Takes, in turn with the members `beside` it, until the condition holds."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {SECONDS:g} s; the listener's calls: {self.calls}"
            for member in (self, *beside):
                member.take(limit)

    def take_until_assigned(self, count: int, *beside: Member) -> None:
        """Takes until it has this many partitions."""
        self.take_until(lambda: len(self.assigned) == count, *beside)

    def offsets(self, partition: Partition) -> list[int]:
        """Return the offsets of this partition's records, in the order in which they came."""
        return [r.offset() for r in self.records if (r.topic(), r.partition()) == partition]

    def calls_of(self, kind: str) -> list[list[Partition]]:
        """Return the partitions of each call of one kind."""
        return [partitions for name, partitions in self.calls if name == kind]

"""`Census`: finds the session with the most unsettled tasks of a partition, counted from the oldest ones."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

from processor.operate.partition_view import PartitionView

JUMP: Final = 2000
"""The reader jumps over more settled offsets than this. To read this many takes as long as a fetch, 1 to 2 ms."""


class Share(NamedTuple):
    """The session with the most tasks among those that were read."""

    key: bytes
    """The key of its records."""
    tasks: int
    """Tasks of the session among those that were read."""
    read: int
    """Unsettled tasks that were read."""
    is_all: bool
    """Whether the partition has no other unsettled tasks."""


class Census:
    """Counts the unsettled tasks of one partition by session. Records come in the order of their offsets."""

    def __init__(self, view: PartitionView, most: int) -> None:
        """Counts at most `most` tasks, below the end that `view` has."""
        self._settled = deque(view.settled_ranges())
        self._end = view.end
        self._most = most
        self._counts: Counter[bytes] = Counter()
        self._read = 0
        self._is_at_end = self._is_cut = False
        self._jumped_to = 0
        self.next_offset = 0
        """The offset at which to continue: all tasks below it are settled or counted."""
        self._reach(view.settled_below)

    @property
    def is_done(self) -> bool:
        """Whether everything has been read."""
        return self._is_at_end or self._is_cut or self._read >= self._most

    def take(self, offset: int, key: bytes | None) -> bool:
        """Count the record at `offset` unless it is settled. Return whether to read on at `next_offset` instead.

        A record without a key forms a session by itself, and counts only as a task.
        """
        if offset >= self.next_offset and not self.is_done and self._reach(offset) == offset < self._end:
            self._read += 1
            if key is not None:
                self._counts[key] += 1
            self._reach(offset + 1)
        return self._should_jump(offset)

    def cut(self, offset: int) -> None:
        """Record that no record from `offset` on can be read now."""
        self._is_cut = True
        self._reach(offset)

    def share(self) -> Share | None:
        """Return the session with the most tasks, the oldest of equals; None if no task with a key was read."""
        if not self._counts:
            return None
        ((key, tasks),) = self._counts.most_common(1)
        return Share(key, tasks, self._read, self._is_at_end)

    def _should_jump(self, offset: int) -> bool:
        """Return whether to jump: once for each long settled range, however many of its records still arrive."""
        if self.is_done or self.next_offset - offset <= JUMP or self.next_offset == self._jumped_to:
            return False
        self._jumped_to = self.next_offset
        return True

    def _reach(self, offset: int) -> int:
        """Passes everything below `offset`. Return the lowest unsettled offset from there on."""
        while self._settled and self._settled[0][1] <= offset:
            self._settled.popleft()
        is_settled = bool(self._settled) and self._settled[0][0] <= offset
        self.next_offset = self._settled[0][1] if is_settled else offset
        self._is_at_end = self.next_offset >= self._end
        return self.next_offset

"""`Splice`: merges two readers of the same partitions into one stream, with each record once and in order.

While a member of a group may not fetch, a second reader continues from the member's next offset. Later the member
continues where the second reader is, and for a moment both read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Splice(Generic[P]):
    """Decides which records are taken from which reader.

    Each reader delivers every record of a partition from some offset on, in order. The member begins at `next` or
    below. So when a reader delivers its first record at `next` or above, no record lies between `next` and that one.
    This holds for any interleaving of the two readers, and if the member seeks to an offset up to `next`.
    """

    def __init__(self, starts: Mapping[P, int]) -> None:
        """`starts` has the first offset of each partition that was not taken from the member."""
        self.next = dict(starts)
        """The lowest offset of each partition that may still be taken."""
        self._is_ending = False

    def __bool__(self) -> bool:
        return bool(self.next)

    def end(self) -> None:
        """Begins the return to the member, which may fetch again. Each partition is its own once it has caught up."""
        self._is_ending = True

    def forget(self, partitions: Iterable[P]) -> None:
        """Ends the splice of these partitions: everything is taken from the member, nothing from the second reader."""
        for partition in partitions:
            self.next.pop(partition, None)

    def is_taken_from_member(self, partition: P, offset: int, *, after: int) -> bool:
        """Return whether to take what the member has delivered: a record, or the end of a partition.

        Args:
            partition: its partition.
            offset: the offset of the record, or of the end.
            after: the lowest offset that may follow it.
        """
        if (expected := self.next.get(partition)) is None:
            return True
        if offset < expected:
            return False
        if self._is_ending:
            del self.next[partition]
        else:
            self.next[partition] = after
        return True

    def is_taken_from_second(self, partition: P, offset: int, *, after: int) -> bool:
        """Return whether to take what the second reader has delivered; see `is_taken_from_member`."""
        expected = self.next.get(partition)
        if expected is None or offset < expected:
            return False
        self.next[partition] = after
        return True

"""What may be committed of one partition, over the offsets that were delivered.

Offsets have holes (aborted transactions, compaction), so the commit point is not "the last one plus
one" but the lowest delivered offset that is not settled; where all are settled, it is the position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

Range = tuple[int, int]
"""Offsets from the first, up to and without the second."""


class Progress(NamedTuple):
    """One moment of a partition: what to commit, and what is already settled above it.

    Offset and unsettled offsets are read together. Reading the one, letting something settle, and
    then reading the other would commit a map that skips what never ran.
    """

    commit_point: int
    unsettled: Sequence[int]
    """Delivered and not settled, ascending; the first is the commit point."""
    position: int
    """The offset after the last delivered one."""
    ahead: Sequence[Range]
    """At or above the position: settled in an earlier assignment, not delivered in this one yet."""

    def settled_ranges(self) -> list[Range]:
        """What is settled above the commit point. Holes count as settled: nothing will come from them."""
        ranges = []
        start = self.commit_point
        for offset in self.unsettled:
            if offset > start:
                ranges.append((start, offset))
            start = offset + 1
        if self.position > start:
            ranges.append((start, self.position))
        for low, high in self.ahead:
            if ranges and ranges[-1][1] >= low:
                ranges[-1] = (ranges[-1][0], high)
            else:
                ranges.append((low, high))
        return ranges


class Offsets:
    """The delivered offsets of one assignment of one partition.

    The unsettled ones are the keys of a dict, which keeps them in the order of delivery: settling is
    one deletion, the commit point is the first key. Cost and memory follow what is unsettled, never
    the range that it spans.
    """

    __slots__ = ("_ahead", "_unsettled", "bytes", "highest_settled", "position")

    def __init__(self, committed: int | None = None, settled: Sequence[Range] = ()) -> None:
        """`committed` is where the group goes on; `settled` what of it is known to be done, ascending."""
        self.position = committed
        self.highest_settled: int | None = None
        self.bytes = 0
        self._unsettled: dict[int, int] = {}
        self._ahead: deque[Range] = deque(settled)

    def __len__(self) -> int:
        return len(self._unsettled)

    @property
    def expects_settled(self) -> bool:
        """Whether what comes next may have been settled in an earlier assignment."""
        return bool(self._ahead)

    @property
    def commit_point(self) -> int | None:
        """Every delivered offset below it is settled; None before anything is known."""
        return next(iter(self._unsettled), self.position)

    @property
    def oldest(self) -> int | None:
        """The lowest offset that is not settled; None where all are."""
        return next(iter(self._unsettled), None)

    def admit(self, offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """These were delivered, ascending, from the position on, with these sizes in bytes."""
        self._unsettled.update(zip(offsets, sizes, strict=True))
        self.bytes += sum(sizes)
        end = offsets[-1] + 1
        if self.position is None or end > self.position:  # what was skipped after the last one is past already
            self.position = end

    def skips(self, offset: int) -> bool:
        """Whether `offset`, delivered now, was settled before; then it is past, and must not be admitted."""
        ahead = self._ahead
        while ahead and ahead[0][1] <= offset:
            ahead.popleft()
        if not ahead or offset < ahead[0][0]:
            return False
        self.position = offset + 1
        if ahead[0][1] == self.position:
            ahead.popleft()
        else:
            ahead[0] = (self.position, ahead[0][1])
        return True

    def settle(self, offsets: Sequence[int]) -> None:
        """These are final, in whatever order. Each must have been admitted, and be settled once."""
        self.bytes -= sum(map(self._unsettled.pop, offsets))
        highest = max(offsets)
        if self.highest_settled is None or highest > self.highest_settled:
            self.highest_settled = highest

    def reach(self, position: int) -> None:
        """Nothing more is to be delivered below `position`: what is missing there are holes."""
        if self.position is None or position > self.position:
            self.position = position
            self._forget_ahead_below(position)

    def undelivered_below(self, offset: int) -> list[Range]:
        """What lies from the position up to `offset` and was not settled before; going on there misses it."""
        if self.position is None:
            return []
        missed = []
        start = self.position
        for low, high in self._ahead:
            if low >= offset:
                break
            if low > start:
                missed.append((start, low))
            start = max(start, high)
        if start < offset:
            missed.append((start, offset))
        return missed

    def progress(self) -> Progress | None:
        """This moment, for a commit; None before anything is known."""
        if self.position is None:
            return None
        unsettled = tuple(self._unsettled)
        return Progress(unsettled[0] if unsettled else self.position, unsettled, self.position, tuple(self._ahead))

    def _forget_ahead_below(self, position: int) -> None:
        ahead = self._ahead
        while ahead and ahead[0][0] < position:
            _, high = ahead.popleft()
            if high > position:
                ahead.appendleft((position, high))

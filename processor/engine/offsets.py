"""The commit point of one partition, computed from the offsets that were delivered.

Offsets have holes (aborted transactions, compaction). The commit point is therefore the lowest delivered offset that is
not settled, or the position if all are settled. It is not "the last settled offset plus one".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from processor.engine.set_aside import SetAside
from processor.engine.stretch import Stretch, merged

Range = tuple[int, int]
"""Offsets from the first, inclusive, to the second, exclusive."""

BLOCK = 64
"""Unsettled offsets that are examined together. Fewer cost more examinations; with more, fewer blocks have no gap."""


class Progress(NamedTuple):
    """A consistent snapshot of a partition: the commit point, and what is already settled above it.

    The commit point and the unsettled offsets must be read together. If a task settled between two reads, the commit
    could contain a skip map that skips a task which never ran.
    """

    commit_point: int
    unsettled: Sequence[int]
    """Delivered but not settled offsets, ascending, without those of which only the offset is kept."""
    position: int
    """The offset after the last delivered one."""
    ahead: Sequence[Range]
    """At or above the position: settled in an earlier assignment, but not yet delivered in this one."""
    set_aside: Sequence[Stretch] = ()
    """The unsettled offsets of which only the offset is kept. There may be a million of them."""
    kept_until: int | None = None
    """Every task below it is settled: only records of joins are unsettled there. None if there are none."""

    def settled_ranges(self, most: int | None = None) -> list[Range]:
        """The lowest `most` ranges that are settled above the commit point; None is all.

        Holes count as settled: they contain no record. A block of unsettled offsets without a gap costs one check.
        """
        ranges: list[Range] = []
        start = self.commit_point
        for block in self._unsettled_blocks():
            if block[-1] - start == len(block) - 1:
                start = block[-1] + 1
                continue
            for offset in block:
                if offset > start:
                    ranges.append((start, offset))
                start = offset + 1
            if most is not None and len(ranges) >= most:
                return ranges[:most]
        if self.position > start:
            ranges.append((start, self.position))
        for low, high in self.ahead if most is None else self.ahead[:most]:
            if ranges and ranges[-1][1] >= low:
                ranges[-1] = (ranges[-1][0], high)
            else:
                ranges.append((low, high))
        return ranges[:most]

    def _unsettled_blocks(self) -> Iterator[Sequence[int]]:
        parts = merged([Stretch(self.unsettled, 0, len(self.unsettled)), *self.set_aside])
        for part in parts if self.set_aside else (self.unsettled,):
            for first in range(0, len(part), BLOCK):
                yield part[first : first + BLOCK]


class Offsets:
    """The delivered offsets of one assignment of one partition.

    The unsettled offsets are the keys of a dict, in the order of delivery: settling deletes a key, and the commit point
    is the first key. Time and memory depend on the number of unsettled offsets, not on the range that they span.
    """

    __slots__ = ("_ahead", "_unsettled", "bytes", "highest_settled", "position", "set_aside")

    def __init__(self, committed: int | None = None, settled: Sequence[Range] = ()) -> None:
        """Starts an assignment.

        Args:
            committed: the group's committed offset; None if there is none.
            settled: ranges at or above it that an earlier assignment settled, ascending.
        """
        self.position = committed
        self.highest_settled: int | None = None
        self.bytes = 0
        """The total size of the unsettled records in memory."""
        self.set_aside: SetAside | None = None
        """None until a task is set aside."""
        self._unsettled: dict[int, int] = {}
        self._ahead: deque[Range] = deque(settled)

    def __len__(self) -> int:
        """How many unsettled tasks have their record in memory."""
        return len(self._unsettled) + (len(self.set_aside.read_again) if self.set_aside is not None else 0)

    @property
    def expects_settled(self) -> bool:
        """Return whether the next offsets may have been settled in an earlier assignment."""
        return bool(self._ahead)

    @property
    def commit_point(self) -> int | None:
        """The offset below which every delivered offset is settled; None before the position is known."""
        oldest = self.oldest
        return self.position if oldest is None else oldest

    @property
    def oldest(self) -> int | None:
        """The lowest offset that is not settled; None if all are."""
        oldest = next(iter(self._unsettled), None)
        if self.set_aside is None or (other := self.set_aside.oldest) is None:
            return oldest
        return other if oldest is None else min(oldest, other)

    def size_of(self, offsets: Iterable[int]) -> int:
        """The bytes of these unsettled offsets' records together."""
        sizes = self._unsettled
        if self.set_aside is not None:
            again = self.set_aside.read_again
            return sum(again[offset] if offset in again else sizes[offset] for offset in offsets)
        return sum(map(sizes.__getitem__, offsets))

    def admit(self, offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """Records a delivery: ascending offsets from the position on, and the sizes of their records in bytes."""
        self._unsettled.update(zip(offsets, sizes, strict=True))
        self.bytes += sum(sizes)
        end = offsets[-1] + 1
        if self.position is None or end > self.position:  # offsets skipped after the last one have moved it already
            self.position = end

    def skips(self, offset: int) -> bool:
        """Return whether the delivered `offset` was settled before; the position is then past it. Do not admit it."""
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
        """Settles offsets, in any order. Each must have been admitted, and can be settled only once."""
        self._drop(offsets)
        highest = max(offsets)
        if self.highest_settled is None or highest > self.highest_settled:
            self.highest_settled = highest

    def put_aside(self, offsets: Sequence[int]) -> int:
        """Drops the records of these unsettled offsets. Returns their bytes."""
        before = self.bytes
        self._drop(offsets)
        return before - self.bytes

    def read_again(self, offsets: Sequence[int], sizes: Sequence[int]) -> None:
        """Notes that records which were set aside are in memory again, with these sizes in bytes."""
        assert self.set_aside is not None
        self.set_aside.read_again.update(zip(offsets, sizes, strict=True))
        self.set_aside.again_bytes += sum(sizes)
        self.bytes += sum(sizes)

    def reach(self, position: int) -> None:
        """Moves the position forward: no more offsets below it will be delivered, and missing ones are holes."""
        if self.position is None or position > self.position:
            self.position = position
            self._forget_ahead_below(position)

    @property
    def listed_until(self) -> int:
        """The end of the last range that an earlier assignment settled; 0 if none is left."""
        return self._ahead[-1][1] if self._ahead else 0

    def undelivered_below(self, offset: int) -> list[Range]:
        """The ranges between the position and `offset` that are not settled: what a jump to `offset` would miss."""
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
        """A snapshot for a commit; None before the position is known."""
        if self.position is None:
            return None
        unsettled = tuple(self._unsettled)
        if self.set_aside is None:
            return Progress(unsettled[0] if unsettled else self.position, unsettled, self.position, tuple(self._ahead))
        others = self.set_aside
        oldest, unsettled = self.oldest, tuple(sorted([*unsettled, *others.asked, *others.read_again]))
        point = self.position if oldest is None else oldest
        return Progress(point, unsettled, self.position, tuple(self._ahead), others.stretches())

    def _drop(self, offsets: Sequence[int]) -> None:
        if self.set_aside is None or not (again := self.set_aside.read_again):
            self.bytes -= sum(map(self._unsettled.pop, offsets))
            return
        for offset in offsets:
            if offset in again:
                size = again.pop(offset)
                self.set_aside.again_bytes -= size
            else:
                size = self._unsettled.pop(offset)
            self.bytes -= size

    def _forget_ahead_below(self, position: int) -> None:
        ahead = self._ahead
        while ahead and ahead[0][0] < position:
            _, high = ahead.popleft()
            if high > position:
                ahead.appendleft((position, high))

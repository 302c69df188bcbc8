"""`PartitionView`: one partition of a group in one sample, and what follows from that alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from processor.engine import skipmap
from processor.engine.extents import Extents, extent_of
from processor.engine.offsets import Range
from processor.runtime.ports import Partition


class PartitionView(NamedTuple):
    """Offsets of one partition, and the group's commit."""

    partition: Partition
    start: int
    """The lowest offset that is retained."""
    end: int
    """The offset of the next record, open transactions included."""
    committed: int | None
    metadata: str = ""
    recorded: Sequence[Range] | str | None = None
    """The skip map in the record that the metadata refers to, or why it cannot be read; None without such a record."""

    @property
    def lag(self) -> int:
        """Offsets from the commit to the end, as other tools count them; without a commit, from the start."""
        return max(self.end - (self.start if self.committed is None else self.committed), 0)

    @property
    def settled_below(self) -> int:
        """Every offset below this one is settled, or is not retained."""
        return self.start if self.committed is None else max(self.committed, self.start)

    def settled_ranges(self) -> list[Range]:
        """The ranges in the skip map between `settled_below` and the end; empty if the map is not valid."""
        if self.committed is None:
            return []
        if isinstance(self.recorded, str):
            return []
        try:
            ranges = skipmap.decode(self.metadata, self.committed) if self.recorded is None else self.recorded
        except skipmap.SkipMapError:
            return []
        low, high = self.settled_below, self.end
        return [(max(a, low), min(b, high)) for a, b in ranges if max(a, low) < min(b, high)]

    def first_unsettled(self, offset: int) -> int:
        """The lowest offset from `offset` on that is not settled."""
        offset = max(offset, self.settled_below)
        for low, high in self.settled_ranges():
            if low <= offset < high:
                offset = high
        return offset


def unread(views: Iterable[PartitionView]) -> list[str]:
    """Return the reasons why skip maps that commits refer to cannot be read. Their offsets count as not done."""
    reasons = {view.recorded for view in views if isinstance(view.recorded, str)}
    return [f"{reason}; what it lists counts as not done" for reason in sorted(reasons)]


def waits_for(topic: Sequence[PartitionView], now: float) -> dict[int, list[Partition]]:
    """Return, by number, which partitions each new partition of a topic has to wait for.

    A partition is new if the group has never committed it and has committed others (see `engine/growth.py`). It begins
    once those have settled all that they held when the growth was seen. The consumer knows these offsets; this function
    compares with the present ends, so it may name a partition that is already far enough.

    Args:
        topic: every partition of the topic.
        now: seconds since the epoch.
    """
    found = {
        view.partition.number: extent_of(view.start, view.end, view.committed, view.metadata, now) for view in topic
    }
    extents = Extents(found)
    if extents.is_fresh:
        return {}
    begun_with = extents.begun_with or 0
    unsettled = sorted(number for number, extent in found.items() if extent.settled < extent.end)
    waits: dict[int, list[Partition]] = {}
    for view in topic:
        number = view.partition.number
        if view.committed is None and number >= begun_with:
            earlier = extents.predecessors(number).among(unsettled)
            waits[number] = [Partition(view.partition.topic, other) for other in earlier]
    return {number: others for number, others in waits.items() if others}

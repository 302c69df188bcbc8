"""`Extents`: a topic as a survey found it. `Cut`: the ends in a survey that new partitions wait for.

A topic may have hundreds of new partitions, each of which waits for hundreds of old ones. What they have in common is
found once in a survey, and not once for each of them: which partitions are old, and which ends are not settled yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from math import inf
from typing import NamedTuple

from processor.engine.commit_note import split
from processor.engine.progress_record import noted_until


class Extent(NamedTuple):
    """One partition as a survey found it."""

    start: int
    """Its lowest offset."""
    end: int
    committed: int | None
    """The offset that the group has committed; None if there is none."""
    begun_with: int | None = None
    """The commit's note: how many partitions the topic had when the group began it, or 0 if the partition is watched;
    None without a note."""

    kept: int = 0
    """Number of offsets from the committed one on among which only records of joins are unsettled."""

    @property
    def settled(self) -> int:
        """Every task in it below this offset is settled.

        Arrivals are not tasks. One that waits at a join may need a branch from the new partition.
        """
        return self.start if self.committed is None else self.committed + self.kept

    @property
    def is_old(self) -> bool:
        """Whether the group has processed it for longer than any watch lasts."""
        return self.committed is not None and self.begun_with != 0


def extent_of(start: int, end: int, committed: int | None, metadata: str, now: float) -> Extent:
    """Return a partition with what the metadata of its commit notes at `now`, in seconds since the epoch."""
    _, note = split(metadata)
    begun_with = note.begun_with if note is not None and note.until > now else None
    noted = noted_until(metadata, committed) if committed is not None else None
    return Extent(start, end, committed, begun_with, noted - committed if noted and committed is not None else 0)


class Predecessors(NamedTuple):
    """The partitions that may hold earlier tasks of the sessions of one partition.

    Those are the old ones with a lower number. If the topic has grown more than once, new ones may be among them: for
    each possible earlier count, the partition that the sessions of this one had then.
    """

    number: int
    """The partition whose predecessors they are."""
    old: frozenset[int]
    """All old partitions, with higher numbers too, so that all newcomers of a survey share them."""
    lineage: frozenset[int]
    """The partitions that its sessions had before, one for each earlier count."""

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.lineage and not any(number < self.number for number in self.old)

    def among(self, numbers: Iterable[int]) -> list[int]:
        """Return those of the numbers that are predecessors."""
        before, old, lineage = self
        return [number for number in numbers if (number < before and number in old) or number in lineage]


class Extents:
    """All partitions of a topic in one survey, by number."""

    def __init__(self, found: Mapping[int, Extent]) -> None:
        self.found = found

    @cached_property
    def old(self) -> frozenset[int]:
        """The numbers of the partitions that are old."""
        return frozenset(number for number, extent in self.found.items() if extent.is_old)

    @cached_property
    def is_fresh(self) -> bool:
        """Whether the group has committed nothing of the topic."""
        return all(extent.committed is None for extent in self.found.values())

    @cached_property
    def begun_with(self) -> int | None:
        """The number of partitions with which the group began the topic; None if no commit notes it any longer."""
        return max((extent.begun_with or 0 for extent in self.found.values()), default=0) or None

    @cached_property
    def before(self) -> int:
        """The count before the growth: the lowest number that is not old; 0 if that is not known.

        It is not known if the group has committed only higher partitions. A plain consumer does that if it commits only
        partitions that had records.
        """
        return min((number for number in self.found if number not in self.old), default=0)

    @cached_property
    def cut(self) -> Cut:
        """The cut that this survey makes."""
        return Cut({number: extent.end for number, extent in self.found.items()})

    @cached_property
    def _counts(self) -> list[int]:
        """The numbers of partitions that the topic may have had: those of which the present one is a multiple."""
        return [count for count in range(1, len(self.found) + 1) if len(self.found) % count == 0]

    def predecessors(self, number: int) -> Predecessors:
        """Return the predecessors of a partition."""
        lineage = {number % count for count in self._counts if count <= number}
        return Predecessors(number, self.old, frozenset(earlier for earlier in lineage if earlier in self.found))


class Cut:
    """Ends of a topic's partitions, for all new partitions whose cut was made by the same survey.

    A new partition waits until the group has settled those of its predecessors.
    """

    __slots__ = ("_checked", "_ends", "_lowest")

    def __init__(self, ends: dict[int, int]) -> None:
        self._ends = ends
        """The ends that were not settled in any survey so far."""
        self._checked: Extents | None = None
        """The latest survey."""
        self._lowest: dict[frozenset[int], float] = {}
        """For each set of old partitions, the lowest one whose end is not settled; infinite if there is none."""

    def is_reached(self, predecessors: Predecessors, extents: Extents) -> bool:
        """Return whether the group has settled the ends of these predecessors, in this survey or an earlier one."""
        if extents is not self._checked:
            self._check(extents)
        old = predecessors.old
        if old not in self._lowest:
            self._lowest[old] = min((number for number in self._ends if number in old), default=inf)
        return self._lowest[old] >= predecessors.number and not any(n in self._ends for n in predecessors.lineage)

    def ends(self, predecessors: Predecessors) -> dict[int, int]:
        """Return the ends of these predecessors that are not settled, by partition."""
        return {number: self._ends[number] for number in predecessors.among(self._ends)}

    def _check(self, extents: Extents) -> None:
        """Leave out the ends that are settled. A partition that is gone holds up nothing.

        A partition that ends below its end here was recreated, or has lost records: its new end counts.
        """
        found = extents.found
        present = [(number, min(end, found[number].end)) for number, end in self._ends.items() if number in found]
        self._ends = {number: end for number, end in present if end > found[number].settled}
        self._checked = extents
        self._lowest.clear()

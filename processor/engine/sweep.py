"""`Sweep`: one pass over a partition's log for the offsets that are wanted of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from processor.engine.record import Record

JUMP = 2000
"""Offsets without a wanted one that are worth a jump. To read them takes a millisecond or two, and so does a fetch."""


class Passed(NamedTuple):
    """What a part of the log had."""

    found: list[Record]
    """The wanted records."""
    missed: list[int]
    """Wanted offsets that have no record any more."""


class Sweep:
    """Reads forward only. What it wants is ascending."""

    __slots__ = ("_position", "_wanted")

    def __init__(self, wanted: Sequence[int]) -> None:
        self._wanted = deque(wanted)
        self._position = wanted[0]

    @property
    def is_done(self) -> bool:
        """Whether nothing is wanted any more."""
        return not self._wanted

    @property
    def next_wanted(self) -> int:
        """The lowest offset that is wanted. There must be one."""
        return self._wanted[0]

    @property
    def should_jump(self) -> bool:
        """Whether the next wanted offset is far from the last one that was passed."""
        return bool(self._wanted) and self._wanted[0] - self._position > JUMP

    def jump(self) -> int:
        """Return where to read on, which is where the next record is expected from now on."""
        self._position = self._wanted[0]
        return self._position

    def take(self, records: Iterable[Record]) -> Passed:
        """These records come next, ascending. A compacted or deleted record is passed without being among them."""
        found, missed = list[Record](), list[int]()
        for record in records:
            offset = record.offset()
            missed += self.reach(offset)
            if self._wanted and self._wanted[0] == offset:
                self._wanted.popleft()
                found.append(record)
            self._position = offset + 1
        return Passed(found, missed)

    def reach(self, offset: int) -> list[int]:
        """No record below this offset will come any more. Return the wanted offsets there."""
        missed = []
        while self._wanted and self._wanted[0] < offset:
            missed.append(self._wanted.popleft())
        return missed

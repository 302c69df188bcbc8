"""`Sweep`: one pass over a partition's log, for the records at wanted offsets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from processor.engine.record import Record

JUMP = 2000
"""A longer stretch without a wanted offset is jumped over. Reading this many takes a millisecond or two, as a fetch
does."""


class Passed(NamedTuple):
    """The records found in a part of the log."""

    found: list[Record]
    """The wanted records."""
    missed: list[int]
    """Wanted offsets that no longer have a record."""


class Sweep:
    """A pass goes forward only. The wanted offsets ascend; there is at least one."""

    __slots__ = ("_position", "_wanted")

    def __init__(self, wanted: Sequence[int]) -> None:
        self._wanted = deque(wanted)
        self._position = wanted[0]

    @property
    def is_done(self) -> bool:
        """Whether all wanted offsets were passed."""
        return not self._wanted

    @property
    def next_wanted(self) -> int:
        """The lowest offset that is wanted. There must be one."""
        return self._wanted[0]

    @property
    def last_wanted(self) -> int:
        """The highest offset that is wanted. There must be one."""
        return self._wanted[-1]

    @property
    def should_jump(self) -> bool:
        """Whether the next wanted offset is far from the last one that was passed."""
        return bool(self._wanted) and self._wanted[0] - self._position > JUMP

    def jump(self) -> int:
        """Jump to the next wanted offset. Return it: the caller continues reading there."""
        self._position = self._wanted[0]
        return self._position

    def take(self, records: Iterable[Record]) -> Passed:
        """Passes the next records, ascending. Offsets between them have no record any more, and are passed as well."""
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
        """Passes all offsets below this one, which have no more records. Return the wanted ones among them."""
        missed = []
        while self._wanted and self._wanted[0] < offset:
            missed.append(self._wanted.popleft())
        return missed

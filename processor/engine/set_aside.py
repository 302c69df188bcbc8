"""Tasks that are set aside: only their offsets are kept, eight bytes each, because their session has very many tasks.

Their records are dropped, and read again when it is nearly their turn. So a session whose tasks come faster than it can
run them does not fill what may be in flight.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain

from processor.engine.delays import Delays
from processor.engine.lane import Lane
from processor.engine.stretch import Stretch

FIRST_PORTION = 256
"""Tasks of one session that are read again at once, at first. With 10 ms tasks they last for two seconds."""

MOST_PORTION = 4096
"""The most tasks of one session that are read again at once, after it has run out of tasks again and again."""

LEAST_SHARE = 16
"""If the sessions of a partition share the room, each gets at least this part, a sixteenth, of an equal share."""


class Shelf:
    """The tasks of one lane of which only the offsets are kept, oldest first. They follow the tasks in the lane."""

    __slots__ = ("_offsets", "_start", "asked", "held", "lane", "portion", "share")

    def __init__(self, lane: Lane, offsets: Iterable[int]) -> None:
        self.lane = lane
        self.asked = 0
        """Tasks that were taken from here and are being read again."""
        self.portion = FIRST_PORTION
        """How many are read again at once, if there is room."""
        self.share = FIRST_PORTION
        """How many there is room for."""
        self.held = len(lane.waiting)
        """How many tasks the lane had when the last pass over the log began, plus those that were asked for then."""
        self._offsets = array("q", offsets)
        self._start = 0

    def __len__(self) -> int:
        return len(self._offsets) - self._start

    @property
    def oldest(self) -> int:
        """The lowest offset. There must be one."""
        return self._offsets[self._start]

    @property
    def pace(self) -> int:
        """How many tasks have left the lane since the last pass began; twice as many if it ran out of them."""
        waiting = len(self.lane.waiting)
        left = max(0, self.held - waiting)
        return left if waiting else 2 * left

    def put(self, offset: int) -> None:
        """Appends an offset above all others."""
        self._offsets.append(offset)

    def put_front(self, offsets: Iterable[int]) -> None:
        """Puts offsets in front, which are below all others. No task of the shelf may be requested at this time."""
        self._offsets = array("q", offsets) + self._offsets[self._start :]  # a copy: a `Stretch` may have the old one
        self._start = 0

    def take(self, count: int) -> list[int]:
        """Removes and returns the `count` lowest offsets, or all if there are fewer."""
        taken = self._offsets[self._start : self._start + count].tolist()
        self._start += len(taken)
        if 2 * self._start > len(self._offsets):
            self._offsets = self._offsets[self._start :]  # a copy: a `Stretch` may have the old one
            self._start = 0
        return taken

    def take_below(self, offset: int) -> list[int]:
        """Removes and returns all that are below `offset`."""
        return self.take(bisect_left(self._offsets, offset, self._start) - self._start)

    def stretch(self) -> Stretch:
        """Return what is here now."""
        return Stretch(self._offsets, self._start, len(self._offsets))


def allot(shelves: Sequence[Shelf], most: int) -> None:
    """Sets the share of each shelf: `most` on average, more for faster sessions, or its portion if all portions fit.

    One pass over the log serves all of them. With equal shares, the fastest session runs low when the others have
    hardly begun theirs, and the next pass is for it alone. With shares in proportion to pace, all run low together.
    """
    if all(shelf.portion <= most for shelf in shelves):
        for shelf in shelves:
            shelf.share = shelf.portion
        return
    least, paces = max(1, most // LEAST_SHARE), [max(1, shelf.pace) for shelf in shelves]
    spare, total = (most - least) * len(shelves), sum(paces)
    for shelf, pace in zip(shelves, paces, strict=True):
        shelf.share = min(shelf.portion, least + spare * pace // total)


class SetAside:
    """The unsettled tasks of one partition that were set aside, including those that have been read again."""

    __slots__ = ("again_bytes", "asked", "delays", "read_again", "shelves")

    def __init__(self, delays: Delays) -> None:
        self.shelves: dict[bytes | None, Shelf] = {}
        """The shelf of each session. It exists while a task is on it, or was taken from it and is being read again."""
        self.delays = delays
        """Tasks that are delayed for long, and those behind them in their sessions. They follow the session's shelf."""
        self.asked: dict[int, Shelf | None] = {}
        """The tasks that are being read again, by offset: the shelf that each was on; None if it is from `delays`."""
        self.read_again: dict[int, int] = {}
        """The offsets of tasks that are in their lanes again, and the sizes of their records in bytes."""
        self.again_bytes = 0
        """The total size of these records."""

    @property
    def oldest(self) -> int | None:
        """The lowest offset of all; None if there is none."""
        heads = [shelf.oldest for shelf in self.shelves.values() if shelf]
        if self.delays.oldest is not None:
            heads.append(self.delays.oldest)
        return min(chain(heads, self.asked, self.read_again), default=None)

    def stretches(self) -> tuple[Stretch, ...]:
        """Return the offsets that are not asked for, and whose records are not in memory."""
        shelves = [shelf.stretch() for shelf in self.shelves.values() if shelf]
        return (*shelves, *self.delays.stretches())

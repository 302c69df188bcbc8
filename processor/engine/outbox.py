"""`Outbox`: the outputs of one partition's settled tasks that no committed transaction holds yet.

A task settles and its outputs enter the outbox in one step. A *cut* is the partition's progress and its outbox at one
moment, and a transaction commits both. So at any moment, the output of every task that the progress counts as settled
is in a committed transaction or in the outbox.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from processor.engine.offsets import Progress, Range


class Staged(NamedTuple):
    """The output of one settled task."""

    offset: int
    """The task's offset."""
    session: bytes | None
    """The session's key; None if the task is a session of its own."""
    output: Any
    size: int
    """The size in bytes for which it counts in memory."""
    others: tuple[int, ...] = ()
    """Lower offsets of arrivals that settled with it. A commit settles all of them or none."""
    arrives: bool = False
    """Whether it belongs to a record of a join, which a note about tasks does not cover."""


class Outbox:
    """The outputs of one ledger. If its partition is lost, they are lost with it.

    Outputs leave in the order in which their tasks settled. If a topic refuses one, it is withheld until it is due
    again, together with the later ones of its session. A cut without them counts their tasks as unsettled.
    """

    __slots__ = ("_due", "_staged", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._staged: dict[int, Staged] = {}
        """The staged outputs by offset, in the order of settlement."""
        self._due: dict[int, float] = {}
        """Offsets of refused outputs, and when each may be sent again."""

    def __len__(self) -> int:
        return len(self._staged)

    @property
    def oldest(self) -> int | None:
        """The lowest offset whose output is here, arrivals that settled with a task included; None if there is none."""
        return min((min(staged.others, default=offset) for offset, staged in self._staged.items()), default=None)

    def put(self, staged: Staged) -> None:
        """Appends the output of a task that settles in the same step."""
        self._staged[staged.offset] = staged
        self.bytes += staged.size

    def refuse(self, offset: int, due: float) -> None:
        """Withholds an output that its topic does not accept until `due`, in the caller's seconds."""
        if offset in self._staged:
            self._due[offset] = due

    def commit(self, offsets: Iterable[int]) -> list[Any]:
        """Removes and returns the outputs of these tasks, which a committed transaction contains."""
        committed = [self._staged.pop(offset) for offset in offsets]
        self.bytes -= sum(staged.size for staged in committed)
        for staged in committed:
            self._due.pop(staged.offset, None)
        return [staged.output for staged in committed]

    def content(self, now: float) -> tuple[list[Staged], set[int]]:
        """Return the outputs that may be sent, in their order, and the offsets of those that are withheld."""
        if not self._due:
            return list(self._staged.values()), set()
        withheld: set[int] = set()
        sessions: set[bytes] = set()
        free = []
        for staged in self._staged.values():
            if self._due.get(staged.offset, now) > now or staged.session in sessions:
                withheld.update((staged.offset, *staged.others))
                if staged.session is not None:
                    sessions.add(staged.session)
            else:
                free.append(staged)
        return free, withheld

    def tasks_in(self, offsets: Iterable[int]) -> set[int]:
        """Return those of these offsets whose output is here and that are tasks, not records of joins."""
        return {offset for offset in offsets if offset in self._staged and not self._staged[offset].arrives}


class Cut(NamedTuple):
    """One partition at one moment: what a transaction may commit of it."""

    progress: Progress
    """Tasks whose outputs are withheld count as unsettled."""
    outputs: list[Staged]
    """The outputs of tasks that the progress counts as settled."""

    def covered(self, ranges: Sequence[Range]) -> list[Staged]:
        """Return the outputs of the tasks that a commit covers if its skip map has these ranges.

        A commit also covers a task if it notes that every task up to it is settled. A commit without room for all
        ranges leaves some tasks uncovered. If their outputs were sent, a crash would repeat them.
        """
        point, noted = self.progress.commit_point, self.progress.kept_until or 0
        return [
            staged
            for staged in self.outputs
            if is_covered(staged.offset, point, ranges) or (staged.offset < noted and not staged.arrives)
        ]

    def parted(self, ranges: Sequence[Range]) -> set[int]:
        """Return the offsets of arrivals that such a commit would settle without the output that settled with them."""
        point = self.progress.commit_point
        return {
            other
            for staged in self.outputs
            if staged.others and not is_covered(staged.offset, point, ranges)
            for other in staged.others
            if is_covered(other, point, ranges)
        }

    def without(self, offsets: set[int]) -> Cut:
        """Return this cut with these arrivals, and all that settled with them, counted as unsettled."""
        parted = [staged for staged in self.outputs if not offsets.isdisjoint(staged.others)]
        left = {offset for staged in parted for offset in (staged.offset, *staged.others)}
        return Cut(unsettling(self.progress, left, ()), [each for each in self.outputs if each.offset not in left])


def is_covered(offset: int, commit_point: int, ranges: Sequence[Range]) -> bool:
    """Return whether a commit at this point, with these ranges in its skip map, records the task as settled."""
    place = bisect_right(ranges, offset, key=_end_of)
    return offset < commit_point or (place < len(ranges) and ranges[place][0] <= offset)


def _end_of(settled: Range) -> int:
    return settled[1]


def unsettling(progress: Progress, offsets: Collection[int], tasks: Collection[int]) -> Progress:
    """Return the progress with these offsets counted as unsettled. `tasks` are those of them that are tasks."""
    if not offsets:
        return progress
    unsettled = tuple(sorted({*progress.unsettled, *offsets}))
    kept_until = None if progress.kept_until is None else min((progress.kept_until, *tasks))
    point = min(progress.commit_point, unsettled[0])
    return progress._replace(commit_point=point, unsettled=unsettled, kept_until=kept_until)

"""`--stop-at-end`: the end of everything that was there at the start."""

from __future__ import annotations

from time import monotonic

from processor.runtime.desk import Desk
from processor.runtime.ports import Partition, Source

ASK_SECONDS = 0.5
"""How often the group is asked about partitions that other consumers have."""

LOOK_SECONDS = 0.05


class Goal:
    """Reached when every partition of the topics, whoever has it, is done up to where it ended at the start."""

    def __init__(self, source: Source, desk: Desk) -> None:
        self._source = source
        self._desk = desk
        self._open: dict[Partition, int] = {}
        self._next_look = 0.0
        self._next_question = 0.0

    def set(self) -> None:
        """Everything that is in the topics now."""
        self._open = self._source.ends()

    def reached(self) -> bool:
        """Whether all of it is settled."""
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._close_own()
            if self._open and now >= self._next_question and not self._owns_open():
                self._next_question = now + ASK_SECONDS
                self._close_committed()
        return not self._open

    def _owns_open(self) -> bool:
        return any(partition in self._desk.assignment.ledgers for partition in self._open)

    def _close_own(self) -> None:
        with self._desk.lock:
            self._desk.collect()
            for partition, end in list(self._open.items()):
                ledger = self._desk.assignment.ledgers.get(partition)
                point = ledger.offsets.commit_point if ledger is not None else None
                if point is not None and point >= end:
                    del self._open[partition]

    def _close_committed(self) -> None:
        """A partition of another consumer is done when the group has committed its end."""
        committed = self._source.committed(list(self._open))
        for partition, offset in committed.items():
            if offset >= self._open.get(partition, offset + 1):
                del self._open[partition]

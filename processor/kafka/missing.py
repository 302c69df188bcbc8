"""`Missing`: partitions that were missing in several checks in a row."""

from __future__ import annotations

from typing import Final

from processor.runtime.ports import Partition

CHECKS: Final = 2
"""The same partitions must be missing in this many checks in a row. During a rebalance, partitions are missing for a
moment."""


class Missing:
    """The missing partitions that the checks of one member have found. Belongs to one thread."""

    def __init__(self) -> None:
        self._partitions: frozenset[Partition] = frozenset()
        self._checks = 0
        """How many times in a row the same ones were missing."""

    def note(self, partitions: frozenset[Partition]) -> None:
        """Take the partitions that are missing in the latest check."""
        self._checks = self._checks + 1 if partitions == self._partitions else 1
        self._partitions = partitions

    def forget(self) -> None:
        """Start again after a rebalance: what was missing before proves nothing."""
        self._partitions, self._checks = frozenset(), 0

    def take(self) -> frozenset[Partition]:
        """Return the partitions that have been missing for long enough, once."""
        if self._checks < CHECKS:
            return frozenset()
        partitions = self._partitions
        self.forget()
        return partitions

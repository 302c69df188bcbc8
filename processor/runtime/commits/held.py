"""`HeldCommits`: commits that wait until the skip maps that they refer to are written to the progress topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from time import monotonic
from typing import NamedTuple

from processor.runtime.commits.map_records import MapRecords, Written
from processor.runtime.ports import Commit, Partition


class Held(NamedTuple):
    """Commits, and the records that they wait for."""

    commits: Sequence[Commit]
    """If a commit waits for its map, its metadata is only what follows the reference."""
    maps: Mapping[Partition, bytes]
    written: Written
    until: float
    """When the wait ends, in seconds of the monotonic clock."""

    def is_over(self, now: float) -> bool:
        """Return whether the records are written, or the time for that is over."""
        return self.written.done() or now >= self.until

    def wait(self, deadline: float) -> None:
        """Waits until the records are written, but not beyond the deadline, in seconds of the monotonic clock."""
        wait([self.written], max(0.0, min(deadline, self.until) - monotonic()))


class HeldCommits:
    """Holds one set of commits at a time. Belongs to the poller's thread."""

    def __init__(self, records: MapRecords) -> None:
        self._records = records
        self.now: Held | None = None
        """The commits that are held; None if there are none."""

    def hold(self, commits: Sequence[Commit], maps: Mapping[Partition, bytes], seconds: float) -> Held:
        """Begins to write these skip maps, and holds the commits for at most `seconds`."""
        self.now = Held(commits, maps, self._records.write(maps), monotonic() + seconds)
        return self.now

    def take(self) -> Held | None:
        """Return what is held, and stop holding it."""
        held, self.now = self.now, None
        return held

    def holds(self, partition: Partition) -> bool:
        """Return whether a commit of the partition is held."""
        return self.now is not None and any(commit.partition == partition for commit in self.now.commits)

    def referring(self, held: Held) -> list[Commit] | None:
        """Return the commits with references in front of their metadata; None if the maps were not written."""
        bases = {commit.partition: commit.offset for commit in held.commits}
        references = self._records.references(held.maps, bases, held.written)
        if references is None:
            return None
        return [c._replace(metadata=f"{references.get(c.partition, '')}{c.metadata}") for c in held.commits]

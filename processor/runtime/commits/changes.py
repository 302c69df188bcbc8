"""`Changes`: finds what to commit now: the progress that the desk has and the group does not have yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from processor.runtime.commits.known import KnownCommits
from processor.runtime.commits.metadata import Metadata, SkipMap
from processor.runtime.commits.staging import Staging
from processor.runtime.desk import Desk
from processor.runtime.ports import Commit, Partition


class Change(NamedTuple):
    """Commits of one moment."""

    commits: list[Commit]
    maps: dict[Partition, bytes]
    """Skip maps to write first, by partition. The metadata of their commits is only what follows the reference."""

    def add(self, commit: Commit, made: SkipMap) -> None:
        """Adds the commit of one more partition."""
        self.commits.append(commit)
        if made.record is not None:
            self.maps[commit.partition] = made.record


class Changes:
    """Belongs to the poller's thread."""

    def __init__(self, desk: Desk, known: KnownCommits, metadata: Metadata, staging: Staging | None) -> None:
        self._commits = desk.commits
        self._known = known
        self._metadata = metadata
        self._staging = staging

    def take(self, partitions: Iterable[Partition] | None, *, is_patient: bool) -> Change:
        """Return what has changed in these partitions (None: in all) since the previous commits.

        `is_patient` leaves out partitions whose last skip map took long to encode.
        """
        records = self._metadata.records
        if records is not None and records.is_to_be_tried():
            self._known.stamps.clear()  # maps were cut or, with exactly-once, partitions were not committed at all
        change = Change([], {})
        if self._staging is None:
            self._add_progress(change, partitions, is_patient=is_patient)
        else:
            self._add_cuts(change, self._staging, partitions, is_patient=is_patient)
        return change

    def _add_progress(self, change: Change, partitions: Iterable[Partition] | None, *, is_patient: bool) -> None:
        for partition, stamp, progress in self._commits.progress(partitions, self._known.stamps):
            if is_patient and self._metadata.is_early(partition):
                continue
            self._known.stamps[partition] = stamp
            commit, made = self._metadata.of_progress(partition, progress)
            if made.record is not None or commit != self._known.accepted(partition):
                change.add(commit, made)

    def _add_cuts(
        self, change: Change, staging: Staging, partitions: Iterable[Partition] | None, *, is_patient: bool
    ) -> None:
        """Does the same with exactly-once: adds also the outputs of the tasks that the commits settle."""
        for partition, ledger, stamp, cut in self._commits.cut(partitions, self._known.stamps):
            if is_patient and self._metadata.is_early(partition):
                continue
            self._known.stamps[partition] = stamp
            accepted = self._known.accepted(partition)
            encoded = self._metadata.of_cut(partition, cut, accepted)
            if encoded is None:  # no room even for the map that the group has: wait until a smaller map is enough
                continue
            commit, made, whole = encoded
            outputs = whole.outputs if made.is_whole else whole.covered(made.kept)
            if outputs or made.record is not None or commit != accepted:
                change.add(commit, made)
                staging.take(ledger, outputs)

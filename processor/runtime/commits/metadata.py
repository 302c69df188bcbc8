"""`Metadata`: what a commit carries beside its offset: a skip map, or the reference to one, and a note."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import NamedTuple

from processor.engine import skipmap
from processor.engine.commit_note import KEPT_CHARACTERS, Note, kept_note, split
from processor.engine.offsets import Progress, Range
from processor.engine.outbox import Cut
from processor.runtime.commits.map_records import MapRecords
from processor.runtime.ports import Commit, Partition, Start
from processor.telemetry.events import ConsumerSkipMapCut, ConsumerSkipMapIgnored, ConsumerSkipMapRefused, Emit


class SkipMap(NamedTuple):
    """The tasks settled above a commit's offset, as far as the commit carries them."""

    text: str
    """In the metadata; empty where it is a record instead."""
    record: bytes | None
    """The records to write to the progress topic before the commit is sent."""
    ranges: Sequence[Range]
    """All settled ranges, or as many as an encoder reads."""
    kept: Sequence[Range]
    """The part of `ranges` that the map has; the same object if it has all."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.kept is self.ranges


class Metadata:
    """Encodes skip maps, and reports those that are cut, refused or ignored. Belongs to the poller's thread."""

    def __init__(self, emit: Emit) -> None:
        self.records: MapRecords | None = None
        """Writes the maps that do not fit, and reads those that commits refer to."""
        self._emit = emit
        self._shortened: set[Partition] = set()
        """Partitions whose last skip map left something out."""
        self._limits: dict[Partition, int] = {}
        """For each partition whose metadata was refused, how many characters are tried now."""
        self._notes: dict[Partition, Note] = {}
        """The note that the commits of a partition carry beside their skip map."""

    # --- reading -------------------------------------------------------------------------------------

    def restore(self, start: Start, offset: int) -> list[Range]:
        """Return the ranges that the group has as settled above the committed offset."""
        _, note = split(start.metadata)
        if note is not None:
            self._notes[start.partition] = note
        try:
            recorded = self.records.settled(start) if self.records is not None else None
            return skipmap.decode(start.metadata, offset) if recorded is None else recorded
        except skipmap.SkipMapError as error:
            topic, number = start.partition
            self._emit(ConsumerSkipMapIgnored(topic=topic, partition=number, offset=offset, reason=str(error)))
            return []

    def _known(self, accepted: Commit | None) -> list[Range]:
        """Return the ranges in the last skip map: their outputs are committed, and must not be written again."""
        if accepted is None:
            return []
        partition, offset, metadata = accepted
        try:
            recorded = self.records.known(partition, metadata, offset) if self.records is not None else None
            return skipmap.decode(metadata, offset) if recorded is None else recorded
        except skipmap.SkipMapError:
            return []

    # --- writing -------------------------------------------------------------------------------------

    def note(self, partition: Partition, note: Note) -> None:
        """Adds the note to the partition's commits until the note expires."""
        self._notes[partition] = note

    def drop_note(self, partition: Partition) -> bool:
        """Adds no note to the partition's commits any more. Return whether it had one."""
        return self._notes.pop(partition, None) is not None

    def note_of(self, partition: Partition) -> Note | None:
        """Return the note in the partition's commits; None if there is none or it has expired."""
        note = self._notes.get(partition)
        if note is not None and note.expires and note.until <= time():
            del self._notes[partition]
            return None
        return note

    def is_early(self, partition: Partition) -> bool:
        """Return whether the partition waits for its turn, since its last skip map took long to encode."""
        return self.records is not None and self.records.is_early(partition)

    def of_progress(self, partition: Partition, progress: Progress) -> tuple[Commit, SkipMap]:
        """Return the commit of what is settled; its skip map may be cut."""
        room, note = self._room(partition, progress), self._notes_with(partition, progress)
        made = self._encoded(partition, progress, room, is_whole=False)
        self._report_cut(partition, progress, made)
        return Commit(partition, progress.commit_point, f"{made.text}{note}"), made

    def of_cut(self, partition: Partition, cut: Cut, accepted: Commit | None) -> tuple[Commit, SkipMap, Cut] | None:
        """Return the commit of a cut, its skip map, and the cut that it covers, whose outputs are committed with it.

        If a map would contain one task but not another that settled with it, it is made for a cut without both.

        Args:
            partition: whose cut it is.
            cut: its progress and outputs, at one moment.
            accepted: what the group has: tasks whose outputs are committed must stay in the map.

        Returns:
            None if there is not enough room even for these.
        """
        room = self._room(partition, cut.progress)
        made = self._encoded(partition, cut.progress, room, is_whole=True)
        if not made.is_whole:
            extended = self._extended(cut, accepted, room)
            if extended is None:
                return None
            made, whole = extended
            cut = whole.noting(made.kept)
        self._report_cut(partition, cut.progress, made)
        note = self._notes_with(partition, cut.progress)
        return Commit(partition, cut.progress.commit_point, f"{made.text}{note}"), made, cut

    def shorten(self, commits: Sequence[Commit], refused: frozenset[Partition]) -> None:
        """Halves the length of these partitions' skip maps, which are too long for the brokers."""
        for partition, _, metadata in commits:
            if partition in refused and metadata:
                if partition not in self._limits:
                    event = ConsumerSkipMapRefused(
                        topic=partition.topic, partition=partition.number, refused_characters=len(metadata)
                    )
                    self._emit(event)
                self._limits[partition] = len(metadata) // 2

    def accept(self, commits: Sequence[Commit]) -> None:
        """Notes commits that the group has accepted."""
        if self.records is not None:
            self.records.accept(commits)

    def forget(self, partition: Partition) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        if self.records is not None:
            self.records.forget(partition)
        self._notes.pop(partition, None)
        self._shortened.discard(partition)

    def _encoded(self, partition: Partition, progress: Progress, room: int, *, is_whole: bool) -> SkipMap:
        """Return a map of at most `room` characters; if it does not fit, a record, where one may be written now.

        With `is_whole`, a record that leaves something out is not used.
        """
        ranges = progress.settled_ranges(skipmap.MOST_RANGES + 1)
        text, count = skipmap.encode(progress.commit_point, ranges, room)
        if count < len(ranges) and self.records is not None and self.records.may_hold(room):
            value, recorded, kept = self.records.encode(partition, progress)
            if kept == len(recorded) or not is_whole:
                return SkipMap("", value, recorded, _first(recorded, kept))
        return SkipMap(text, None, ranges, _first(ranges, count))

    def _extended(self, cut: Cut, accepted: Commit | None, room: int) -> tuple[SkipMap, Cut] | None:
        """Return a map with what the last one had and as much more as there is room for, and the cut that it covers.

        None if there is not enough room for what the last one had.
        """
        while True:
            ranges, point = cut.progress.settled_ranges(skipmap.MOST_RANGES + 1), cut.progress.commit_point
            extended = skipmap.extend(point, ranges, self._known(accepted), room)
            if extended is None:
                return None
            text, kept = extended
            if not (parted := cut.parted(kept)):
                return SkipMap(text, None, ranges, kept), cut
            cut = cut.without(parted)

    def _room(self, partition: Partition, progress: Progress) -> int:
        """Return how many characters a skip map may have beside the notes that follow it."""
        notes = self._notes_with(partition, progress)
        kept = KEPT_CHARACTERS if progress.kept_until is not None else 0  # it may get longer in a cut without some
        return max(0, self._limits.get(partition, skipmap.MAX_CHARACTERS) - len(notes) - kept)

    def _notes_with(self, partition: Partition, progress: Progress) -> str:
        """Return the notes that follow the skip map, if there is room for them."""
        kept = 0 if progress.kept_until is None else progress.kept_until - progress.commit_point
        notes = f"{kept_note(kept)}{self.note_of(partition) or ''}"
        return notes if len(notes) <= self._limits.get(partition, skipmap.MAX_CHARACTERS) else ""

    def _report_cut(self, partition: Partition, progress: Progress, made: SkipMap) -> None:
        """Reports a skip map that leaves something out: once, until one is whole again."""
        if len(made.kept) == len(made.ranges):
            self._shortened.discard(partition)
        elif partition not in self._shortened:
            self._shortened.add(partition)
            kept_until = made.kept[-1][1] if made.kept else progress.commit_point
            topic, number = partition
            until = progress.settled_ranges()[-1][1]
            self._emit(ConsumerSkipMapCut(topic=topic, partition=number, kept_until=kept_until, settled_until=until))


def _first(ranges: Sequence[Range], count: int) -> Sequence[Range]:
    """Return the first of the ranges; the same object if those are all."""
    return ranges if count == len(ranges) else ranges[:count]

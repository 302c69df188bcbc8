"""`Metadata`: what a commit carries in addition to its offset: a skip map, or the reference to one, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import NamedTuple

from processor.engine import skipmap
from processor.engine.commit_note import KEPT_CHARACTERS, Note, kept_note, split
from processor.engine.offsets import Progress, Range
from processor.engine.outbox import Cut
from processor.engine.progress_record import noted_until
from processor.runtime.commits.map_records import MapRecords
from processor.runtime.ports import Commit, Partition, Start
from processor.telemetry.events import ConsumerSkipMapCut, ConsumerSkipMapIgnored, ConsumerSkipMapRefused, Emit

AMPLE = 256
"""If metadata may have at least this many characters, some are reserved for the note of a later commit. If not, the map
needs all of them."""


class SkipMap(NamedTuple):
    """The tasks settled above a commit's offset, as far as the commit carries them."""

    text: str
    """The map in the metadata; empty if a record has it instead."""
    record: bytes | None
    """The value of the record to write to the progress topic before the commit is sent; None if there is none."""
    ranges: Sequence[Range]
    """All settled ranges, or as many as the encoder considers."""
    kept: Sequence[Range]
    """The part of `ranges` that the map contains; the same object if it contains all."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.kept is self.ranges


class Restored(NamedTuple):
    """What is settled above the offset of a commit, according to its metadata."""

    ranges: list[Range]
    kept_until: int | None
    """The offset below which every task is settled, if the commit notes one."""

    def reaches_beyond(self, end: int) -> bool:
        """Return whether it includes offsets at or above the end of the partition: then it is about another log."""
        return (self.ranges[-1][1] if self.ranges else 0) > end or (self.kept_until or 0) > end


class Metadata:
    """Encodes skip maps, and reports those that are cut, refused or ignored. Belongs to the poller's thread."""

    def __init__(self, emit: Emit) -> None:
        self.records: MapRecords | None = None
        """Writes the maps that do not fit, and reads those that commits refer to."""
        self._emit = emit
        self._shortened: set[Partition] = set()
        """Partitions whose last skip map left something out."""
        self._limits: dict[Partition, int] = {}
        """For each partition whose metadata was refused, how many characters the next attempt may have."""
        self._accepted_characters = 0
        """The longest metadata that the group has accepted of any partition."""
        self._notes: dict[Partition, Note] = {}
        """The note that the commits of a partition carry in addition to their skip map."""

    # --- reading -------------------------------------------------------------------------------------

    def restore(self, start: Start, offset: int) -> Restored | None:
        """Return what is settled above the committed offset, as the commit has it; None if that belongs to another log.

        When a topic is recreated, a consumer that has not noticed may commit once more, after the brokers have deleted
        the group's offsets. Its skip map lists offsets of the old topic, so tasks of the new one would be left out. An
        unclean election, after which a partition ends earlier than before, has the same effect.
        """
        self._accepted_characters = max(self._accepted_characters, len(start.metadata))
        restored = Restored(self._restored_ranges(start, offset), noted_until(start.metadata, offset))
        if start.end is None or not restored.reaches_beyond(start.end):
            return restored
        self.forget(start.partition)
        where = f"beyond the end of the partition, {start.end}"
        self._ignore(start, offset, f"it lists offsets {where}: the topic was recreated, or has lost records")
        return None

    def _restored_ranges(self, start: Start, offset: int) -> list[Range]:
        _, note = split(start.metadata)
        if note is not None:
            self._notes[start.partition] = note
        try:
            recorded = self.records.settled(start) if self.records is not None else None
            return skipmap.decode(start.metadata, offset) if recorded is None else recorded
        except skipmap.SkipMapError as error:
            self._ignore(start, offset, str(error))
            return []

    def _ignore(self, start: Start, offset: int, reason: str) -> None:
        topic, number = start.partition
        self._emit(ConsumerSkipMapIgnored(topic=topic, partition=number, offset=offset, reason=reason))

    def _known(self, accepted: Commit | None) -> list[Range]:
        """Return the ranges in the last accepted skip map: their outputs are committed, and must not be sent again."""
        if accepted is None:
            return []
        partition, offset, metadata = accepted
        try:
            recorded = self.records.known(partition, metadata, offset) if self.records is not None else None
            return skipmap.decode(metadata, offset) if recorded is None else recorded
        except skipmap.SkipMapError:
            return []

    def covers(self, accepted: Commit | None, progress: Progress) -> bool:
        """Return whether the last accepted commit has all that is settled according to `progress`."""
        if accepted is None or accepted.offset != progress.commit_point:
            return False
        return progress.settled_ranges() == self._known(accepted)

    # --- writing -------------------------------------------------------------------------------------

    def note(self, partition: Partition, note: Note) -> None:
        """Adds the note to the partition's commits until the note expires."""
        self._notes[partition] = note

    def drop_note(self, partition: Partition) -> bool:
        """Stops adding a note to the partition's commits. Return whether it had one."""
        return self._notes.pop(partition, None) is not None

    def note_of(self, partition: Partition) -> Note | None:
        """Return the note in the partition's commits; None if there is none or it has expired."""
        note = self._notes.get(partition)
        if note is not None and note.expires and note.until <= time():
            del self._notes[partition]
            return None
        return note

    def is_early(self, partition: Partition) -> bool:
        """Return whether the partition must wait, because its last skip map took long to encode."""
        return self.records is not None and self.records.is_early(partition)

    def of_progress(self, partition: Partition, progress: Progress) -> tuple[Commit, SkipMap]:
        """Return the commit of what is settled; its skip map may be cut."""
        progress = self._with_notable(partition, progress)
        room = self._room(partition, may_note=progress.kept_until is not None)
        made = self._encoded(partition, progress, room, is_whole=False)
        return self._commit(partition, progress, made), made

    def of_cut(self, partition: Partition, cut: Cut, accepted: Commit | None) -> tuple[Commit, SkipMap, Cut] | None:
        """Return the commit of a cut, its skip map, and the cut that it covers, whose outputs are committed with it.

        If the map would contain one task but not another that settled with it, the cut that it covers is one without
        both.

        Args:
            partition: the partition of the cut.
            cut: its progress and outputs, at one moment.
            accepted: the group's last commit. The map, or the note, must still cover the tasks that it covers, since
                their outputs are committed.

        Returns:
            None if there is not enough room even for these tasks.
        """
        cut = cut._replace(progress=self._with_notable(partition, cut.progress))
        noted = noted_until(accepted.metadata, accepted.offset) if accepted is not None else None
        if cut.progress.kept_until is None and (noted or 0) > cut.progress.commit_point:
            return None
        # Reserve room for a note early: with exactly-once, a map that fills the metadata cannot shrink to make room.
        may_note = cut.progress.kept_until is not None or self._limit(partition) >= AMPLE
        room = self._room(partition, may_note=may_note)
        made = self._encoded(partition, cut.progress, room, is_whole=True)
        if not made.is_whole:
            extended = self._extended(cut, accepted, room)
            if extended is None:
                return None
            made, cut = extended
        return self._commit(partition, cut.progress, made), made, cut

    def shorten(self, commits: Sequence[Commit], refused: frozenset[Partition]) -> None:
        """Halves the length of these partitions' skip maps, which are too long for the brokers.

        A transaction is refused as a whole. A map keeps its length if the group has accepted metadata of that length,
        and no map is cut below it: with exactly-once, a map must contain all that an earlier committed one contains.
        """
        lengths = {partition: len(text) for partition, _, text in commits if partition in refused and text}
        if max(lengths.values(), default=0) <= self._accepted_characters:  # the brokers accept less than before
            self._accepted_characters = 0
        for partition, length in lengths.items():
            if length > self._accepted_characters:
                if partition not in self._limits:
                    event = ConsumerSkipMapRefused(
                        topic=partition.topic, partition=partition.number, refused_characters=length
                    )
                    self._emit(event)
                self._limits[partition] = max(length // 2, self._accepted_characters)

    def accept(self, commits: Sequence[Commit]) -> None:
        """Notes commits that the group has accepted."""
        self._accepted_characters = max([self._accepted_characters, *(len(commit.metadata) for commit in commits)])
        if self.records is not None:
            self.records.accept(commits)

    def forget(self, partition: Partition) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        if self.records is not None:
            self.records.forget(partition)
        self._notes.pop(partition, None)
        self._shortened.discard(partition)

    def _commit(self, partition: Partition, progress: Progress, made: SkipMap) -> Commit:
        self._report_cut(partition, progress, made)
        notes, text = self._notes_with(partition, progress), made.text
        if not text and made.record is None and _kept(progress) > 0:
            text = skipmap.encode_base(progress.commit_point)
        return Commit(partition, progress.commit_point, f"{text}{notes}")

    def _with_notable(self, partition: Partition, progress: Progress) -> Progress:
        """Return the progress. If no note fits behind the shortest map, leave out what the note would contain."""
        if progress.kept_until is None:
            return progress
        has_room = self._room(partition, may_note=True) >= skipmap.BASE_CHARACTERS
        return progress if has_room else progress._replace(kept_until=None)

    def _limit(self, partition: Partition) -> int:
        return self._limits.get(partition, skipmap.MAX_CHARACTERS)

    def _encoded(self, partition: Partition, progress: Progress, room: int, *, is_whole: bool) -> SkipMap:
        """Return a map of at most `room` characters; if not all ranges fit, a record, if one may be written now.

        With `is_whole`, a record that leaves out ranges is not used.
        """
        ranges = progress.settled_ranges(skipmap.MOST_RANGES + 1)
        beside = self._limit(partition) - len(self._notes_with(partition, progress))  # a reference never gets longer
        text, count = skipmap.encode(progress.commit_point, ranges, room)
        if count < len(ranges) and self.records is not None and self.records.may_hold(beside):
            value, recorded, kept = self.records.encode(partition, progress)
            if kept == len(recorded) or not is_whole:
                return SkipMap("", value, recorded, _first(recorded, kept))
        return SkipMap(text, None, ranges, _first(ranges, count))

    def _extended(self, cut: Cut, accepted: Commit | None, room: int) -> tuple[SkipMap, Cut] | None:
        """Return a map with the ranges of the last one and as many more as fit, and the cut that it covers.

        None if there is not enough room for the ranges of the last one.
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

    def _room(self, partition: Partition, *, may_note: bool) -> int:
        """Return how many characters a skip map may have in front of the notes that follow it.

        With `may_note`, room is reserved for the longest note of how far every task is settled: the ranges of one map
        must also fit into the next one, whose note may be longer.
        """
        notes = len(str(self.note_of(partition) or "")) + (KEPT_CHARACTERS if may_note else 0)
        return max(0, self._limit(partition) - notes)

    def _notes_with(self, partition: Partition, progress: Progress) -> str:
        """Return the notes that follow the skip map, if there is room for them."""
        notes = f"{kept_note(_kept(progress))}{self.note_of(partition) or ''}"
        return notes if len(notes) <= self._limit(partition) else ""

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


def _kept(progress: Progress) -> int:
    """Return how many offsets from the commit point on have no unsettled task, for the note; 0 if none is noted."""
    return 0 if progress.kept_until is None else progress.kept_until - progress.commit_point


def _first(ranges: Sequence[Range], count: int) -> Sequence[Range]:
    """Return the first of the ranges; the same object if those are all."""
    return ranges if count == len(ranges) else ranges[:count]

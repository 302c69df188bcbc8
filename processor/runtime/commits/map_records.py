"""`MapRecords`: skip maps that do not fit into the metadata of commits, as records of the progress topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Final, NamedTuple

from processor.engine import skipmap
from processor.engine.offsets import Progress, Range
from processor.engine.progress_record import (
    keys_of,
    longest_reference,
    next_key,
    reference_in,
    reference_to,
    settled_in,
)
from processor.errors import BrokerError, DeliveryError
from processor.runtime.ports import Commit, MapLog, MapRecord, Partition, Place, Start
from processor.telemetry.events import ConsumerProgressTopicFailed, Emit

WRITE_SECONDS: Final = 5.0
"""How long a commit waits for the acknowledgement of its records. Most take a few milliseconds."""

READ_SECONDS: Final = 10.0
"""How long an assignment waits for the records that its commits refer to. It blocks the poller's thread."""

AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 5.0, 60.0
"""How long no record is written after one was not acknowledged. It doubles with each further failure, up to the second
value."""

SHARE_OF_TIME: Final = 20
"""The maps of one partition take at most a twentieth of the poller's time. A map of half a million ranges takes some
0.3 s, so it is written every 6 s."""

Written = Future[Mapping[Partition, Place]]
"""The future positions of the maps of some partitions."""


class MapEncoded(NamedTuple):
    """A skip map as the value of a record."""

    value: bytes
    ranges: Sequence[Range]
    """All settled ranges, or as many as the encoder considers."""
    kept: int
    """How many of these are in the value."""


class _Referred(NamedTuple):
    """A record, and the reference to it."""

    reference: str
    record: MapRecord

    def is_of(self, metadata: str) -> bool:
        """Return whether a commit's metadata has this reference."""
        return metadata.startswith(self.reference)


class MapRecords:
    """Belongs to the poller's thread."""

    def __init__(self, group: str, log: MapLog, emit: Emit) -> None:
        self._group = group
        self._log = log
        self._emit = emit
        self._off_until = 0.0
        self._failures = 0
        self._is_to_be_tried = False
        """Whether maps were cut because of a failure, and the writing of records was not tried again since."""
        self._next: dict[Partition, float] = {}
        """When each partition may have its next record."""
        self._keys: dict[Partition, bytes | None] = {}
        """The key of each partition's last record."""
        self._written: dict[Partition, _Referred] = {}
        """The last record of each partition that was acknowledged. The commit that refers to it may be refused."""
        self._accepted: dict[Partition, _Referred] = {}
        """The record that the group's commit refers to."""
        self._followed: dict[Partition, MapRecord | str] = {}

    # --- writing -------------------------------------------------------------------------------------

    def may_hold(self, room: int) -> bool:
        """Return whether a map may be written as a record now, if its reference has `room` characters of metadata."""
        topic = self._log.topic
        return topic is not None and monotonic() >= self._off_until and room >= longest_reference(topic)

    def is_to_be_tried(self) -> bool:
        """Return True once after a failure, when its pause is over and maps that were cut may be written again."""
        if not self._is_to_be_tried or monotonic() < self._off_until:
            return False
        self._is_to_be_tried = False
        return True

    def is_early(self, partition: Partition) -> bool:
        """Return whether the partition's next map has to wait, since the last one took long to encode."""
        return monotonic() < self._next.get(partition, 0.0)

    def encode(self, partition: Partition, progress: Progress) -> MapEncoded:
        """Return the settled ranges of the progress, all or nearly all of them, as the value of a record."""
        began = monotonic()
        ranges = progress.settled_ranges(skipmap.RECORD_RANGES + 1)
        value, kept = skipmap.encode_record(progress.commit_point, ranges)
        ended = monotonic()
        self._next[partition] = ended + SHARE_OF_TIME * (ended - began)
        return MapEncoded(value, ranges, kept)

    def write(self, values: Mapping[Partition, bytes]) -> Written:
        """Begins to write the maps of partitions. The future has the place of each, or fails."""
        records = {partition: MapRecord(self._next_key(partition), value) for partition, value in values.items()}
        self._keys.update((partition, key) for partition, (key, _) in records.items())
        return self._log.write(records)

    def _next_key(self, partition: Partition) -> bytes:
        accepted = self._accepted.get(partition)
        return next_key(keys_of(self._group, *partition), accepted.record.key if accepted is not None else None)

    def references(
        self,
        values: Mapping[Partition, bytes],
        bases: Mapping[Partition, int],
        written: Written,
    ) -> Mapping[Partition, str] | None:
        """Return the references to records that were written, or None if they were not acknowledged.

        After a failure, no record is written for some time: maps are cut instead. The first failure in a row is logged.

        Args:
            values: the values of the records.
            bases: the offset that is committed for each of these partitions.
            written: the result of `write`. If it is not done, its time is over.
        """
        try:
            places = written.result(0)
        except TimeoutError:
            self._fail(f"not acknowledged within {WRITE_SECONDS:g} s")
            return None
        except DeliveryError as error:
            self._fail(str(error))
            return None
        self._failures = 0
        references = {}
        for partition, value in values.items():
            (topic, number), offset = places[partition]
            references[partition] = str(reference_to(topic, number, offset, bases[partition], value))
            record = MapRecord(self._keys[partition], value)
            self._written[partition] = _Referred(references[partition], record)
        return references

    def accept(self, commits: Iterable[Commit]) -> None:
        """Notes commits that the group has accepted: later maps must contain theirs, and not replace their records."""
        for partition, _, metadata in commits:
            known = [each for each in (self._written.get(partition), self._accepted.get(partition)) if each is not None]
            referred = next((each for each in known if each.is_of(metadata)), None)
            if referred is not None:
                self._accepted[partition] = referred
            else:
                self._accepted.pop(partition, None)

    def _fail(self, error: str) -> None:
        seconds = min(AGAIN_SECONDS * 2**self._failures, LONGEST_AGAIN_SECONDS)
        self._off_until = monotonic() + seconds
        self._failures += 1
        self._is_to_be_tried = True
        if self._failures == 1:
            self._emit(ConsumerProgressTopicFailed(topic=self._log.topic or "", error=error))

    # --- reading -------------------------------------------------------------------------------------

    def follow(self, starts: Sequence[Start], *, must_respond: bool) -> None:
        """Reads the records that these commits refer to. `settled` returns their content.

        Raises:
            BrokerError: `must_respond`, and no broker has responded.
        """
        places = {start.partition: place for start in starts if (place := _place_in(start)) is not None}
        if not places:
            return
        found = self._log.read(set(places.values()), READ_SECONDS)
        for partition, place in places.items():
            if place not in found and must_respond:
                raise BrokerError(
                    f"no broker responds for {place.partition}, which has what is done of {partition}: without it, "
                    "outputs would be written twice"
                )
            self._followed[partition] = found.get(place, f"no broker has responded within {READ_SECONDS:g} s")

    def settled(self, start: Start) -> list[Range] | None:
        """Return the ranges in the record that the commit refers to; None if it refers to none.

        Raises:
            SkipMapError: the reference cannot be followed, or leads to another record.
        """
        found = self._followed.pop(start.partition, None)
        reference = reference_in(start.metadata, start.offset) if start.offset is not None else None
        if reference is None or found is None:
            return None
        where = f"its record at {reference.topic}[{reference.number}]@{reference.offset}"
        if isinstance(found, str):
            raise skipmap.SkipMapError(f"{where} cannot be read: {found}")
        ranges = settled_in(reference, keys_of(self._group, *start.partition), *found)
        self._accepted[start.partition] = _Referred(str(reference), found)
        return ranges

    def known(self, partition: Partition, metadata: str, offset: int) -> list[Range] | None:
        """Return the ranges in the map that the last accepted commit refers to; None if it refers to none."""
        accepted = self._accepted.get(partition)
        if accepted is None or not accepted.is_of(metadata):
            return None
        return skipmap.decode_record(accepted.record.value or b"", offset)

    def forget(self, partition: Partition) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        for known in (self._keys, self._written, self._accepted, self._next):
            known.pop(partition, None)


def _place_in(start: Start) -> Place | None:
    """Return the position of the record that a commit refers to; None if there is none, or the reference is damaged."""
    if start.offset is None:
        return None
    try:
        reference = reference_in(start.metadata, start.offset)
    except skipmap.SkipMapError:
        return None
    return Place(Partition(reference.topic, reference.number), reference.offset) if reference is not None else None

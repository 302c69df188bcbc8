"""`NewPartitions`: holds back partitions that were added to a topic until their sessions' earlier tasks are settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, time

from processor.engine.commit_note import Note
from processor.engine.extents import Extent, extent_of
from processor.engine.growth import (
    HELD,
    WATCH_SECONDS,
    Begin,
    Decision,
    Grown,
    Growth,
    Hold,
    Open,
    Uneven,
)
from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.intake import Intake
from processor.runtime.ports import End, Partition, Source, Start, Survey
from processor.runtime.surveys import Surveys
from processor.telemetry.events import (
    ConsumerGrowthUneven,
    ConsumerPartitionHeld,
    ConsumerPartitionReleased,
    ConsumerTopicGrewAgain,
    Emit,
)

MOST_NAMES = 10
"""The most partitions that one report names."""


class NewPartitions:
    """Carries out what `Growth` decides. Belongs to the poller's thread."""

    def __init__(
        self, source: Source, surveys: Surveys, desk: Desk, intake: Intake, committer: Committer, emit: Emit
    ) -> None:
        self._source = source
        self.surveys = surveys
        """Requests the surveys."""
        self._partitions = desk.partitions
        self._intake = intake
        self._late_records = intake.late_records
        self._committer = committer
        self._emit = emit
        self.wait = True
        """Whether new partitions wait at all."""
        self._growth = Growth()
        self._held_since: dict[Partition, float] = {}
        self._uneven: set[Uneven] = set()

    def begin(self, starts: Sequence[Start]) -> None:
        """Begins assigned partitions, except those that may be new: these wait at a gate."""
        self._intake.begin([start.partition for start in starts])
        if not self.wait or self._partitions.is_draining:
            return
        for partition, offset, *_ in starts:
            if offset is None:
                self._growth.add(partition)
                self._intake.gate(partition, HELD)
            elif (note := self._committer.note_of(partition)) is not None and not note.begun_with:
                self._watch(partition, note.until - time())

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Forgets partitions that no longer belong to this consumer."""
        self._growth.forget(partitions)
        self._late_records.keep(self._growth.topics)
        for partition in partitions:
            self._held_since.pop(partition, None)

    def tick(self, now: float) -> None:
        """Requests a survey if one is due."""
        if not self._growth or self._partitions.is_draining:
            return
        topics = self._growth.question(now, self._intake.blocked())
        if topics:
            self.surveys.ask(topics, self._on_survey)

    def _on_survey(self, survey: Survey | None) -> None:
        """Carries out what follows from a survey; None if it failed."""
        now = monotonic()
        if survey is None:
            self._growth.fail(now)
        elif not self._partitions.is_draining:
            found = _topics(survey, time())
            self._carry_out(self._growth.answer(found, now))
            self._late_records.learn(self._growth.topics, found)

    def waits_for(self, partition: Partition) -> list[str]:
        """Return what must be committed before more of the partition begins, each as TOPIC[PARTITION]@OFFSET."""
        return _names(partition.topic, self._growth.targets(partition)) if self._growth else []

    def start_of(self, partition: Partition) -> int | None:
        """Return the offset at which a held partition will begin; None if it is not held, or that is not known."""
        return self._growth.start(partition) if self._growth and self._source.begins_at_start else None

    def _watch(self, partition: Partition, seconds: float) -> None:
        self._growth.watch(partition, monotonic() + min(seconds, WATCH_SECONDS))  # clocks may differ
        self._intake.gate(partition, HELD)

    def _note(self, partition: Partition, begun_with: int, seconds: float) -> None:
        self._committer.note(partition, Note(begun_with, int(time() + seconds)))

    def _carry_out(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Begin(place, at, begun_with):
                    partition = Partition(*place)
                    if begun_with is not None:
                        self._note(partition, begun_with, WATCH_SECONDS)
                    else:
                        self._committer.drop_note(partition)
                    self._let_begin(partition, at, None)
                case Open(place, at, gate):
                    partition = Partition(*place)
                    if at is not None:
                        until = self._growth.watched_until(place)
                        assert until is not None
                        self._note(partition, 0, until - monotonic())
                    self._let_begin(partition, at, gate)
                case Hold():
                    self._log_hold(decision)
                case Grown(topic, before, partitions):
                    self._emit(ConsumerTopicGrewAgain(topic=topic, partitions_before=before, partitions=partitions))
                case Uneven():
                    self._warn_of_uneven(decision)

    def _let_begin(self, partition: Partition, at: int | None, gate: int | None) -> None:
        """Moves the gate. The start of a partition that begins is committed at once, so that it is no longer new."""
        if at is not None:
            if self._source.begins_at_start:
                self._partitions.reach([End(partition, at)])
            self._committer.commit_soon()
        self._intake.gate(partition, gate)
        since = self._held_since.pop(partition, None)
        if since is not None:
            seconds = round(monotonic() - since, 3)
            self._emit(ConsumerPartitionReleased(topic=partition.topic, partition=partition.number, seconds=seconds))

    def _log_hold(self, hold: Hold) -> None:
        topic, number = hold.place
        self._held_since[Partition(topic, number)] = monotonic()
        self._emit(
            ConsumerPartitionHeld(
                topic=topic,
                partition=number,
                partitions=hold.partitions,
                partitions_before=hold.before,
                waits_for=_names(topic, hold.targets),
                waits_for_partitions=len(hold.targets),
            )
        )

    def _warn_of_uneven(self, uneven: Uneven) -> None:
        """Warns once, however many partitions report it."""
        if uneven not in self._uneven:
            self._uneven.add(uneven)
            topic, before, partitions = uneven
            self._emit(ConsumerGrowthUneven(topic=topic, partitions_before=before, partitions=partitions))


def _topics(survey: Survey, now: float) -> dict[str, dict[int, Extent]]:
    """Return the survey in the engine's terms. `now` is in epoch seconds."""
    topics: dict[str, dict[int, Extent]] = {}
    for partition, (start, end) in survey.bounds.items():
        commit = survey.committed.get(partition)
        offset = commit.offset if commit is not None else None
        metadata = commit.metadata if commit is not None else ""
        topics.setdefault(partition.topic, {})[partition.number] = extent_of(start, end, offset, metadata, now)
    return topics


def _names(topic: str, targets: Mapping[int, int]) -> list[str]:
    return [f"{topic}[{number}]@{offset}" for number, offset in sorted(targets.items())[:MOST_NAMES]]

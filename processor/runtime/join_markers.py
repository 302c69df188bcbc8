"""`JoinMarkers`: settles the markers of joins whose branches cannot run again.

With at-least-once, a branch whose offset is not committed runs again after a crash, and arrives again at a join that is
complete. A marker is kept until the group has committed all tasks of its branches, and everything that was written to
the marker's partition before that has been delivered here. After that, no arrival of these tasks can come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from processor.engine import skipmap
from processor.engine.joins import Identity, Marker
from processor.engine.offsets import Range
from processor.engine.outbox import is_covered
from processor.engine.progress_record import noted_until
from processor.runtime.commits.committer import Committer
from processor.runtime.desk import Desk
from processor.runtime.ports import Commit, Partition, Survey
from processor.runtime.surveys import Surveys

ASK_SECONDS = 0.25
"""Time between two surveys while there are markers. A marker needs two of them."""

Place = tuple[Partition, Identity]


class JoinMarkers:
    """Belongs to the poller's thread."""

    def __init__(self, topics: Sequence[str], desk: Desk, committer: Committer, surveys: Surveys) -> None:
        """`topics` are those of the group. A task of another topic belongs to another group, and is not waited for."""
        self._topics = topics
        self._arrivals, self._partitions = desk.arrivals, desk.partitions
        self._committer = committer
        self._surveys = surveys
        self._next = 0.0
        self._is_asking = False
        self._markers: list[tuple[Partition, Identity, Marker]] = []
        """The markers that the survey is for."""
        self._covered: dict[Place, int | None] = {}
        """Markers whose tasks are committed, and the end of their partition after that; None until that is known."""

    def tick(self, now: float) -> None:
        """Surveys what the group has committed, while there are markers."""
        if not self._arrivals.has_any or self._is_asking or now < self._next or self._partitions.is_draining:
            return
        self._next = now + ASK_SECONDS
        self._markers = self._arrivals.markers()
        places = {(partition, identity) for partition, identity, _ in self._markers}
        self._covered = {place: end for place, end in self._covered.items() if place in places}
        if self._markers:
            self._is_asking = True
            self._committer.commit_soon()
            self._surveys.ask(self._topics, self._on_survey)

    def _on_survey(self, survey: Survey | None) -> None:
        self._is_asking = False
        if survey is None:
            return
        committed = Committed(survey)
        for partition, identity, marker in self._markers:
            place = (partition, identity)
            if place not in self._covered:
                if committed.has_all(marker.path):
                    self._covered[place] = None
            elif self._covered[place] is None and partition in survey.bounds:
                self._covered[place] = survey.bounds[partition][1]
        ends: dict[Partition, dict[Identity, int]] = {}
        for (partition, identity), end in self._covered.items():
            if end is not None:
                ends.setdefault(partition, {})[identity] = end
        for partition, of_partition in ends.items():
            self._arrivals.settle_markers(partition, of_partition)


class Committed:
    """Which tasks are settled for good: those that the group has committed, as a survey shows."""

    def __init__(self, survey: Survey) -> None:
        self._topics = {partition.topic for partition in survey.bounds}
        self._commits = survey.committed
        self._settled: dict[Partition, tuple[int, list[Range]]] = {}

    def has_all(self, path: Mapping[str, Mapping[int, Sequence[int]]]) -> bool:
        """Return whether all tasks at these places are settled. Tasks of topics outside the survey are ignored."""
        return all(
            self._has(Partition(topic, number), offset)
            for topic, partitions in path.items()
            if topic in self._topics
            for number, offsets in partitions.items()
            for offset in offsets
        )

    def _has(self, partition: Partition, offset: int) -> bool:
        commit = self._commits.get(partition)
        return commit is not None and is_covered(offset, *self._settled_by(commit))

    def _settled_by(self, commit: Commit) -> tuple[int, list[Range]]:
        """Return the offset below which no task is unsettled, and the ranges in the skip map."""
        settled = self._settled.get(commit.partition)
        if settled is None:
            try:
                ranges = skipmap.decode(commit.metadata, commit.offset)
            except skipmap.SkipMapError:
                ranges = []
            settled = noted_until(commit.metadata, commit.offset) or commit.offset, ranges
            self._settled[commit.partition] = settled
        return settled

"""`PartitionNow`: one partition, from what its consumers said of it."""

from __future__ import annotations

from typing import Final

from processor.observe.consumer import ConsumerNow
from processor.observe.holds import Hold, Holds, hold_of
from processor.observe.series import Series
from processor.observe.window import Sample, Status, Window
from processor.observe.wording import plain
from processor.telemetry.reading import PartitionStatsTold

BUCKETS: Final = 120
"""A partition's plots are small, and partitions may be many."""


class PartitionNow:
    """Belongs to the `Watch`.

    Args:
        group: the consumer group, empty where the log does not tell.
        first: what is said of it first.
        window: samples that a verdict looks at.
    """

    def __init__(self, group: str, first: PartitionStatsTold, window: int) -> None:
        self.group = group
        self.topic = plain(first.topic)
        self.number = first.partition
        self.told = first
        self.at = 0.0
        """when it was spoken of last, in seconds since the epoch"""
        self.consumer: ConsumerNow | None = None
        """whose it is, None while it is nobody's"""
        self.worst = Status.OK
        self.lag = Series(BUCKETS)
        self.verdicts = Series(BUCKETS)
        """the statuses as numbers, of which a bucket's most is the worst"""
        self.rewound: tuple[int, int] | None = None
        """the committed offset before and after it went back the last time"""
        self._window = Window(window)
        self.lag_now: int | None = None
        """records that the group has not committed, as other tools count them"""
        self.moved_at = 0.0
        """since when the committed offset is what it is, as far as the log tells, in seconds since the epoch"""
        self.last_consumer: ConsumerNow | None = None
        """who had it last"""
        self.left_with: Hold | None = None
        """what held it when its last consumer left it, while nobody else has it"""
        self._offset: int | None = None
        self._head: Hold | None = None

    @property
    def name(self) -> str:
        """TOPIC[PARTITION]."""
        return f"{self.topic}[{self.number}]"

    def hear(self, told: PartitionStatsTold, at: float, consumer: ConsumerNow, holds: Holds) -> None:
        """Its consumer's statistics, at `at` in seconds since the epoch; a hold that is over goes to `holds`."""
        self.told, self.at = told, at
        self.consumer = self.last_consumer = consumer
        self.left_with = None
        offset = told.committed if told.committed is not None else told.commit_point
        if offset is not None and told.lag is not None:
            self._sample(at, offset, told.lag + max(0, (told.commit_point or offset) - offset))
        self._note_head(hold_of(told, at, consumer), holds)

    def leave(self, holds: Holds) -> None:
        """Its consumer has it no more."""
        self.consumer = None
        self.left_with = self.hold or self.left_with
        self._note_head(None, holds)

    @property
    def hold(self) -> Hold | None:
        """The task that the commit point waits for, if it has done so for a while."""
        return self._head if self._head is not None and self._head.is_long else None

    def judge(self, now: float) -> Status:
        """How it does at `now`, in seconds since the epoch."""
        return self._window.judge(now)

    @property
    def span(self) -> float:
        """Seconds that the verdict looks back."""
        samples = self._window.samples
        return samples[-1].at - samples[0].at if samples else 0.0

    @property
    def rates(self) -> tuple[float, float]:
        """Records a second, over the window: committed, and produced."""
        samples = self._window.samples
        if len(samples) < 2 or self.span <= 0:
            return 0.0, 0.0
        committed = samples[-1].offset - samples[0].offset
        return committed / self.span, (committed + samples[-1].lag - samples[0].lag) / self.span

    def _sample(self, at: float, offset: int, lag: int) -> None:
        if self._offset is not None and offset < self._offset:
            self.rewound = (self._offset, offset)
        if offset != self._offset:
            self.moved_at = at
        self._offset, self.lag_now = offset, lag
        self._window.note(Sample(at, offset, lag))
        status = self._window.judge(at)
        if status is not Status.EARLY:
            self.worst = max(self.worst, status)
        self.lag.note(at, lag)
        self.verdicts.note(at, status)

    def _note_head(self, fresh: Hold | None, holds: Holds) -> None:
        before, self._head = self._head, fresh
        if before is None:
            return
        if fresh is not None and fresh.offset == before.offset:
            fresh.goes_on(before)
        elif before.is_long:
            holds.note(before)

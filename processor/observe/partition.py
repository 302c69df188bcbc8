"""`PartitionNow`: one partition, from the reports of its consumers."""

from __future__ import annotations

from typing import Final

from processor.observe.consumer import ConsumerNow, PartitionKey
from processor.observe.head_blocks import HeadBlock, HeadBlocks, head_block
from processor.observe.series import Series
from processor.observe.window import Sample, Status, Window
from processor.observe.wording import duration, plain
from processor.telemetry.events import PartitionStats
from processor.telemetry.idle_reports import is_idle

BUCKETS: Final = 120
"""The most buckets of each series: the plots of a partition are small, and there may be many partitions."""


NAMED: Final = 3
"""The most partitions that are named of those that it waits for. Of more, the number is shown."""


class PartitionNow:
    """Belongs to the `Watch`.

    Args:
        key: its group, which is empty if the log does not have it, its topic and its number.
        first: its first report.
        window: samples that a verdict considers.
    """

    def __init__(self, key: PartitionKey, first: PartitionStats, window: int) -> None:
        self.key = key
        self.group = key[0]
        self.topic = plain(first.topic)
        self.number = first.partition
        self.stats = first
        """its latest report"""
        self.at = 0.0
        """time of its latest report, in seconds since the epoch"""
        self.consumer: ConsumerNow | None = None
        """its owner, None while it has none"""
        self.worst = Status.OK
        self.lag = Series(BUCKETS)
        self.verdicts = Series(BUCKETS)
        """statuses as numbers: the maximum of a bucket is the worst"""
        self.rewound: tuple[int, int] | None = None
        """the committed offset before and after it last moved backwards"""
        self._window = Window(window)
        self.lag_now: int | None = None
        """records that the group has not committed, as other tools count them"""
        self.moved_at = 0.0
        """since when the committed offset has its value, as far as the log has it, in seconds since the epoch"""
        self.last_consumer: ConsumerNow | None = None
        """its latest owner"""
        self.released_with: HeadBlock | None = None
        """the task that blocked it when its latest owner released it, until it has another owner"""
        self._offset: int | None = None
        self._head: HeadBlock | None = None

    @property
    def name(self) -> str:
        """TOPIC[PARTITION]."""
        return f"{self.topic}[{self.number}]"

    def update(self, stats: PartitionStats, at: float, consumer: ConsumerNow, blocks: HeadBlocks) -> None:
        """Apply a report of the time `at` (seconds since the epoch). A block that is over is added to `blocks`."""
        self.stats, self.at = stats, at
        self.assign(consumer)
        offset = stats.committed if stats.committed is not None else stats.commit_point
        if offset is not None and stats.lag is not None:
            self._sample(at, offset, stats.lag + max(0, (stats.commit_point or offset) - offset))
        elif stats.lag is not None:  # it is held, and nothing of it is committed yet
            self.lag_now = stats.lag
            self.lag.note(at, stats.lag)
        self._update_head(head_block(stats, at, consumer), blocks)

    def confirm_idle(self, at: float, blocks: HeadBlocks) -> None:
        """Record that its consumer's round of the time `at` had no report of it: if it was idle, it still is."""
        if self.consumer is not None and self.at < at and is_idle(self.stats):
            self.update(self.stats, at, self.consumer, blocks)

    def assign(self, consumer: ConsumerNow) -> None:
        """Record that `consumer` owns it."""
        if self.consumer is not consumer:
            self._disown()
            self.consumer = self.last_consumer = consumer
            consumer.owned.add(self.key)
        self.released_with = None

    def _disown(self) -> None:
        if self.consumer is not None:
            self.consumer.owned.discard(self.key)
            self.consumer = None

    def release(self, blocks: HeadBlocks) -> None:
        """Record that its consumer does not own it any more."""
        self._disown()
        self.released_with = self.head_block or self.released_with
        self._update_head(None, blocks)

    @property
    def waits_for(self) -> str:
        """The offsets to be committed before more tasks of this new partition begin; empty if it does not wait."""
        names = [plain(name) for name in self.stats.waits_for[:NAMED]]
        more = len(self.stats.waits_for) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")

    @property
    def first_due(self) -> str | None:
        """When the first delayed task that is set aside is due; None if there is none."""
        seconds = self.stats.next_set_aside_seconds
        return f"the first in {duration(seconds)}, in {self.name}" if seconds is not None else None

    @property
    def head_block(self) -> HeadBlock | None:
        """The task that the commit point waits for, if it has waited for a while."""
        return self._head if self._head is not None and self._head.is_long else None

    def judge(self, now: float) -> Status:
        """Return its status at `now`, in seconds since the epoch."""
        return self._judged(now)

    def _judged(self, now: float) -> Status:
        """Return the status. A pause explains a stall, unless something else keeps the task from beginning as well."""
        status = self._window.judge(now)
        is_cut_off = self.consumer is not None and self.consumer.state == "cut off"
        return Status.PAUSED if status is Status.STALLED and self.stats.head_paused and not is_cut_off else status

    @property
    def span(self) -> float:
        """Seconds that the samples of the verdict span."""
        samples = self._window.samples
        return samples[-1].at - samples[0].at if samples else 0.0

    @property
    def rates(self) -> tuple[float, float]:
        """Records per second over the window: committed, and produced."""
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
        status = self._judged(at)
        if status is not Status.EARLY:
            self.worst = max(self.worst, status)
        self.lag.note(at, lag)
        self.verdicts.note(at, status)

    def _update_head(self, fresh: HeadBlock | None, blocks: HeadBlocks) -> None:
        before, self._head = self._head, fresh
        if before is None:
            return
        if fresh is not None and fresh.offset == before.offset:
            fresh.continues(before)
        elif before.is_long:
            blocks.note(before)

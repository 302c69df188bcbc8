"""`judge`: the status of a partition, from a sliding window of its committed offsets.

The rules are those of LinkedIn's Burrow ("Consumer Lag Evaluation Rules" in its wiki, `evaluator/caching.go` in its
source), which need no threshold for the lag. The three differences are marked below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

WINDOW: Final = 10
"""Samples in a window, as in Burrow."""

APART: Final = 1.0
"""Minimum seconds between samples (Burrow's `min-distance`), as reports may come more often."""

FEW: Final = 3
"""The fewest samples for a verdict."""


class Status(IntEnum):
    """The status of a partition, from good to bad."""

    OK = 0
    EARLY = 1
    """too few samples"""
    PAUSED = 2
    """its committed offset does not move, since an operator has paused the task that it waits for"""
    BEHIND = 3
    """its committed offset moves, and its lag grows: Burrow's warning"""
    STALLED = 4
    """its consumer reports it, and its committed offset does not move"""
    STOPPED = 5
    """no consumer reports it any more"""
    REWOUND = 6
    """its committed offset moved backwards"""

    @property
    def is_fault(self) -> bool:
        """Whether it needs attention. A pause does not, since an operator has ordered it."""
        return self > Status.PAUSED


class Sample(NamedTuple):
    """One partition at one time (seconds since the epoch)."""

    at: float
    offset: int
    """the committed offset of the group"""
    lag: int
    """records from there to the partition's end"""


class Window:
    """The latest samples of one partition."""

    def __init__(self, length: int = WINDOW) -> None:
        self.length = length
        self._samples: deque[Sample] = deque(maxlen=length)

    @property
    def samples(self) -> Sequence[Sample]:
        """All samples, from the oldest to the newest."""
        return self._samples

    def note(self, sample: Sample) -> None:
        """Add a sample. If the last two are less than `APART` seconds apart, it replaces the last one."""
        samples = self._samples
        if len(samples) >= 2 and samples[-1].at - samples[-2].at < APART:
            samples[-1] = sample
        else:
            samples.append(sample)

    def judge(self, now: float) -> Status:
        """Return the status at `now`, in seconds since the epoch."""
        return judge(self._samples, now, self.length)


def judge(samples: Sequence[Sample], now: float, length: int = WINDOW) -> Status:
    """Return the status by the first rule that holds.

    Args:
        samples: from the oldest to the newest.
        now: seconds since the epoch.
        length: samples in a full window. Only over a full window is a partition stalled or behind (Burrow leaves this
            to the reader of its `complete`), since a commit point may have to wait for an attempt and its retries.
    """
    if any(sample.lag <= 0 for sample in samples):
        return Status.OK
    if _rewound(samples):
        return Status.REWOUND
    if len(samples) < FEW:
        return Status.EARLY
    if _stopped(samples, now):
        return Status.STOPPED
    if samples[0].offset == samples[-1].offset:  # no offset moved back, so none moved between them either
        found = Status.STALLED
    else:
        found = Status.BEHIND if _behind(samples) else Status.OK
    return found if len(samples) >= length or found is Status.OK else Status.EARLY


def _rewound(samples: Sequence[Sample]) -> bool:
    return any(after.offset < before.offset for before, after in pairwise(samples))


def _stopped(samples: Sequence[Sample], now: float) -> bool:
    """Return whether the latest sample is older than the window is long."""
    return now - samples[-1].at > samples[-1].at - samples[0].at


def _behind(samples: Sequence[Sample]) -> bool:
    """Return whether the lag never falls and is larger at the end. For Burrow, a constant lag is enough.

    With one task per second that takes a second, the lag is always 1, and nothing is wrong.
    """
    never_falls = all(after.lag >= before.lag for before, after in pairwise(samples))
    return never_falls and samples[-1].lag > samples[0].lag

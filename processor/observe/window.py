"""`judge`: how a partition does, from a sliding window of what its consumer committed.

The rules are those of LinkedIn's Burrow ("Consumer Lag Evaluation Rules" in its wiki, `evaluator/caching.go` in its
source), which need no threshold for the lag. Three things differ, and each says so below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

WINDOW: Final = 10
"""Samples that are looked at together, as in Burrow."""

APART: Final = 1.0
"""Seconds that samples of the window are apart at least (Burrow's `min-distance`): statistics may come more often."""

FEW: Final = 3
"""Samples below which nothing is said but that it is too early."""


class Status(IntEnum):
    """How a partition does, from good to bad."""

    OK = 0
    EARLY = 1
    """too few samples to say"""
    BEHIND = 2
    """it goes on, and its lag grows: Burrow's warning"""
    STALLED = 3
    """its consumer reports, and its committed offset stands still"""
    STOPPED = 4
    """nobody reports it any more"""
    REWOUND = 5
    """its committed offset went back"""


class Sample(NamedTuple):
    """One partition at one moment (seconds since the epoch)."""

    at: float
    offset: int
    """what the group has committed"""
    lag: int
    """records from there to the partition's end"""


class Window:
    """The last samples of one partition."""

    def __init__(self, length: int = WINDOW) -> None:
        self.length = length
        self._samples: deque[Sample] = deque(maxlen=length)

    @property
    def samples(self) -> Sequence[Sample]:
        """From the oldest to the newest."""
        return self._samples

    def note(self, sample: Sample) -> None:
        """Adds one; where the last two are less than `APART` from each other, in the place of the last."""
        samples = self._samples
        if len(samples) >= 2 and samples[-1].at - samples[-2].at < APART:
            samples[-1] = sample
        else:
            samples.append(sample)

    def judge(self, now: float) -> Status:
        """How the partition does at `now`, in seconds since the epoch."""
        return judge(self._samples, now, self.length)


def judge(samples: Sequence[Sample], now: float, length: int = WINDOW) -> Status:
    """The worst rule that holds.

    Args:
        samples: from the oldest to the newest.
        now: seconds since the epoch.
        length: of a full window. A partition can stall and fall behind over a full one only (Burrow leaves that to
            whoever reads its `complete`): the commit point rightly waits for an attempt and its retries.
    """
    if any(sample.lag <= 0 for sample in samples):
        return Status.OK
    if _rewound(samples):
        return Status.REWOUND
    if len(samples) < FEW:
        return Status.EARLY
    if _stopped(samples, now):
        return Status.STOPPED
    if samples[0].offset == samples[-1].offset:  # nothing went back, so nothing moved between them either
        found = Status.STALLED
    else:
        found = Status.BEHIND if _behind(samples) else Status.OK
    return found if len(samples) >= length or found is Status.OK else Status.EARLY


def _rewound(samples: Sequence[Sample]) -> bool:
    return any(after.offset < before.offset for before, after in pairwise(samples))


def _stopped(samples: Sequence[Sample], now: float) -> bool:
    """Nothing was heard for longer than the window lasts."""
    return now - samples[-1].at > samples[-1].at - samples[0].at


def _behind(samples: Sequence[Sample]) -> bool:
    """The lag never falls and is larger at the end; in Burrow one that stays the same is enough.

    With one task a second that takes a second, the lag reads 1 for ever, and nothing is wrong.
    """
    never_falls = all(after.lag >= before.lag for before, after in pairwise(samples))
    return never_falls and samples[-1].lag > samples[0].lag

"""How often unchanged state is logged: statistics by their `Cadence`, failures every ten seconds.

An idle fleet logs less than 20 MB a day.

Statistics are taken every `--stats-interval` and logged when they have changed. While they have not, they are repeated:
a reader that begins in the middle of the log needs them, a store drops a gauge that is not repeated for five minutes,
and a rate over a counter needs a sample from before it rises. What repeats cost is shared by the consumers of a fleet:
in a large fleet, each of them repeats its own less often.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

REPEAT_INTERVALS: Final = 6
"""Unchanged statistics are logged every sixth time. The dashboard's rates look back over two such repeats at least."""

REPEAT_SECONDS: Final = 60.0
"""The longest time between two repeats, unless `--stats-interval` is longer."""

REPEATERS: Final = 8
"""The most consumers that repeat this often; they log 18 MB a day. More consumers repeat less often, in proportion."""

MISSED: Final = 2
"""Intervals for which a report may be late: a busy machine or a drain does not justify an alarm."""

LIST_SECONDS: Final = 600.0
"""Time between two lists of idle partitions, for readers that begin in the middle of the log."""

LIST_SECONDS_EACH: Final = 0.8
"""Time per idle partition, which is longer in total with over 750 of them. The lists then stay below 2 MB a day."""

LINE_WEIGHT: Final = 20
"""The cost of a list's line in partitions, for the fields that every line has."""


LOG_AGAIN_SECONDS: Final = 10.0
"""Seconds after which a failure with an unchanged reason is logged again: a broker may be away for hours."""


class Cadence(NamedTuple):
    """The times of one consumer's reports, or of those of a fleet's parent, for which `consumers` is 1."""

    interval: float
    """`--stats-interval`, in seconds"""
    consumers: int = 1
    """number of consumers in the fleet"""

    @property
    def repeat_seconds(self) -> float:
        """Time after which unchanged statistics are logged again."""
        seconds = min(REPEAT_INTERVALS * self.interval, REPEAT_SECONDS) * max(1.0, self.consumers / REPEATERS)
        return max(self.interval, seconds)

    def overdue_seconds(self, *, idle: bool) -> float:
        """Time after a logged report at which the next one is overdue.

        Args:
            idle: whether the report may be repeated unchanged.
        """
        return (self.repeat_seconds if idle else self.interval) + MISSED * self.interval

    def list_seconds(self, partitions: int, lines: int) -> float:
        """Time until the idle partitions are listed again, after a list of `partitions` in `lines` lines."""
        return max(LIST_SECONDS, (partitions + LINE_WEIGHT * lines) * LIST_SECONDS_EACH * self.consumers)


class Repeats:
    """Decides whether a state is logged: when it differs from the one that was logged last, and after a time.

    Args:
        seconds: time after which an unchanged state is logged again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: object = None
        self._repeat_at = 0.0

    def is_due(self, state: object, now: float, *, anyway: bool = False) -> bool:
        """Return whether to log `state` at `now`, in seconds of any clock; if so, it counts as logged.

        Args:
            state: compared with the last one that was logged.
            now: the time.
            anyway: log it even if it has not changed.
        """
        if state == self._last and now < self._repeat_at and not anyway:
            return False
        self._last, self._repeat_at = state, now + self._seconds
        return True

    def forget(self) -> None:
        """Make the next state due, even if it is unchanged."""
        self._last = None


K = TypeVar("K", bound=Hashable)


class RepeatsByKey(Generic[K]):
    """Decides the same for each of many keys, such as partitions. See `Repeats`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._repeats: dict[K, Repeats] = {}

    def is_due(self, key: K, state: object, now: float) -> bool:
        """Return whether to log `state` of `key` at `now`, in seconds of any clock; if so, it counts as logged."""
        return self._repeats.setdefault(key, Repeats(self._seconds)).is_due(state, now)

    def forget(self, key: K) -> None:
        """Make the next state of `key` due, even if it is unchanged."""
        self._repeats.pop(key, None)

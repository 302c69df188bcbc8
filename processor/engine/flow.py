"""When to stop taking records, and when to go on.

Each partition has a share for itself, and all have a common pool. What one may take of the pool is
bounded by what is left of it (the dynamic threshold of Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", 1998, with a factor of 1): one that is slow gets much
of an empty pool and little of a full one, and never another's share.

A partition is paused only while the workers lack work: as long as they have enough, whose tasks they are
makes no difference to the rate, and a pause throws away what the client has fetched ahead.

Everything is counted as a fraction of the limits, the larger one of tasks and bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sized
from typing import Generic, NamedTuple, TypeVar

POOL = 0.5
"""The part of the limits that is the common pool; the rest is divided into equal shares."""

GO_ON = 0.75
"""Having stopped at a bound, taking goes on at this part of it."""

RESUME = 0.25
"""A paused partition is resumed at this part of what it held when it was paused.

Wide, because a pause throws away what the client has fetched ahead: about half a second a cycle.
"""

PATIENCE_SECONDS = 0.05
"""How long a partition may stay over its bound, with others in need and workers idle, before it is paused."""

P = TypeVar("P", bound=Hashable)


class Usage(NamedTuple):
    """What a consumer holds of one partition."""

    tasks: int
    bytes: int


class Verdict(NamedTuple, Generic[P]):
    """What to do about fetching."""

    take: bool
    """Whether to ask for records now."""
    pause: list[P]
    resume: list[P]


class Flow(Generic[P]):
    """The limits of one consumer, and which of its partitions are paused."""

    __slots__ = ("_bytes", "_headroom", "_over_since", "_paused_at", "_stopped", "_tasks")

    def __init__(self, tasks: int, bytes_: int) -> None:
        self._tasks = tasks
        self._bytes = bytes_
        self._stopped = False
        self._headroom = 1.0
        """What the largest partition may still take before it would take others' shares."""
        self._over_since: float | None = None
        self._paused_at: dict[P, float] = {}

    @property
    def paused(self) -> frozenset[P]:
        """The partitions that are paused."""
        return frozenset(self._paused_at)

    def room(self, tasks: int, bytes_: int, record_bytes: int) -> int:
        """How many records fit beside `tasks` and `bytes_`, if they are of `record_bytes` each; at least 1.

        They may all be of one partition, and none may take the shares of the others.
        """
        left_tasks = min(self._tasks - tasks, int(self._headroom * self._tasks))
        left_bytes = min(self._bytes - bytes_, int(self._headroom * self._bytes))
        return max(1, min(left_tasks, left_bytes // max(1, record_bytes)))

    def forget(self, partition: P) -> None:
        """The partition is not this consumer's any more."""
        self._paused_at.pop(partition, None)

    def decide(self, held: Mapping[P, Usage], now: float, *, idle: bool, behind: Callable[[P], bool]) -> Verdict[P]:
        """What to do.

        Args:
            held: every assigned partition.
            now: seconds of a clock that never goes back.
            idle: whether workers lack work.
            behind: whether the broker has, or may have, more of a partition; asked only where it matters.
        """
        parts = {partition: self._fraction(h.tasks, h.bytes) for partition, h in held.items()}
        resume = [p for p, at in self._paused_at.items() if parts.get(p, 0.0) <= at * RESUME]
        for partition in resume:
            del self._paused_at[partition]
        over = self._over(parts)
        crowded = bool(over) and idle and self._is_anyone_in_need(parts, behind)
        pause = self._pause(over, parts, now) if crowded else []
        if not crowded:
            self._over_since = None
        take = not self._stop(held, parts) and not (crowded and not pause)
        return Verdict(take, pause, resume)

    def _fraction(self, tasks: int, bytes_: int) -> float:
        return max(tasks / self._tasks, bytes_ / self._bytes)

    def _over(self, parts: Mapping[P, float]) -> list[P]:
        """Which partitions hold more than is theirs."""
        if len(parts) < 2:
            return []
        share = _share(parts)
        left = POOL - sum(part - share for part in parts.values() if part > share)
        return [p for p, part in parts.items() if part - share > max(0.0, left) and p not in self._paused_at]

    def _is_anyone_in_need(self, parts: Mapping[P, float], behind: Callable[[P], bool]) -> bool:
        """Whether a partition lacks what it could have of its share."""
        share = _share(parts)
        return any(part < share and p not in self._paused_at and behind(p) for p, part in parts.items())

    def _pause(self, over: list[P], parts: Mapping[P, float], now: float) -> list[P]:
        if self._over_since is None:
            self._over_since = now
        if now - self._over_since < PATIENCE_SECONDS:
            return []
        self._over_since = None
        self._paused_at.update((partition, parts[partition]) for partition in over)
        return over

    def _stop(self, held: Mapping[P, Usage], parts: Mapping[P, float]) -> bool:
        """Whether the consumer is full: all together, or one that others' shares must be kept from."""
        total = self._fraction(sum(h.tasks for h in held.values()), sum(h.bytes for h in held.values()))
        most = 1.0 - _share(parts) * (len(parts) - 1)
        part = GO_ON if self._stopped else 1.0
        # What paused partitions hold may never drain: the others go on at that part of what is left for them.
        paused = sum(parts.get(p, 0.0) for p in self._paused_at)
        largest = max((held_part for p, held_part in parts.items() if p not in self._paused_at), default=0.0)
        self._headroom = max(0.0, most - largest)
        self._stopped = total >= paused + (1.0 - paused) * part or largest >= most * part
        return self._stopped


def _share(parts: Sized) -> float:
    """What each partition has for itself."""
    return (1.0 - POOL) / max(1, len(parts))

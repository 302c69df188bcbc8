"""`ProcessScaling`: how many consumers a fleet should have, from what each of them has reported.

One is added while tasks wait and all consumers are busy; one is removed after a long time in which fewer would have
been enough. Each change makes the group move partitions, so only several rounds of reports in a row lead to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

BUSY: Final = 0.8
"""A consumer whose use is at least this high counts as busy."""

GROW_ROUNDS: Final = 3
"""A consumer is added after this many rounds of reports in a row in which tasks wait and all consumers are busy."""

SHRINK_ROUNDS, LONGEST_SHRINK_ROUNDS = 30, 360
"""A consumer is removed after this many rounds of reports in a row in which none was busy while tasks waited. The
number doubles whenever the removed consumer was needed again, so that bursts of work do not always move partitions."""

ROOM: Final = 0.5
"""A consumer is removed if the mean use of those that are left would be at most this."""

FAILED_ROUNDS: Final = 360
"""For this many rounds after a consumer could not start, none is added."""


class Load(NamedTuple):
    """One consumer, as it was in its last report."""

    use: float
    """The share of its workers that were busy, or of a processor core that it used, whichever is larger; 0 to 1."""
    waits: bool
    """Whether tasks wait that it could run if it had more to run them with."""
    partitions: int


class Step(NamedTuple):
    """Another number of consumers, and why."""

    processes: int
    reason: str


class ProcessScaling:
    """Decides on the number of a fleet's consumers. Time is counted in rounds of reports.

    Args:
        least: the smallest number.
        most: the largest one.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._busy_rounds = self._quiet_rounds = 0
        self._used = 0.0
        """The sum of all consumers' use over these quiet rounds."""
        self._rest = 0
        self.limit: str | None = None
        """Why no consumer is added although tasks wait and all are busy; None while none is needed."""
        self._shrink_rounds = SHRINK_ROUNDS
        self._has_shrunk = False

    def restart(self) -> None:
        """Start the counts again: the number of consumers has changed, or one of them is being replaced."""
        self._busy_rounds = self._quiet_rounds = 0
        self._used = 0.0
        self.limit = None

    def fail(self) -> None:
        """Record that a consumer which was added could not start."""
        self._rest = FAILED_ROUNDS

    def observe(self, loads: Sequence[Load]) -> Step | None:
        """Take a round of reports, one of each consumer. Return the change to make, or None. It counts as made."""
        self._rest = max(0, self._rest - 1)
        strained = sum(load.waits and load.use >= BUSY and load.partitions > 0 for load in loads)
        if strained:
            self._quiet_rounds, self._used = 0, 0.0
            return self._note_strain(loads, is_everywhere=strained == len(loads))
        self._busy_rounds, self.limit = 0, None
        return self._note_quiet(loads)

    def _note_strain(self, loads: Sequence[Load], *, is_everywhere: bool) -> Step | None:
        count, partitions = len(loads), sum(load.partitions for load in loads)
        self._busy_rounds = self._busy_rounds + 1 if is_everywhere else 0
        which = "the consumer is busy" if count == 1 else f"all {count} consumers are busy"
        reason, self.limit = f"tasks wait and {which}", None
        if self._busy_rounds < GROW_ROUNDS:
            return None
        if (limit := self._limit(count, partitions)) is not None:
            self.limit = f"{reason}, but {limit}"
            return None
        self.restart()
        if self._has_shrunk:
            self._has_shrunk = False
            self._shrink_rounds = min(2 * self._shrink_rounds, LONGEST_SHRINK_ROUNDS)
        return Step(count + 1, reason)

    def _limit(self, count: int, partitions: int) -> str | None:
        if count >= self._most:
            return "--processes allows no more"
        if count >= partitions:
            return "the fleet has no more partitions"
        return "a consumer that was added could not start" if self._rest else None

    def _note_quiet(self, loads: Sequence[Load]) -> Step | None:
        self._quiet_rounds += 1
        self._used += sum(load.use for load in loads)
        if self._quiet_rounds < self._shrink_rounds:
            return None
        count, used = len(loads), self._used / self._quiet_rounds
        self.restart()
        if count <= self._least or used > ROOM * (count - 1):
            return None
        self._has_shrunk = True
        return Step(
            count - 1, f"there was work for {used:.1f} of {count} consumers on average, and no task waited for long"
        )

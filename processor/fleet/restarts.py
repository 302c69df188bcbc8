"""What follows when a consumer's process has ended: a decision, made without clock or processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from processor.boot.signals import signal_name

DRAIN_TIMED_OUT: Final = 3
NO_BROKER: Final = 4
FAULTS_OF_THE_CODE: Final = frozenset({1, 5})
"""Exit codes that the next change of the application's code may fix, when they come before the consumer was up."""
FAILURES_AT_START: Final = frozenset({1, 2, NO_BROKER, 5})
"""Exit codes that a restart does not mend, when they come before the consumer was up."""


class Backoff(NamedTuple):
    """Seconds before a consumer is replaced that ended unasked."""

    first: float = 0.5
    most: float = 30.0
    reset_after: float = 60.0
    """seconds that a consumer has to live for the next delay to be the first again"""

    def after(self, last: float | None, lived: float) -> float:
        """The delay that follows the delay `last`, for a consumer that lived `lived` seconds."""
        if last is None or lived >= self.reset_after:
            return self.first
        return min(max(last * 2, self.first), self.most)


class Death(NamedTuple):
    """How a consumer's process ended."""

    exit_code: int
    """negative: the signal that killed it"""
    lived: float
    joined: bool
    """it had been in the group"""
    finished: bool = False
    recycling: bool = False
    failure: str | None = None
    """the sentence that it gave"""

    @property
    def was_killed_at_work(self) -> bool:
        """Whether a signal ended it after it had been in the group, as the kernel does that is out of memory."""
        return self.exit_code < 0 and self.joined

    @property
    def reason(self) -> str:
        """The end in words."""
        if self.recycling:
            return "a handler could not be stopped"
        if self.failure is not None:
            return self.failure
        if self.exit_code < 0:
            return f"killed by {signal_name(-self.exit_code)}"
        return "it was stopped from outside" if self.exit_code == 0 else f"exit code {self.exit_code}"


class Replace(NamedTuple):
    """Start another in its place, `delay` seconds from now."""

    delay: float


class Finish(NamedTuple):
    """Its work is done: no other takes its place."""


class AwaitChange(NamedTuple):
    """The application's code cannot be loaded, for this reason: try again when it has changed."""

    reason: str


class GiveUp(NamedTuple):
    """It will not mend by itself: the fleet stops, for this reason and with this exit code."""

    reason: str
    exit_code: int


def what_follows(
    death: Death, *, fleet_was_up: bool, last_delay: float | None, backoff: Backoff, reload: bool = False
) -> Replace | Finish | AwaitChange | GiveUp:
    """The decision about a consumer that ended while its fleet was not stopping.

    Args:
        death: how it ended.
        fleet_was_up: some consumer of this fleet has been in the group. A broker that is away then comes back;
            one that never let anybody in is a mistake in an option.
        last_delay: the delay before its start, None if it was the first.
        backoff: the delays.
        reload: whether changes of the code are waited for.
    """
    if death.finished and death.exit_code == 0:
        return Finish()
    if death.recycling:
        return Replace(0.0)
    if not death.joined and death.exit_code in FAILURES_AT_START:
        passes = fleet_was_up and death.exit_code in (1, NO_BROKER)
        if not passes:
            reason = death.failure or f"a consumer could not start ({death.reason})"
            is_mended_by_a_change = reload and death.exit_code in FAULTS_OF_THE_CODE
            return AwaitChange(reason) if is_mended_by_a_change else GiveUp(reason, death.exit_code)
    if death.was_killed_at_work and (last_delay is None or death.lived >= backoff.reset_after):
        return Replace(0.0)  # the group keeps its partitions for the one that takes its place
    return Replace(backoff.after(last_delay, death.lived))


def combined(exit_codes: Iterable[int]) -> int:
    """The fleet's exit code: 3 if a drain timed out anywhere, else the worst; a process that was killed failed."""
    codes = {1 if code < 0 else code for code in exit_codes}
    return DRAIN_TIMED_OUT if DRAIN_TIMED_OUT in codes else max(codes, default=0)

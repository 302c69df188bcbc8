"""Decides what to do when a consumer has exited. The decision uses no clock and no process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from processor.boot.signals import signal_name
from processor.engine.deaths import TaskPlace

DRAIN_TIMED_OUT: Final = 3
NO_BROKER: Final = 4
FAULTS_OF_THE_CODE: Final = frozenset({1, 5})
"""Exit codes of a consumer that was never up, whose cause the next change of the application's code may fix."""
FAILURES_AT_START: Final = frozenset({1, 2, NO_BROKER, 5})
"""Exit codes of a consumer that was never up, whose cause a restart does not fix."""


class Backoff(NamedTuple):
    """Delays before a consumer that exited unexpectedly is replaced, in seconds."""

    first: float = 0.5
    most: float = 30.0
    reset_after: float = 60.0
    """run time of a consumer after which the next delay is the first one again"""

    def after(self, last: float | None, lived: float) -> float:
        """Return the delay that follows the delay `last`, for a consumer that ran for `lived` seconds."""
        if last is None or lived >= self.reset_after:
            return self.first
        return min(max(last * 2, self.first), self.most)


class Exit(NamedTuple):
    """How the process of a consumer exited."""

    exit_code: int
    """negative: the signal that killed it"""
    lived: float
    """how long it ran, in seconds"""
    joined: bool
    """whether it had been in the group"""
    finished: bool = False
    """whether it reported that its work is done (`--stop-at-end`)"""
    recycling: bool = False
    """whether it exited because a handler could not be interrupted"""
    failure: str | None = None
    """the reason that it reported"""
    died: bool = False
    """whether it had been in the group and exited without any report"""
    running: Sequence[TaskPlace] = ()
    """the tasks that it was running, if it recorded them"""

    @property
    def was_killed_at_work(self) -> bool:
        """Whether a signal killed it after it had joined the group, for example when the machine was out of memory."""
        return self.exit_code < 0 and self.joined

    @property
    def reason(self) -> str:
        """Why it exited, in words."""
        if self.recycling:
            return "a handler could not be interrupted"
        if self.failure is not None:
            return self.failure
        if self.exit_code < 0:
            return f"killed by {signal_name(-self.exit_code)}"
        is_in_order = self.exit_code == 0 and not self.died
        return "it was stopped by another process" if is_in_order else f"exit code {self.exit_code}"


class Replace(NamedTuple):
    """Start another process in its place after `delay` seconds."""

    delay: float


class Finish(NamedTuple):
    """Its work is done: no other process takes its place."""


class AwaitChange(NamedTuple):
    """The application cannot be loaded, for the given reason: try again when its code has changed."""

    reason: str


class GiveUp(NamedTuple):
    """A restart would not fix the cause: stop the fleet, with the given reason and exit code."""

    reason: str
    exit_code: int


def what_follows(
    exited: Exit, *, fleet_was_up: bool, last_delay: float | None, backoff: Backoff, reload: bool = False
) -> Replace | Finish | AwaitChange | GiveUp:
    """Return what to do about a consumer that exited while its fleet was not stopping.

    Args:
        exited: how it exited.
        fleet_was_up: whether a consumer of this fleet has been in the group. If so, an unreachable broker is expected
            to return; if not, an option is taken to be wrong.
        last_delay: the delay before its start, None if it was the first.
        backoff: the delays.
        reload: whether the fleet watches for changes of the code (`--reload`).
    """
    if exited.finished and exited.exit_code == 0:
        return Finish()
    if exited.recycling:
        return Replace(0.0)
    if not exited.joined and exited.exit_code in FAILURES_AT_START:
        passes = fleet_was_up and exited.exit_code in (1, NO_BROKER)
        if not passes:
            reason = exited.failure or f"a consumer could not start ({exited.reason})"
            may_be_fixed_by_a_change = reload and exited.exit_code in FAULTS_OF_THE_CODE
            return AwaitChange(reason) if may_be_fixed_by_a_change else GiveUp(reason, exited.exit_code)
    if len(exited.running) == 1:
        return Replace(backoff.first)  # a task is suspected, and is dead-lettered after `--max-attempts` deaths
    if exited.was_killed_at_work and (last_delay is None or exited.lived >= backoff.reset_after):
        return Replace(0.0)  # the group keeps its partitions for the process that takes its place
    return Replace(backoff.after(last_delay, exited.lived))


def combined(exit_codes: Iterable[int]) -> int:
    """Return the exit code of a fleet: 3 if any drain timed out, else the highest. A killed process counts as 1."""
    codes = {1 if code < 0 else code for code in exit_codes}
    return DRAIN_TIMED_OUT if DRAIN_TIMED_OUT in codes else max(codes, default=0)

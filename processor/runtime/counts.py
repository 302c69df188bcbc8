"""`Counts`: what a consumer has done since its start."""

from __future__ import annotations

from processor.engine.durations import Durations


class Counts:
    """Totals. Unless stated otherwise, totals of tasks change under the desk's lock, others in the poller's thread."""

    __slots__ = (
        "abandoned",
        "cancelled",
        "commit_failures",
        "commits",
        "dead_lettered",
        "durations",
        "expired",
        "failed_attempts",
        "handler_seconds",
        "longest_seconds",
        "missed_offsets",
        "rebalances",
        "records_read_again",
        "results",
        "retried",
        "settled",
        "skipped",
        "stuck",
        "succeeded",
        "suspensions",
        "tasks_read_again",
        "timed_out",
    )

    def __init__(self) -> None:
        self.settled = 0
        """All settled tasks: succeeded, dead-lettered and cancelled."""
        self.cancelled = 0
        """Tasks that an operator has cancelled, including those that became dead letters."""
        self.succeeded = self.results = self.dead_lettered = self.expired = self.skipped = 0
        self.failed_attempts = self.retried = self.timed_out = self.stuck = 0
        self.suspensions = 0
        """How many times a handler was suspended."""
        self.handler_seconds = 0.0
        self.durations = Durations()
        self.longest_seconds = 0.0
        """The longest attempt since the last report, in seconds. The report sets it to 0."""
        self.abandoned = 0
        """Tasks whose handlers outlived a drain."""
        self.missed_offsets = 0
        """Records that were deleted before they were delivered, or read again. Changes under the desk's lock."""
        self.records_read_again = 0
        """Records that were read to get set-aside tasks back. Changes in the thread that reads them."""
        self.tasks_read_again = 0
        """How many of these records were set-aside tasks. Changes in the same thread."""
        self.rebalances = self.commits = self.commit_failures = 0

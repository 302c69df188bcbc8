"""`Shared`: what threads share, and the one lock around it. Only the parts of the desk have it."""

from __future__ import annotations

import threading
from collections import deque

from processor.engine.assignment import Assignment
from processor.engine.gatherer import Gatherer
from processor.engine.isolation import Isolation
from processor.engine.lease import Lease
from processor.engine.ledger import Ledger, Loan
from processor.engine.outcome import Cause, Failed
from processor.handlers.terms import terms_of
from processor.runtime.counts import Counts
from processor.runtime.ports import Partition
from processor.runtime.timers import Timers

ToStage = tuple[Loan, object, int, bool, bool]
"""A loan, the output of its next task, its size in bytes, and whether it is a dead letter, and has a result."""


class Shared:
    """Values that several parts of the desk need, and that change only under the lock.

    None of them is ever replaced: a part may keep a reference.
    """

    def __init__(self, lease: Lease, timers: Timers) -> None:
        self.lock = threading.Lock()
        self.lease = lease
        self.timers = timers
        """It has its own lock, and does not need this one."""
        self.assignment: Assignment[Partition] = Assignment(terms_of)
        self.gatherer = Gatherer()
        self.isolation: Isolation[Partition] = Isolation()
        self.counts = Counts()
        self.staging: deque[ToStage] = deque()
        """Outputs that are staged when a thread next has the lock. Any thread may append one without it."""
        self.has_joins = False
        """Whether any task has waited for other branches of its group so far. It may be read without the lock."""
        self.runs_low = threading.Event()
        """Set when a session is about to run out of tasks while others of it are set aside."""

    def place_of(self, ledger: Ledger) -> str:
        """Return TOPIC:PARTITION of a ledger that is not closed."""
        partition = self.assignment.partition_of(ledger)
        return f"{partition.topic}:{partition.number}"

    def count(self, settled: int) -> None:
        """Counts tasks that have settled and succeeded."""
        self.counts.settled += settled
        self.counts.succeeded += settled

    def count_output(self, loan: Loan, settled: int, *, dead_letter: bool, result: bool) -> None:
        """Counts tasks that have settled with an output."""
        counts = self.counts
        letters = settled if dead_letter and loan.joined is not None else int(dead_letter)
        counts.settled += settled
        counts.succeeded += settled - letters
        counts.dead_lettered += letters
        counts.results += result
        loan.ledger.dead_lettered += letters

    def count_failure(self, loan: Loan, failed: Failed) -> None:
        """Counts how an attempt at a task of the loan failed, or why there was none."""
        self.counts.expired += failed.cause is Cause.EXPIRED
        self.counts.cancelled += failed.cause in (Cause.CANCELLED, Cause.INTERRUPTED)
        if not failed.is_attempt:
            return
        loan.ledger.failed_attempts += 1
        self.counts.failed_attempts += 1
        self.counts.timed_out += failed.cause in (Cause.TIMED_OUT, Cause.STUCK)
        self.counts.stuck += failed.cause is Cause.STUCK

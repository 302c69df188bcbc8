"""`Borrower`: what the desk needs of a worker thread, or of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from processor.engine.ledger import Loan


class Borrower(Protocol):
    """A worker thread, or the event loop.

    The borrower empties `batch` and fills `finished` without the lock: each step on a deque is atomic, and the side
    that pops a loan has it.
    """

    batch: deque[Loan]
    """Loans that have not begun. The borrower takes from the left, the desk takes back from the right."""
    finished: deque[Loan]
    """Loans that have ended, all done or stopped midway, and are not yet brought back."""
    slow: list[float]
    """Durations, in seconds, of the attempts since the last visit that were not quick."""
    ended: int
    """Number of attempts since the last visit, quick ones included."""
    seconds: float
    """Their total duration."""
    borrowed_at: float
    """When the batch was lent, in seconds of the monotonic clock; 0 while there is none."""
    batch_seconds: float
    """The duration that the batch was sized for."""

    def current(self) -> Iterable[Loan]:
        """Return the loans that have begun and not ended."""


class Invited(Borrower, Protocol):
    """A borrower that does not wait at the desk."""

    def invite(self) -> None:
        """Called by the desk when lanes are ready, under its lock: it must not block, nor call the desk itself."""

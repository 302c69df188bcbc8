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
    """Lent and not begun. The borrower takes from the left, the desk takes back from the right."""
    finished: deque[Loan]
    """Ended, all done or stopped in the middle, and not yet brought back."""
    slow: list[float]
    """Seconds of each attempt since the last visit that was not quick."""
    ended: int
    """Attempts since the last visit, quick ones too."""
    seconds: float
    """What they took together."""
    borrowed_at: float
    """When the batch was lent, in seconds of the monotonic clock; 0 while there is none."""
    batch_seconds: float
    """How long the batch was meant to take."""

    def current(self) -> Iterable[Loan]:
        """Return the loans that it has begun and not ended."""


class Invited(Borrower, Protocol):
    """A borrower that does not wait at the desk."""

    def invite(self) -> None:
        """Lanes are ready. The desk calls it under its lock: it must not block, nor come back at once."""

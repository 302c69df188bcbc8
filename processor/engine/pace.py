"""How much a worker borrows at once, and when another worker is worth waking.

Both follow from what one task takes. Lending costs a lock and waking a thread switch: with tasks of
a microsecond they must be shared by hundreds, with tasks of a millisecond by none.
"""

from __future__ import annotations

BATCH_SECONDS = 0.001
"""What a worker should be busy for between two visits to the lock.

Measured with no-op tasks on 64 threads: lanes lent one by one gave 84,000 to 426,000 tasks a second,
batches of about 1 ms 308,000 to 646,000. Longer turns gain nothing and make lanes wait.
"""

LONG_BATCH_SECONDS = 0.016
"""The longest turn: half of what waits for each worker, if that is less.

Tasks of 1 ms on 64 threads, lent one by one: four fifths of the interpreter's time went into visits to the lock. Turns
of 8 ms gave 29,000 to 35,000 a second, of 16 ms 35,000 to 38,500, of 32 ms 37,000 to 38,000, in turn on a busy machine.
"""

MOST = 256
"""Tasks in one batch, however fast they are; more would only hold the lock longer."""


class Pace:
    """What a task takes, learnt from finished batches."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = BATCH_SECONDS
        """Estimated seconds a task. Slow until seen to be fast: then nothing waits behind a slow one at the start."""

    def observe(self, tasks: int, seconds: float) -> None:
        """`tasks` took `seconds` together.

        It follows a faster batch at once and a slower one slowly: a thread that was switched out looks
        slow without being so, while a batch that is too large costs little, since what it has not
        begun is taken back.
        """
        sample = seconds / tasks
        weight = 0.5 if sample < self.seconds else 0.05
        self.seconds += (sample - self.seconds) * weight

    def batch_seconds(self, waiting: int, workers: int) -> float:
        """Seconds that a worker should be busy now, with so many tasks that wait."""
        share = waiting * self.seconds / workers
        return min(max(BATCH_SECONDS, share / 2), LONG_BATCH_SECONDS)

    def batch_size(self, seconds: float = BATCH_SECONDS) -> int:
        """Tasks to lend to one worker."""
        if self.seconds * MOST <= seconds:
            return MOST
        return max(1, int(seconds / self.seconds))

    def wanted(self, ready_lanes: int, waiting: int, awake: int) -> int:
        """How many more workers to wake for `ready_lanes` with `waiting` tasks, while `awake` are on a turn.

        Another one only when what is ready is worth more than a turn to each that is awake: those will
        be back within it.
        """
        if not ready_lanes:
            return 0
        turns = int(waiting * self.seconds / BATCH_SECONDS)
        return max(0 if awake else 1, min(ready_lanes, turns - awake))

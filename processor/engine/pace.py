"""`Pace`: how many tasks a worker borrows at once, and when waking another worker pays off.

Both depend on the duration of a task. Lending takes a lock, and waking takes a thread switch. With tasks of a
microsecond, hundreds of them must share that cost; tasks of a millisecond need not share it.
"""

from __future__ import annotations

BATCH_SECONDS = 0.001
"""Target duration of a batch, between two acquisitions of the lock.

Measured with no-op tasks on 64 threads: lanes lent one by one reached 84,000 to 426,000 tasks per second, batches of
about 1 ms 308,000 to 646,000. Longer batches gain nothing, and lanes wait longer.
"""

LONG_BATCH_SECONDS = 0.016
"""Maximum duration of a batch for up to 8 workers. Below it, a batch is half of a worker's share of the waiting tasks.

With tasks of 1 ms on 64 threads that were lent one by one, the lock took four fifths of the interpreter's time.
"""

LONGEST_BATCH_SECONDS = 0.064
"""Maximum duration of a batch for 32 workers and more."""

RETURN_SECONDS = 0.002
"""Minimum mean time between two returns of any worker for its next batch: the more workers, the longer their batches.

A return takes 0.1 to 0.2 ms of CPU if threads compete for two cores, and meanwhile no other thread has the interpreter.
With tasks of 1 ms on 64 threads, batches of 16 ms reached 31,000 tasks per second, of 32 and 64 ms 35,000 to 36,000.
Compared with a return each millisecond, tasks of 1 ms on 24 threads and of 4 ms on 16 threads took a seventh less CPU.
"""

STALE_BATCHES = 5
"""A batch that takes this many times its intended duration was sized for faster tasks. It is *stale*: the desk takes
back what its worker has not begun."""

SPARE_SECONDS = 0.064
"""A long batch is stale this long after its intended end: four times `LONG_BATCH_SECONDS`."""

STALE_SECONDS = STALE_BATCHES * BATCH_SECONDS
"""The shortest time after lending at which a batch can be stale."""

MOST = 256
"""Maximum number of tasks in a batch; more would only hold the lock longer."""


def stale_after(batch_seconds: float) -> float:
    """Return after how many seconds a batch of this intended duration is stale."""
    return min(STALE_BATCHES * batch_seconds, batch_seconds + SPARE_SECONDS)


class Pace:
    """Estimates the duration of a task from finished batches."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = BATCH_SECONDS
        """Estimated seconds per task. It starts high, so that no task waits behind a slow one at first."""

    def observe(self, tasks: int, seconds: float) -> None:
        """Updates the estimate with a batch of `tasks` tasks that took `seconds` in total.

        The estimate follows a faster batch quickly and a slower one slowly. A preempted thread only seems slow, and a
        batch that is too large costs little, since its remaining tasks can be taken back.
        """
        sample = seconds / tasks
        weight = 0.5 if sample < self.seconds else 0.05
        self.seconds += (sample - self.seconds) * weight

    def batch_seconds(self, waiting: int, workers: int) -> float:
        """Target duration of a batch in seconds, for this number of waiting tasks and workers."""
        share = waiting * self.seconds / workers
        longest = min(max(LONG_BATCH_SECONDS, workers * RETURN_SECONDS), LONGEST_BATCH_SECONDS)
        return min(max(BATCH_SECONDS, share / 2), longest)

    def batch_size(self, seconds: float = BATCH_SECONDS) -> int:
        """Number of tasks to lend to one worker, for a batch of this duration."""
        if self.seconds * MOST <= seconds:
            return MOST
        return max(1, int(seconds / self.seconds))

    def wanted(self, ready_lanes: int, waiting: int, awake: int) -> int:
        """How many more workers to wake for `ready_lanes` with `waiting` tasks, while `awake` workers run a batch.

        Another worker is woken only if there is more than one batch of work for each that is awake: these will return
        within the duration of a batch.
        """
        if not ready_lanes:
            return 0
        batches = int(waiting * self.seconds / BATCH_SECONDS)
        return max(0 if awake else 1, min(ready_lanes, batches - awake))

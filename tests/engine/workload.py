"""A simulated consumer: tasks that arrive, workers that run them, and a `WorkerScaling` that observes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from processor.engine.worker_scaling import Sample, WorkerScaling

STEP_SECONDS = 0.05
SAMPLE_STEPS = 5


class Change(NamedTuple):
    at: float
    workers: int
    reason: str


class Workload:
    """Tasks arrive at random, and durations are spread like an exponential distribution.

    Args:
        scaling: decides.
        arrivals: tasks a second, by the time.
        seconds: the mean duration of an attempt, by the time and the number of busy workers.
    """

    def __init__(
        self,
        scaling: WorkerScaling,
        arrivals: Callable[[float], float],
        seconds: Callable[[float, int], float],
        seed: int = 1,
    ) -> None:
        self._scaling = scaling
        self._arrivals = arrivals
        self._seconds = seconds
        self._chance = random.Random(seed)
        self.now = 0.0
        self.backlog = 0
        self.ended = 0
        self.changes: list[Change] = []
        self.workers: list[tuple[float, int]] = []
        """Over time."""

    def run(self, seconds: float) -> int:
        """Run for this long. Return how many tasks ended."""
        ended_before, sampled = self.ended, self.ended
        for step in range(1, round(seconds / STEP_SECONDS) + 1):
            self.now += STEP_SECONDS
            self.backlog += self._count(self._arrivals(self.now) * STEP_SECONDS)
            busy = min(self._scaling.workers, self.backlog)
            if busy:
                rate = busy / self._seconds(self.now, busy)
                done = min(self._count(rate * STEP_SECONDS), self.backlog)
                self.backlog -= done
                self.ended += done
            if step % SAMPLE_STEPS == 0:
                busy = min(self._scaling.workers, self.backlog)
                sample = Sample(SAMPLE_STEPS * STEP_SECONDS, self.ended - sampled, busy, self.backlog - busy)
                sampled = self.ended
                if (resize := self._scaling.observe(sample)) is not None:
                    self.changes.append(Change(self.now, *resize))
                self.workers.append((self.now, self._scaling.workers))
        return self.ended - ended_before

    def changes_since(self, at: float) -> list[Change]:
        return [change for change in self.changes if change.at >= at]

    def mean_workers(self, since: float) -> float:
        numbers = [workers for at, workers in self.workers if at >= since]
        return sum(numbers) / len(numbers)

    def _count(self, mean: float) -> int:
        """Return a Poisson variate; above 50, approximated by the normal distribution."""
        if mean > 50:
            return max(0, round(self._chance.gauss(mean, mean**0.5)))
        count, product, limit = 0, self._chance.random(), 2.718281828459045**-mean
        while product > limit:
            count += 1
            product *= self._chance.random()
        return count

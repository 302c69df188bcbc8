"""`WorkerScaling`: how many workers a consumer should have, from what they do and from the effect of the last change.

More workers help as long as tasks wait for one, all workers are busy, and more of them end more attempts in the same
time. So the number is changed by trial: the rates of ended attempts before and after are compared, and a change that
does not pay is undone. After each change that was undone, the next trial comes later and is smaller, so that the same
trial is not repeated all the time.
"""

from __future__ import annotations

from math import ceil, log
from typing import Final, NamedTuple

FACTORS: Final = (2.0, 1.5, 1.25)
"""Factors by which a trial raises or lowers the number of workers. The first trial doubles or halves it. After a trial
that was undone the next one is smaller, and after one that paid it is larger. The effect of a smaller step than these
could not be distinguished from chance."""

HELPS: Final = 0.3
"""More workers help if the elasticity of the rate (its relative change, divided by that of the number of workers) is
at least this. It is 1 if handlers wait for something that has room, and 0 if they wait for each other."""

NEEDLESS: Final = 0.2
"""Below this elasticity, fewer workers do as well. Between this and `HELPS`, the number does not change."""

EVIDENCE: Final = 200.0
"""Attempts that a rate is measured over, times the square of the step's logarithm. The error of the elasticity is then
0.1 if durations are spread like an exponential distribution: 416 attempts for a step of 2, 4,017 for one of 1.25."""

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
"""Bounds of the time over which a rate is measured, however many attempts end in it."""

BUSY: Final = 0.8
"""If this share of the workers is busy, all of them count as busy: some are always between two tasks."""

FEWEST_ATTEMPTS: Final = 20
"""With fewer attempts than this in that time, the rate is unknown. More workers are then assumed to help, since
attempts that take so long mostly wait for something."""

FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 20.0, 400.0
"""Time between a trial that was undone and the next one; each doubles it."""

SLACK_SECONDS, LONGEST_SLACK_SECONDS = 60.0, 900.0
"""The number is lowered after this time without waiting work and with too many workers. The time doubles whenever the
number was too low afterwards, so that bursts of work do not change it each time."""

MARGIN: Final = 1.25
"""How many workers are kept for each one that was busy at the busiest moment of that time."""

LULL_SECONDS: Final = 1.0
"""Time without waiting work after which a measurement of the rate is worthless."""

CHANGED: Final = 1.5
"""If the rate is higher or lower by more than this factor than at the last trial, conditions have changed, and the
results of earlier trials no longer hold."""


class Sample(NamedTuple):
    """What the workers do at one moment, and what they have done since the previous sample."""

    seconds: float
    """Seconds since the previous sample."""
    ended: int
    """Attempts since then."""
    busy: int
    """Workers that have a task."""
    ready: int
    """Sessions that wait for a worker."""


class Resize(NamedTuple):
    """Another number of workers, and why."""

    workers: int
    reason: str


class _Trial(NamedTuple):
    """A change that is being judged."""

    before: int
    rate: float | None
    """Ended attempts per second with `before` workers; None if too few ended to measure it."""


class WorkerScaling:
    """Decides on the number of one consumer's workers. The samples carry the time.

    Args:
        least: the smallest number.
        most: the largest one.
        workers: the number to begin with; by default the smallest one.
    """

    def __init__(self, least: int, most: int, workers: int | None = None) -> None:
        self.workers = least if workers is None else min(max(workers, least), most)
        self._least = least
        self._most = most
        self._trial: _Trial | None = None
        self._step = 0
        self._up = True
        self._hold = 0.0
        self._next_hold = FIRST_HOLD_SECONDS
        self._news_hold = FIRST_HOLD_SECONDS
        """Longest time until the next trial after conditions have changed. It grows if they change all the time."""
        self._known_rate: float | None = None
        """The rate when the last trial was undone."""
        self._settling = 0.0
        self._lull = 0.0
        self._seconds, self._ended = 0.0, 0
        self._slack = self._peak = 0.0
        self._slack_seconds = SLACK_SECONDS
        self._has_shrunk = False

    def observe(self, sample: Sample) -> Resize | None:
        """Take a sample. Return the change to make, or None. The change counts as made."""
        self._hold -= sample.seconds
        if self._settling > 0.0:
            self._settling -= sample.seconds
            return None
        if sample.ready > 0 and sample.busy >= BUSY * self.workers:
            self._note_saturated(sample)
            return self._judge() if self._is_measured else None
        return self._note_slack(sample)

    # --- while work waits and all are busy ---------------------------------------------------------

    def _note_saturated(self, sample: Sample) -> None:
        self._lull = self._slack = self._peak = 0.0
        self._seconds += sample.seconds
        self._ended += sample.ended

    @property
    def _is_measured(self) -> bool:
        enough = EVIDENCE / log(FACTORS[self._step]) ** 2
        return self._seconds >= LONGEST_SECONDS or (self._seconds >= SHORTEST_SECONDS and self._ended >= enough)

    def _judge(self) -> Resize | None:
        rate = self._ended / self._seconds if self._ended >= FEWEST_ATTEMPTS else None
        if self._trial is not None:
            return self._judge_trial(self._trial, rate)
        if self._is_news(rate):
            self._known_rate, self._step = rate, 0
            self._hold = min(self._hold, self._news_hold)
            self._next_hold = self._news_hold
            self._news_hold = min(2 * self._news_hold, LONGEST_HOLD_SECONDS)
        self._discard()
        return self._try(rate) if self._hold <= 0.0 else None

    def _judge_trial(self, trial: _Trial, rate: float | None) -> Resize | None:
        grown = self.workers > trial.before
        if grown:
            pays = trial.rate is None or rate is None or self._elasticity(trial, trial.rate, rate) >= HELPS
        else:
            pays = trial.rate is not None and rate is not None and self._elasticity(trial, trial.rate, rate) < NEEDLESS
        self._trial = None
        if pays:
            self._step = max(0, self._step - 1)
            self._discard()
            return self._try(rate)
        self._hold, self._next_hold = self._next_hold, min(2 * self._next_hold, LONGEST_HOLD_SECONDS)
        self._news_hold = max(FIRST_HOLD_SECONDS, self._news_hold / 2)
        self._step = min(self._step + 1, len(FACTORS) - 1)
        self._up = not grown
        self._known_rate = trial.rate
        what = "more workers did not end more attempts" if grown else "fewer workers ended fewer attempts"
        return self._change(trial.before, f"{what}: {_shown(rate)} a second, before {_shown(trial.rate)}")

    def _elasticity(self, trial: _Trial, before: float, after: float) -> float:
        return log(after / before) / log(self.workers / trial.before)

    def _is_news(self, rate: float | None) -> bool:
        known = self._known_rate
        return known is not None and rate is not None and not known / CHANGED <= rate <= known * CHANGED

    def _try(self, rate: float | None) -> Resize | None:
        """Begin a trial. If the bounds leave no room in this direction, begin none, and turn for the next one."""
        factor = FACTORS[self._step]
        larger = min(max(self.workers + 1, round(self.workers * factor)), self._most)
        smaller = max(min(self.workers - 1, round(self.workers / factor)), self._least)
        target = larger if self._up else smaller
        if target == self.workers:
            self._up = not self._up
            self._hold, self._next_hold = self._next_hold, min(2 * self._next_hold, LONGEST_HOLD_SECONDS)
            self._known_rate = rate
            return None
        before = self.workers
        self._trial = _Trial(before, rate)
        if target < before:
            return self._change(target, f"fewer may do as well: {_shown(rate)} attempts a second")
        if self._has_shrunk:
            self._has_shrunk = False
            self._slack_seconds = min(2 * self._slack_seconds, LONGEST_SLACK_SECONDS)
        return self._change(target, f"tasks wait and all {before} workers are busy: {_shown(rate)} attempts a second")

    # --- while there are enough of them ------------------------------------------------------------

    def _note_slack(self, sample: Sample) -> Resize | None:
        self._lull += sample.seconds
        self._slack += sample.seconds
        self._peak = max(self._peak, sample.busy)
        if self._lull >= LULL_SECONDS:
            self._trial = None  # the work that waited is gone: there are enough workers now
            self._discard()
        if self._slack < self._slack_seconds:
            return None
        peak, seconds = self._peak, self._slack
        self._slack = self._peak = 0.0
        self._forget()
        needed = max(self._least, ceil(peak * MARGIN))
        if needed * MARGIN > self.workers:
            return None
        self._has_shrunk = True
        busy = f"at most {peak:.0f}" if peak else "none"
        return self._change(
            needed, f"{busy} of {self.workers} workers were busy for {seconds:.0f} s, and no task waited"
        )

    # --- both ----------------------------------------------------------------------------------------

    def _change(self, workers: int, reason: str) -> Resize:
        """Change the number. The next measurement begins after the attempts that run now: they show the old rate."""
        lasts = self.workers * self._seconds / self._ended if self._ended else 0.0
        self._settling = min(max(SHORTEST_SECONDS, 2 * lasts), LONGEST_SECONDS)
        self._discard()
        self.workers = workers
        return Resize(workers, reason)

    def _discard(self) -> None:
        self._seconds, self._ended = 0.0, 0

    def _forget(self) -> None:
        self._step, self._up = 0, True
        self._hold, self._next_hold = 0.0, FIRST_HOLD_SECONDS
        self._known_rate = None


def _shown(rate: float | None) -> str:
    return "few" if rate is None else f"{rate:.3g}"

"""A row of the table: some work, the arms that do it, and the targets for the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, Round, Verdict

Trials = Mapping[str, Callable[[], Figures]]
"""A function for each arm, by its name, that measures once; every round calls each in turn."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table before it is run."""

    name: str
    work: str
    """The description of the tasks in the table."""
    trials: Callable[[Stage], Trials]
    measures: Callable[[Stage], Sequence[Measure]]
    shared: bool = False
    """Whether other arms take part."""


class Outcome(msgspec.Struct, kw_only=True):
    """One line of the table after it was run."""

    name: str
    work: str
    rounds: list[Round]
    verdicts: list[Verdict]
    failures: list[str] = []
    """The arms that failed, each with the reason."""


def run(row: Row, stage: Stage, rounds: int) -> Outcome:
    """Runs all arms of the row one after the other, and repeats that in each round."""
    trials = row.trials(stage)
    failures: dict[str, str] = {}
    done = [_round(row, trials, stage, f"{number + 1}/{rounds}", failures) for number in range(rounds)]
    verdicts = [verdict for measure in row.measures(stage) if (verdict := measure.verdict(done)) is not None]
    return Outcome(name=row.name, work=row.work, rounds=done, verdicts=verdicts, failures=sorted(failures.values()))


def _round(row: Row, trials: Trials, stage: Stage, which: str, failures: dict[str, str]) -> Round:
    figures: dict[str, Figures] = {}
    for arm, trial in trials.items():
        if arm in failures:  # it will fail again
            continue
        stage.say(f"{row.name}: {arm}, round {which}")
        try:
            figures[arm] = trial()
        except Exception as error:  # noqa: BLE001 — a failing arm must not stop the others
            failures[arm] = f"{arm}: {error}"
    return figures

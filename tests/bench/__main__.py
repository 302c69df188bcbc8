"""`make bench`: runs the rows of the table and writes the results."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from tests.bench import chart
from tests.bench.competitors import ARMS
from tests.bench.report import Results, conditions, merged, show
from tests.bench.row import Outcome, run
from tests.bench.server import on_stage
from tests.bench.table import ROWS
from tests.support.broker import BrokerUnavailable
from tests.support.kafka_jars import PROJECT, FetchError

QUICK = 0.05
RESULTS = PROJECT / ".bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the chosen rows and returns the exit code: 0, 2 if they cannot be run, 130 if interrupted.

    An interrupted run still writes the rows that were complete.
    """
    options = _options(arguments)
    console, load_average = Console(stderr=True), os.getloadavg()[0]
    outcomes: list[Outcome] = []
    versions: dict[str, str] = {}
    status = 0
    try:
        with on_stage(scale=options.scale, arms=tuple(options.arms), say=saying(console)) as stage:
            versions = stage.versions
            for name in options.rows:
                outcomes.append(run(ROWS[name], stage, options.rounds))  # noqa: PERF401 — an interrupt keeps them
    except (BrokerUnavailable, FetchError) as error:
        console.print(str(error), style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was done by then", highlight=False)
        status = 130
    results = Results(
        conditions=conditions(),
        load_averages=[load_average],
        scale=options.scale,
        versions=versions,
        outcomes=outcomes,
    )
    write(results, options.out)
    # Without a terminal, rich would wrap lines at 80 characters.
    show(results, Console(width=None if sys.stdout.isatty() else 150))
    print(f"written to {options.out}")
    return status


def saying(console: Console) -> Callable[[str], None]:
    """Return a function that prints progress messages in dim text."""
    return lambda what: console.print(f"[dim]{what}", highlight=False)


def write(results: Results, folder: Path) -> None:
    """Writes the figures as JSON, with earlier figures of rows that were not run again, and charts.

    Each row in which more than one arm measured a rate has a chart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):  # no file yet, or one in an older format
        results = merged(msgspec.json.decode(path.read_bytes(), type=Results), results, ROWS)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    for outcome in results.outcomes:
        rates = rates_of(outcome)
        if len(rates) > 1:
            (folder / f"{outcome.name}.svg").write_text(chart.bars(outcome.work.replace("`", ""), "records/s", rates))


def rates_of(outcome: Outcome) -> dict[str, float]:
    """Return the median rate of each arm."""
    return {v.name: v.spread.median for v in outcome.verdicts if v.name in ARMS and v.unit == "records/s"}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=Names(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; all")
    parser.add_argument("--arms", type=Names(ARMS), default=list(ARMS), help=f"of {', '.join(ARMS)}; all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:.0%}% of the tasks: to see that it works")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the tasks that is run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for results.json and charts")
    options = parser.parse_args(arguments)
    if options.quick:
        options.scale = QUICK
    if "processor" not in options.arms:  # the rows that are not shared measure only the processor
        options.rows = [name for name in options.rows if ROWS[name].shared]
    if not options.rows:
        parser.error("these rows are the processor's own, and it is not among --arms")
    if options.rounds < 1 or not 0 < options.scale <= 1:
        parser.error("--rounds must be at least 1, and --scale more than 0 and at most 1")
    return options


class Names:
    """The type of an argument that lists names, separated by commas or spaces; an empty list means all names."""

    def __init__(self, known: Mapping[str, object]) -> None:
        self._known = list(known)

    def __call__(self, text: str) -> list[str]:
        """Return the chosen names, in the order in which they are defined.

        Raises:
            argparse.ArgumentTypeError: a name is unknown.
        """
        names = text.replace(",", " ").split()
        if unknown := self._unknown(names):
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(self._known)}")
        return [name for name in self._known if name in names] if names else self._known

    def _unknown(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._known]


if __name__ == "__main__":
    sys.exit(main())

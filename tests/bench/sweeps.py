"""`make bench-sweeps`: measures how cost grows with each setting and with each property of the load."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console

from processor.engine import skipmap
from tests.bench.__main__ import QUICK, RESULTS, Names, saying
from tests.bench.report import busy, conditions
from tests.bench.rows.processes import balance
from tests.bench.server import on_stage
from tests.bench.stage import Stage
from tests.bench.statistics import Figures
from tests.bench.sweep import Series, Sweep, Swept, run
from tests.bench.topics import Load
from tests.support.broker import BrokerUnavailable
from tests.support.kafka_jars import FetchError

NOTHING = 500_000
"""The number of tasks in a run whose handlers do nothing."""

SLEEP_SECONDS = 2.5
"""How long a run should take whose handlers sleep."""

LARGEST = 400_000_000
"""The maximum size of a load in bytes."""


class Sweeps(msgspec.Struct, kw_only=True):
    """The content of the sweeps' JSON file."""

    conditions: str
    swept: list[Swept]


def _nothing(stage: Stage, load: Load, **settings: object) -> Figures:
    return stage.run("processor", stage.job(stage.topic(load), load.records, settings=settings))


def _asleep(stage: Stage, load: Load, tasks: int, seconds: float, **settings: object) -> Figures:
    job = stage.job(
        stage.topic(load), tasks, handler="sleep", seconds=seconds, limit=SLEEP_SECONDS * 2, settings=settings
    )
    return stage.run("processor", job)


def _usual(stage: Stage) -> Load:
    return Load(name="usual", records=stage.tasks(NOTHING))


def _workers(stage: Stage, workers: float) -> Figures:
    return _nothing(stage, _usual(stage), workers=int(workers))


def _workers_asleep(seconds: float, stage: Stage, workers: float) -> Figures:
    tasks = stage.tasks(max(50, int(workers / seconds * SLEEP_SECONDS)), 50)
    return _asleep(stage, _usual(stage), tasks, seconds, workers=int(workers))


def _of_sessions(stage: Stage, sessions: float) -> Load:
    records = stage.tasks(int(max(NOTHING, sessions)))  # each session has at least one
    return Load(name=f"sessions-{int(sessions)}", records=records, sessions=int(sessions))


def _sessions(stage: Stage, sessions: float) -> Figures:
    return _nothing(stage, _of_sessions(stage, sessions))


def _sessions_asleep(stage: Stage, sessions: float) -> Figures:
    tasks = stage.tasks(int(min(64, sessions) / 0.001 * SLEEP_SECONDS), 200)
    return _asleep(stage, _of_sessions(stage, sessions), tasks, 0.001)


def _size(stage: Stage, size: float) -> Figures:
    records = stage.tasks(int(min(NOTHING, LARGEST / size)), 200)
    figures = _nothing(stage, Load(name=f"size-{int(size)}", records=records, size=int(size)))
    return {"thousands": figures["rate"] / 1e3, "mb": figures["rate"] * size / 1e6}


def _partitions(stage: Stage, partitions: float) -> Figures:
    records = stage.tasks(NOTHING)
    return _nothing(stage, Load(name=f"partitions-{int(partitions)}", records=records, partitions=int(partitions)))


def _limit(stage: Stage, limit: float) -> Figures:
    return _nothing(stage, _usual(stage), max_in_flight=int(limit))


def _limit_zipf(stage: Stage, limit: float) -> Figures:
    load = Load(name="zipf", records=stage.tasks(200_000, 20_000), spreading="zipf")
    return _asleep(stage, load, stage.tasks(40_000, 1_000), 0.001, max_in_flight=int(limit))


def _interval(stage: Stage, seconds: float) -> Figures:
    figures = _nothing(stage, _usual(stage), commit_interval=seconds)
    return {**figures, "commits_per_second": figures["commits"] / figures["seconds"]}


def _skip_map(_: Stage, ranges: float) -> Figures:
    # The gaps are random, since a repeating pattern would compress to almost nothing.
    chance, settled, offset = random.Random(1), [], 0
    for _range in range(int(ranges)):
        begun = offset + chance.randint(1, 20)
        offset = begun + chance.randint(1, 20)
        settled.append((begun, offset))
    begin = time.perf_counter()
    kept = skipmap.encode(0, settled)[1]
    return {"ms": (time.perf_counter() - begin) * 1e3, "kept_thousands": kept / 1e3}


def _commits(characters: int, stage: Stage, _: float) -> Figures:
    job = stage.job(stage.topic(Load(name="commits", records=0)), stage.tasks(20_000, 200), seconds=characters)
    return stage.run("commits", job)


SWEEPS = {
    sweep.name: sweep
    for sweep in (
        Sweep(
            name="workers",
            title="Workers, when handlers wait",
            x="workers of one consumer",
            y="records/s",
            values=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            series=(
                Series(name="1 ms", trial=partial(_workers_asleep, 0.001)),
                Series(name="10 ms", trial=partial(_workers_asleep, 0.01)),
            ),
        ),
        Sweep(
            name="workers-no-op",
            title="Workers, when handlers do nothing",
            x="workers of one consumer",
            y="records/s",
            values=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            series=(Series(name="no-op", trial=_workers),),
        ),
        Sweep(
            name="sessions",
            title="Sessions, 64 workers",
            x="sessions",
            y="records/s",
            values=(1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
            series=(Series(name="no-op", trial=_sessions), Series(name="1 ms", trial=_sessions_asleep)),
        ),
        Sweep(
            name="size",
            title="Record size, no-op",
            x="bytes of a value",
            y="thousand records/s and MB/s",
            values=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
            series=(
                Series(name="thousand records/s", trial=_size, figure="thousands"),
                Series(name="MB/s", trial=_size, figure="mb"),
            ),
        ),
        Sweep(
            name="partitions",
            title="Partitions of one consumer, no-op",
            x="partitions",
            y="records/s",
            values=(1, 2, 4, 8, 16, 32, 64, 128, 200),
            series=(Series(name="no-op", trial=_partitions),),
        ),
        Sweep(
            name="in-flight",
            title="--max-in-flight, 64 workers",
            x="tasks in flight",
            y="records/s",
            values=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
            series=(Series(name="1 ms, Zipf sessions", trial=_limit_zipf),),
        ),
        Sweep(
            name="in-flight-no-op",
            title="--max-in-flight, no-op",
            x="tasks in flight",
            y="records/s",
            values=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
            series=(Series(name="no-op", trial=_limit),),
        ),
        Sweep(
            name="commit-interval",
            title="--commit-interval, no-op",
            x="seconds between commits",
            y="records/s",
            values=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            series=(Series(name="no-op", trial=_interval),),
        ),
        Sweep(
            name="skip-map",
            title="A skip map of separate ranges",
            x="ranges",
            y="milliseconds to write it, and thousands of ranges that fit",
            values=(1, 10, 100, 1_000, 3_000, 10_000),
            series=(
                Series(name="ms", trial=_skip_map, figure="ms"),
                Series(name="thousands that fit", trial=_skip_map, figure="kept_thousands"),
            ),
        ),
        Sweep(
            name="commits",
            title="Commits that one coordinator takes",
            x="one client",
            y="commits of 8 partitions a second",
            values=(1,),
            series=(
                Series(name="no metadata", trial=partial(_commits, 0)),
                Series(name="metadata of 400 characters", trial=partial(_commits, 400)),
                Series(name="metadata of 4,000 characters", trial=partial(_commits, 4000)),
            ),
        ),
        Sweep(
            name="fleet",
            title="A fleet's start, 200 partitions, on two cores",
            x="consumers",
            y="seconds from the start until each has its share",
            values=(1, 2, 4, 8),
            series=(
                Series(name="classic", trial=partial(balance, "classic"), figure="seconds"),
                Series(name="KIP-848", trial=partial(balance, "consumer"), figure="seconds"),
            ),
        ),
    )
}
"""The sweeps, in the order of the page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the chosen sweeps and returns the exit code: 0, 2 if they cannot be run, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sweeps", description=__doc__)
    parser.add_argument("--sweeps", type=Names(SWEEPS), default=list(SWEEPS), help=f"of {', '.join(SWEEPS)}; all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:.0%}% of the tasks: to see that it works")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the tasks that is run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for sweeps.json")
    options = parser.parse_args(arguments)
    console, measured_on = Console(stderr=True), f"{conditions()}; {busy(os.getloadavg()[:1])}"
    swept: list[Swept] = []
    status = 0
    try:
        scale = QUICK if options.quick else options.scale
        with on_stage(scale=scale, arms=("processor",), say=saying(console)) as stage:
            for name in options.sweeps:
                swept.append(run(SWEEPS[name], stage, options.rounds))  # noqa: PERF401 — an interrupt keeps them
    except (BrokerUnavailable, FetchError) as error:
        console.print(str(error), style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: what was done by then is kept", highlight=False)
        status = 130
    options.out.mkdir(parents=True, exist_ok=True)
    write(Sweeps(conditions=measured_on, swept=swept), options.out / "sweeps.json")
    return status


def write(sweeps: Sweeps, path: Path) -> None:
    """Writes the sweeps that were run, and keeps the earlier figures of the others."""
    known = msgspec.json.decode(path.read_bytes(), type=Sweeps).swept if path.exists() else []
    merged = {swept.name: swept for swept in [*known, *sweeps.swept]}
    ordered = [merged[name] for name in SWEEPS if name in merged]
    encoded = msgspec.json.encode(Sweeps(conditions=sweeps.conditions, swept=ordered))
    path.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())

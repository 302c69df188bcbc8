"""How many tasks per second: the rows that competitors take part in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tests.bench.row import Row, Trials
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio, share
from tests.bench.topics import Load, hottest

WORKERS = 64
OWN_SECONDS = 60.0
COMPETITOR_SECONDS = 3.0
"""The time limit of a competitor. The rate of a slow competitor is measured over this time."""

COMPETITOR_ZIPF_SECONDS = 8.0
"""In this row all tasks should be done: an arm that leaves the busiest session for later looks too fast before."""

BARE = "threads"
"""Not a competitor: the most that the interpreter lets any arm with threads reach."""

AS_HANDED_OVER = ("consume", "processor")


def nothing(stage: Stage) -> Load:
    """Return the load of the rows with a thousand sessions: far more than the client fetches ahead."""
    return Load(name="nothing", records=stage.tasks(2_000_000))


def avro(stage: Stage) -> Load:
    return Load(name="avro", records=stage.tasks(1_000_000), value_format="avro")


def one_partition(stage: Stage) -> Load:
    return Load(name="one-partition", records=stage.tasks(25_600, 2_000), partitions=1, sessions=200)


def zipf(stage: Stage) -> Load:
    return Load(name="zipf", records=stage.tasks(4_000, 1_000), spreading="zipf")


def many_sessions(stage: Stage) -> Load:
    return Load(name="many-sessions", records=stage.tasks(80_000, 10_000), sessions=10_000)


def _trial(stage: Stage, load: Load, arm: str, tasks: int, handler: str, seconds: float, limit: float) -> Figures:
    topic = stage.topic(load)
    # The same job serves all arms: competitors do not read the processor's settings, nor it those of the client.
    value_format = {"value_format": load.value_format}
    job = stage.job(topic, tasks, workers=WORKERS, handler=handler, seconds=seconds, limit=limit, settings=value_format)
    return stage.run(arm, job)


def _trials(
    load: Load,
    stage: Stage,
    *,
    tasks: int,
    arms: Sequence[str],
    seconds: float = 0.0,
    limit: float = COMPETITOR_SECONDS,
) -> Trials:
    handler = "sleep" if seconds else "nothing"
    return {
        arm: partial(_trial, stage, load, arm, tasks, handler, seconds, OWN_SECONDS if arm in AS_HANDED_OVER else limit)
        for arm in arms
    }


def _rates(stage: Stage) -> list[Measure]:
    return [Measure(name=arm, unit="records/s", of=figure(arm)) for arm in stage.arms]


def _workers_only(stage: Stage) -> list[str]:
    return [arm for arm in stage.arms if arm != "consume"]


def _async_trials(stage: Stage) -> Trials:
    load = many_sessions(stage)

    def run() -> Figures:
        job = stage.job(stage.topic(load), load.records, handler="sleep_async", seconds=0.1, settings={"workers": 2000})
        return stage.run("processor", job)

    return {"processor": run}


def _zipf_bound(stage: Stage) -> float:
    """Return the tasks per second that ordering permits: the busiest session's tasks run one after the other."""
    load = zipf(stage)
    return min(WORKERS / 0.01, load.records / hottest(load) / 0.01)


NOTHING = Row(
    name="nothing",
    shared=True,
    work="no-op, `bytes`, `-w 64`",
    trials=lambda stage: _trials(nothing(stage), stage, tasks=nothing(stage).records, arms=stage.arms),
    measures=lambda stage: [
        *_rates(stage),
        Measure(name="CPU of processor", unit="µs a record", of=figure("processor", "cpu_us")),
        Measure(name="CPU of consume", unit="µs a record", of=figure("consume", "cpu_us")),
        Measure(name="processor / consume()", of=ratio("processor", "consume"), at_least=0.25),
    ],
)

AVRO = Row(
    name="avro",
    shared=True,
    work="no-op, `avro` task with a JSON payload",
    trials=lambda stage: _trials(
        avro(stage), stage, tasks=avro(stage).records, arms=[arm for arm in AS_HANDED_OVER if arm in stage.arms]
    ),
    measures=lambda _: [
        Measure(name="processor", unit="records/s", of=figure("processor")),
        Measure(name="processor / consume()", of=ratio("processor", "consume"), at_least=0.07),
    ],
)

ONE_MILLISECOND = Row(
    name="1ms",
    shared=True,
    work="1 ms sleep, `-w 64`",
    trials=lambda stage: _trials(
        nothing(stage),
        stage,
        tasks=stage.tasks(256_000, 5_000),
        arms=[*_workers_only(stage), BARE],
        seconds=0.001,
    ),
    measures=lambda stage: [
        *_rates(stage),
        Measure(name="threads that only sleep", unit="records/s", of=figure(BARE)),
        Measure(name="processor to threads that only sleep", of=ratio("processor", BARE)),
        Measure(name="processor of 64,000/s", of=share("processor", 64_000), at_least=0.75),
    ],
)

TEN_MILLISECONDS = Row(
    name="10ms",
    shared=True,
    work="10 ms sleep, `-w 64`, one partition, 200 sessions",
    trials=lambda stage: _trials(
        one_partition(stage), stage, tasks=one_partition(stage).records, arms=_workers_only(stage), seconds=0.01
    ),
    measures=lambda stage: [
        *_rates(stage),
        Measure(name="processor of 6,400/s", of=share("processor", 6_400), at_least=0.97),
    ],
)

ZIPF = Row(
    name="zipf",
    shared=True,
    work="10 ms sleep, sessions by Zipf(1.0)",
    trials=lambda stage: _trials(
        zipf(stage),
        stage,
        tasks=zipf(stage).records,
        arms=_workers_only(stage),
        seconds=0.01,
        limit=COMPETITOR_ZIPF_SECONDS,
    ),
    measures=lambda stage: [
        *_rates(stage),
        Measure(
            name=f"processor of {_zipf_bound(stage):,.0f}/s", of=share("processor", _zipf_bound(stage)), at_least=0.95
        ),
    ],
)

ASYNC = Row(
    name="async",
    work="100 ms async sleep, `-w 2000`, 10,000 sessions",
    trials=_async_trials,
    measures=lambda _: [
        Measure(name="processor", unit="records/s", of=figure("processor")),
        Measure(name="processor of 20,000/s", of=share("processor", 20_000), at_least=0.85),
    ],
)

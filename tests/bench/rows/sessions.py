"""How one session affects the others, and the cost of many sessions."""

from __future__ import annotations

from functools import partial

from tests.bench.row import Row, Trials
from tests.bench.rows.throughput import nothing
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio
from tests.bench.topics import Load
from tests.support.cluster import end_offsets

STUCK_SECONDS = 600.0
LINGER_SECONDS = 2.0


def _others(stage: Stage, hot_every: int) -> Load:
    name = "hot" if hot_every else "without-hot"
    return Load(name=name, records=stage.tasks(128_000, 8_000), hot_every=hot_every)


def _beside(stage: Stage, hot_every: int) -> Figures:
    # The number of tasks of other sessions outside partition 0, the hot session's. It is the same in both topics, since
    # these sessions have the same keys in both.
    without = stage.topic(_others(stage, 0))
    tasks = sum(end for number, end in end_offsets(stage.servers, without).items() if number)
    topic = stage.topic(_others(stage, hot_every))
    return stage.run("processor", stage.job(topic, tasks, handler="beside_a_hot_session", seconds=0.002))


HOT = Row(
    name="hot",
    work="half of all tasks in one session (2 ms)",
    trials=lambda stage: {"with": partial(_beside, stage, 1), "without": partial(_beside, stage, 0)},
    measures=lambda _: [
        Measure(name="others, other partitions", unit="records/s", of=figure("with")),
        Measure(
            name="others, its own partition, to the run without",
            of=lambda one: (
                (one["with"]["in_its_partition"] / one["with"]["seconds"])
                / (one["without"]["in_its_partition"] / one["without"]["seconds"])
            ),
            at_least=0.7,
        ),
        Measure(name="others, other partitions, to the run without", of=ratio("with", "without"), at_least=0.9),
    ],
)


def _stuck(stage: Stage, seconds: float) -> Figures:
    load = Load(name="stuck", records=stage.tasks(1_000_000), partitions=1, stuck=True)
    # With the default timeout, the stuck task would be interrupted during the run.
    job = stage.job(
        stage.topic(load), load.records, handler="stick", seconds=seconds, settings={"timeout": STUCK_SECONDS}
    )
    return stage.run("processor", job)


STUCK = Row(
    name="stuck",
    work="one stuck task, 1,000,000 behind it",
    trials=lambda stage: {"with": partial(_stuck, stage, STUCK_SECONDS), "without": partial(_stuck, stage, 0.0)},
    measures=lambda _: [
        Measure(name="behind the stuck task", unit="records/s", of=figure("with")),
        Measure(name="to the run without", of=ratio("with", "without"), at_least=0.9),
    ],
)


def _million_trials(stage: Stage) -> Trials:
    million = Load(name="once-each", records=stage.tasks(1_000_000), spreading="once each")

    def run(load: Load) -> Figures:
        return stage.run("processor", stage.job(stage.topic(load), million.records, linger=LINGER_SECONDS))

    return {"a million": partial(run, million), "a thousand": partial(run, nothing(stage))}


MILLION = Row(
    name="million",
    work="a million sessions once each",
    trials=_million_trials,
    measures=lambda _: [
        Measure(name="a million sessions", unit="records/s", of=figure("a million")),
        Measure(name="to a thousand sessions", of=ratio("a million", "a thousand"), at_least=0.7),
        Measure(name="RSS at its start", unit="MB", of=figure("a million", "rss_start_mb")),
        Measure(name="RSS after it", unit="MB", of=figure("a million", "rss_after_mb")),
        Measure(
            name="RSS after it to that after a thousand sessions",
            of=ratio("a million", "a thousand", "rss_after_mb"),
            at_most=1.1,
        ),
    ],
)

"""How a backlog in one partition affects the others, and how evenly backlogs of several partitions are processed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from tests.bench.arms.job import BLOCKS, Job
from tests.bench.row import Row, Trials
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio
from tests.bench.topics import Load

ARMS = ("processor", "pool")
SLEEPING = "threads"
"""The arm whose threads only sleep: the most that the interpreter lets such handlers reach."""

SLEEPING_COROUTINES = "coroutines"
"""The same with coroutines: the most that the event loop lets async handlers reach."""

BACKLOG_SECONDS, SIDE_SECONDS = 0.01, 0.004
QUIET_RATE = 10
"""Tasks per second that are produced to all other partitions together, in addition to the backlog."""

WARM_UP_SECONDS = 2.0


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A variation of the default load; in bytes and seconds."""

    name: str
    partitions: int = 6
    size: int = 120
    records: int = 60_000
    seconds: float = BACKLOG_SECONDS
    workers: int = 32
    is_async: bool = False
    blocked: int = 0
    """How many sessions have a task that does not end. They are in one partition, which gets no other tasks."""
    settings: dict[str, Any] = {}

    def handler(self, name: str) -> str:
        """Return the name of the handler in its variant for threads or for coroutines."""
        return f"{name}_async" if self.is_async else name


CASES = (
    Case(name="200 partitions", partitions=200),
    Case(name="a partition is blocked", blocked=8),
    Case(name="`--max-in-flight 100`", settings={"max_in_flight": 100}),
    Case(name="`--max-in-flight 100000`", settings={"max_in_flight": 100_000}),
    Case(name="50 bytes", size=50),
    Case(name="500 KB, 0.2 s", size=500_000, records=2_400, seconds=0.2),
    Case(name="async", is_async=True),
)


def _beside(stage: Stage, arm: str, case: Case) -> Figures:
    seconds = stage.seconds(15.0, 5.0)
    busy = Load(
        name=f"busy-{time.monotonic_ns()}", records=case.records, partitions=case.partitions, sessions=300,
        size=case.size, into=0, shrinks=False,
    )  # fmt: skip
    second = stage.topic(Load(name=f"second-{time.monotonic_ns()}", records=0, partitions=6))
    topic = stage.topic(busy)
    job = stage.job(
        topic, busy.records, workers=case.workers, handler=case.handler("beside_a_backlog"), seconds=case.seconds,
        limit=seconds, blocked=case.blocked, second_topic=second, settings={"value_format": "bytes", **case.settings},
        path=str(stage.folder / f"begun-{time.monotonic_ns()}"),
    )  # fmt: skip
    return stage.run(arm, job, beside=_quiet(job, case, seconds))


def _quiet(job: Job, case: Case, seconds: float) -> Callable[[], None]:
    """Return a function that waits for the arm's first task, then produces to the quiet partitions in turn.

    These are all partitions except the busy one and the blocked one.
    """
    topic, second, blocked = job.topic, job.second_topic, case.blocked
    quiet = case.partitions - 1 - bool(blocked)

    def produce() -> None:
        producer = Producer({"bootstrap.servers": job.servers, "linger.ms": 0})
        _await_begin(job)
        for number in range(20 * blocked):
            producer.produce(topic, b"b" * BLOCKS, b"b%d" % (number % blocked), 1 + quiet)
        begin = time.monotonic()
        for number in range(int(seconds * QUIET_RATE)):
            time.sleep(max(0.0, begin + number / QUIET_RATE - time.monotonic()))
            where = (topic, 1 + number // 2 % quiet) if number % 2 else (second, number // 2 % 6)
            stamp = time.monotonic_ns().to_bytes(8, "big")
            producer.produce(where[0], stamp, b"q%d" % (number % 100), where[1])
            producer.poll(0)
        producer.flush(10)

    return produce


def _await_begin(job: Job) -> None:
    """Waits until the arm has begun a task, but at most a minute."""
    path, deadline = Path(job.path), time.monotonic() + 60
    while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)


EVEN_CASES = (
    Case(name="200 partitions", partitions=200),
    Case(name="`--max-in-flight 100`", settings={"max_in_flight": 100}),
    Case(name="`--max-in-flight 100000`", settings={"max_in_flight": 100_000}),
    Case(name="50 bytes", size=50),
    Case(name="20 KB", size=20_000),
    Case(name="async", is_async=True),
)


def _side_by_side(stage: Stage, arm: str, case: Case) -> Figures:
    load = Load(
        name=f"side-{case.partitions}-{case.size}", records=13_000 * 6, partitions=case.partitions, sessions=600,
        size=case.size, keyed=False, shrinks=False,
    )  # fmt: skip
    job = stage.job(
        stage.topic(load), stage.tasks(52_000, 12_000), workers=16, handler=case.handler("side_by_side"),
        seconds=SIDE_SECONDS, limit=60.0, turns=6_000, partitions=case.partitions,
        settings={"value_format": "bytes", **case.settings},
    )  # fmt: skip
    return stage.run(arm, job)


def _sleeping(stage: Stage, arm: str = SLEEPING) -> Figures:
    return stage.run(
        arm, stage.job("none", stage.tasks(52_000, 12_000), workers=16, handler="sleep", seconds=SIDE_SECONDS)
    )


def _even(stage: Stage, case: Case) -> Trials:
    arms = {arm: partial(_side_by_side, stage, arm, case) for arm in ARMS if arm in stage.arms}
    return {**arms, SLEEPING: partial(_sleeping, stage)}


def _bytes(stage: Stage, arm: str) -> Figures:
    """Processes the whole load, as the ceiling does, to compare the bytes fetched: nothing should be fetched twice."""
    load = Load(name="side-bytes", records=13_000 * 6, partitions=6, sessions=600, size=1_000, shrinks=False)
    handler = "nothing" if arm == "consume" else "sleep"
    return stage.run(
        arm, stage.job(stage.topic(load), load.records, workers=16, handler=handler, seconds=SIDE_SECONDS, limit=60.0)
    )


def _measures(stage: Stage) -> list[Measure]:
    arms = [arm for arm in ARMS if arm in stage.arms]
    return [
        measure
        for arm in arms
        for measure in (
            Measure(name=f"{arm}: p50 of a quiet task", unit="s", of=figure(arm, "p50_s"), **_at_most(arm, 0.1)),
            Measure(name=f"{arm}: p99", unit="s", of=figure(arm, "p99_s"), **_at_most(arm, 0.5)),
            Measure(name=f"{arm}: the backlog's pace", unit="", of=figure(arm, "pace"), **_at_least(arm, 0.95)),
        )
    ]


def _side_measures(stage: Stage) -> list[Measure]:
    arms = [arm for arm in ARMS if arm in stage.arms]
    return [
        measure
        for arm in arms
        for measure in (
            Measure(name=f"{arm}: least of the mean", unit="", of=figure(arm, "least"), **_at_least(arm, 0.6)),
            Measure(name=f"{arm}: pace", unit="", of=figure(arm, "pace"), **_at_least(arm, 0.95)),
        )
    ] + [Measure(name="processor: rate, to threads that only sleep", of=ratio("processor", SLEEPING))]


Bound = dict[str, float]


def _at_most(arm: str, bound: float) -> Bound:
    return {"at_most": bound} if arm == "processor" else {}


def _at_least(arm: str, bound: float) -> Bound:
    return {"at_least": bound} if arm == "processor" else {}


def _cases(names: Sequence[Case], measures: Mapping[str, tuple[str, Bound]]) -> list[Measure]:
    return [
        Measure(
            name=f"{case.name}: {shown}", unit="s" if name.endswith("_s") else "", of=figure(case.name, name), **bound
        )
        for case in names
        for name, (shown, bound) in measures.items()
    ]


BESIDE = Row(
    name="beside",
    work="10/s to eleven quiet partitions, beside a backlog of 10 ms tasks in one",
    trials=lambda stage: {arm: partial(_beside, stage, arm, Case(name="")) for arm in ARMS if arm in stage.arms},
    measures=_measures,
)
BESIDE_CASES = Row(
    name="beside-cases",
    work="the same, where one thing differs",
    trials=lambda stage: {case.name: partial(_beside, stage, "processor", case) for case in CASES},
    measures=lambda _: _cases(
        CASES,
        {"p50_s": ("p50", {"at_most": 0.1}), "p99_s": ("p99", {"at_most": 0.5}), "pace": ("pace", {"at_least": 0.95})},
    ),
)
EVEN = Row(
    name="even",
    work="six partitions with a backlog of 4 ms tasks each, -w 16",
    trials=lambda stage: _even(stage, Case(name="")),
    measures=_side_measures,
)
EVEN_OF_FIFTY = Row(
    name="even-50",
    work="the same of fifty partitions",
    trials=lambda stage: _even(stage, Case(name="", partitions=50)),
    measures=_side_measures,
)
EVEN_CASES_ROW = Row(
    name="even-cases",
    work="the same of six, where one thing differs",
    trials=lambda stage: {
        **{case.name: partial(_side_by_side, stage, "processor", case) for case in EVEN_CASES},
        SLEEPING_COROUTINES: partial(_sleeping, stage, SLEEPING_COROUTINES),
    },
    measures=lambda _: [
        *_cases(EVEN_CASES, {"least": ("least of the mean", {"at_least": 0.6}), "pace": ("pace", {"at_least": 0.95})}),
        Measure(name="async: rate, to coroutines that only sleep", of=ratio("async", SLEEPING_COROUTINES)),
    ],
)
FETCHED = Row(
    name="fetched",
    work="six partitions with a backlog of 4 ms tasks each, all worked off",
    trials=lambda stage: {arm: partial(_bytes, stage, arm) for arm in ("consume", "processor")},
    measures=lambda _: [
        Measure(name="bytes fetched, to consume()", of=ratio("processor", "consume", "received_mb"), at_most=1.3)
    ],
)

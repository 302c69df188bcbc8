"""What a backlog in one partition costs the others, and how evenly backlogs in several are worked off."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import Producer

from tests.bench.row import Row
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure
from tests.bench.topics import Load

ARMS = ("processor", "pool")
BACKLOG_SECONDS, SIDE_SECONDS = 0.01, 0.004
QUIET_RATE = 10
"""Tasks a second that come beside the backlog, to all other partitions together."""

WARM_UP_SECONDS = 2.0


def _beside(stage: Stage, arm: str) -> Figures:
    seconds = stage.seconds(15.0, 5.0)
    busy = Load(name=f"busy-{time.monotonic_ns()}", records=60_000, partitions=6, sessions=300, size=120, into=0)
    second = stage.topic(Load(name=f"second-{time.monotonic_ns()}", records=0, partitions=6))
    topic = stage.topic(busy)
    job = stage.job(
        topic, busy.records, workers=32, handler="beside_a_backlog", seconds=BACKLOG_SECONDS, limit=seconds,
        second_topic=second, settings={"value_format": "bytes"},
    )  # fmt: skip
    return stage.run(arm, job, beside=_quiet(stage, topic, second, seconds))


def _quiet(stage: Stage, topic: str, second: str, seconds: float) -> Callable[[], None]:
    """Produces to each partition but the busy one in turn, once the arm is at work."""

    def produce() -> None:
        producer = Producer({"bootstrap.servers": stage.servers, "linger.ms": 0})
        time.sleep(START_SECONDS)
        begin = time.monotonic()
        for number in range(int(seconds * QUIET_RATE)):
            time.sleep(max(0.0, begin + number / QUIET_RATE - time.monotonic()))
            where = (topic, 1 + number // 2 % 5) if number % 2 else (second, number // 2 % 6)
            stamp = time.monotonic_ns().to_bytes(8, "big")
            producer.produce(where[0], stamp, b"q%d" % (number % 100), where[1])
            producer.poll(0)
        producer.flush(10)

    return produce


START_SECONDS = 4.0
"""More than an arm takes to join."""


def _side_by_side(stage: Stage, arm: str, partitions: int) -> Figures:
    records = 13_000 * 6
    load = Load(name=f"side-{partitions}", records=records, partitions=partitions, sessions=600, size=120, keyed=False)
    job = stage.job(
        stage.topic(load), stage.tasks(52_000, 12_000), workers=16, handler="side_by_side", seconds=SIDE_SECONDS,
        limit=60.0, turns=6_000, partitions=partitions, settings={"value_format": "bytes"},
    )  # fmt: skip
    return stage.run(arm, job)


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
    ]


def _at_most(arm: str, bound: float) -> dict[str, float]:
    return {"at_most": bound} if arm == "processor" else {}


def _at_least(arm: str, bound: float) -> dict[str, float]:
    return {"at_least": bound} if arm == "processor" else {}


BESIDE = Row(
    name="beside",
    work="10/s to eleven quiet partitions, beside a backlog of 10 ms tasks in one",
    trials=lambda stage: {arm: partial(_beside, stage, arm) for arm in ARMS if arm in stage.arms},
    measures=_measures,
)
EVEN = Row(
    name="even",
    work="six partitions with a backlog of 4 ms tasks each, -w 16",
    trials=lambda stage: {arm: partial(_side_by_side, stage, arm, 6) for arm in ARMS if arm in stage.arms},
    measures=_side_measures,
)
EVEN_OF_FIFTY = Row(
    name="even-50",
    work="the same of fifty partitions",
    trials=lambda stage: {arm: partial(_side_by_side, stage, arm, 50) for arm in ARMS if arm in stage.arms},
    measures=_side_measures,
)

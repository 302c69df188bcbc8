"""How long a single record takes from its producer to its handler."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from tests.bench import row
from tests.bench.ends import STAMP
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure
from tests.bench.topics import Load

RATE = 200
START_SECONDS = 4.0
"""Longer than a consumer takes to join; records sent before this are not measured."""


def _measure(stage: Stage) -> Figures:
    # Each measurement has a new topic, which has no older records.
    topic = stage.topic(Load(name=f"lone-{time.monotonic_ns()}", records=0))
    tasks = stage.tasks(2_000, 200)

    def produce() -> None:
        producer = Producer({"bootstrap.servers": stage.servers, "partitioner": "murmur2_random", "linger.ms": 0})
        begin = time.monotonic()
        for number in range(int(START_SECONDS * RATE) + tasks + RATE):
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            stamp = STAMP.pack(time.monotonic_ns())
            producer.produce(topic, stamp, b"s%d" % (number % 1000))
            producer.poll(0)
        producer.flush(10)

    return stage.run("processor", stage.job(topic, tasks, handler="lone", limit=60.0), beside=produce)


LONE = row.Row(
    name="lone",
    work="a lone record, 200/s, produce to handler start",
    trials=lambda stage: {"processor": lambda: _measure(stage)},
    measures=lambda _: [
        Measure(name="p50", unit="ms", of=figure("processor", "p50_ms"), at_most=1.5),
        Measure(name="p99", unit="ms", of=figure("processor", "p99_ms"), at_most=10),
        Measure(name="the longest", unit="ms", of=figure("processor", "max_ms")),
    ],
)

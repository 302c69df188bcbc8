"""How long urgent tasks wait while there is a full backlog, compared with all other tasks."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from tests.bench.row import Row
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure
from tests.bench.topics import Load, fill
from tests.support import cluster

RATE = 200
"""Urgent tasks per second, each in its own session: about one in a hundred of the tasks that the workers run."""

SECONDS = 40.0
"""Longer than a consumer takes to join and to process the backlog. Tasks sent before it begins are not measured."""


def _measure(stage: Stage) -> Figures:
    backlog = Load(name="urgent", records=stage.tasks(200_000, 90_000), size=32)
    topic = stage.name(backlog.name)
    # The broker sets the timestamps, so that the time that a producer waits for a busy broker is not measured.
    cluster.create_topic(stage.servers, topic, backlog.partitions, **{"message.timestamp.type": "LogAppendTime"})
    fill(stage.servers, topic, backlog)

    def produce() -> None:
        producer = Producer({"bootstrap.servers": stage.servers, "partitioner": "murmur2_random", "linger.ms": 0})
        begin = time.monotonic()
        for number in range(int(SECONDS * RATE)):
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            producer.produce(topic, b"", b"u%d" % number, headers=[("task-priority", b"9")])
            producer.poll(0)
        producer.flush(10)

    settings = {"max_in_flight": 2 * backlog.records, "value_format": "bytes"}
    job = stage.job(topic, backlog.records, handler="urgent", seconds=0.001, limit=60.0, settings=settings)
    return stage.run("processor", job, beside=produce)


URGENT = Row(
    name="urgent",
    work="urgent tasks of 1 ms, 200/s, beside a backlog of 200,000 others in flight",
    trials=lambda stage: {"processor": lambda: _measure(stage)},
    measures=lambda _: [
        Measure(name="an urgent task waits, p50", unit="ms", of=figure("processor", "urgent_p50_ms")),
        Measure(name="p99", unit="ms", of=figure("processor", "urgent_p99_ms")),
        Measure(name="the others, mean", unit="ms", of=figure("processor", "others_mean_ms")),
        Measure(name="p99 to that mean", unit="", of=figure("processor", "p99_to_mean"), at_most=0.1),
    ],
)

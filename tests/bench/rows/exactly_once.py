"""The cost and latency of results: committed in a transaction with offsets, compared with acknowledged one by one."""

from __future__ import annotations

import threading
import time
from functools import partial

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.ends import STAMP
from tests.bench.row import Row, Trials
from tests.bench.stage import Stage
from tests.bench.statistics import Figures, Measure, figure, ratio
from tests.bench.topics import Load
from tests.support import cluster

WORKERS = 64
DELIVERIES = ("at-least-once", "exactly-once")

RATE = 200
WARM_UP_SECONDS = 4.0
"""Longer than a consumer takes to join; records sent before this are not measured."""


def _settings(stage: Stage, delivery: str) -> dict[str, object]:
    results = stage.name(f"results-{delivery}")
    cluster.create_topic(stage.servers, results, 8)
    return {"value_format": "bytes", "delivery": delivery, "results_topic": results}


def _rate(stage: Stage, delivery: str, tasks: int, seconds: float) -> Figures:
    topic = stage.topic(Load(name="results", records=stage.tasks(400_000)))
    handler = "answer_later" if seconds else "answer"
    settings = _settings(stage, delivery)
    return stage.run(
        "processor",
        stage.job(topic, tasks, workers=WORKERS, handler=handler, seconds=seconds, limit=60.0, settings=settings),
    )


def _rates(stage: Stage, *, tasks: int, seconds: float) -> Trials:
    return {delivery: partial(_rate, stage, delivery, tasks, seconds) for delivery in DELIVERIES}


class _Reader(threading.Thread):
    """Reads committed results, whose values are the times at which their tasks were produced."""

    def __init__(self, servers: str, topic: str, wanted: int) -> None:
        super().__init__(daemon=True)
        self.latencies: list[float] = []
        """The latencies in milliseconds."""
        self._began = time.monotonic()
        self._wanted = wanted
        config = {"bootstrap.servers": servers, "group.id": "none", "isolation.level": "read_committed"}
        self._consumer = Consumer({**config, "fetch.wait.max.ms": 500, "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(8)])

    def run(self) -> None:
        while len(self.latencies) < self._wanted:
            message = self._consumer.poll(0.1)
            if message is None or message.error() or time.monotonic() - self._began < WARM_UP_SECONDS:
                continue
            value = message.value()
            assert isinstance(value, bytes)
            self.latencies.append((time.monotonic_ns() - STAMP.unpack(value)[0]) / 1e6)
        self._consumer.close()


def _latency(stage: Stage, delivery: str) -> Figures:
    topic = stage.topic(Load(name=f"stamped-{time.monotonic_ns()}", records=0))
    measured, settings = stage.tasks(2_000, 400), _settings(stage, delivery)
    reader = _Reader(stage.servers, str(settings["results_topic"]), measured)
    tasks = measured + int(2 * WARM_UP_SECONDS * RATE)

    def produce() -> None:
        reader.start()
        producer = Producer({"bootstrap.servers": stage.servers, "partitioner": "murmur2_random", "linger.ms": 0})
        begin = time.monotonic()
        for number in range(tasks + RATE):
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            producer.produce(topic, STAMP.pack(time.monotonic_ns()), b"s%d" % (number % 1000))
            producer.poll(0)
        producer.flush(10)

    stage.run("processor", stage.job(topic, tasks, handler="answer", limit=60.0, settings=settings), beside=produce)
    reader.join(10)
    ordered = sorted(reader.latencies)
    return {"p50_ms": ordered[len(ordered) // 2], "p99_ms": ordered[int(0.99 * len(ordered))]}


def _measures(_: Stage) -> list[Measure]:
    return [
        *(Measure(name=delivery, unit="records/s", of=figure(delivery)) for delivery in DELIVERIES),
        Measure(name="exactly-once / at-least-once", of=ratio(*reversed(DELIVERIES)), at_least=0.8),
    ]


RESULTS = Row(
    name="results",
    work="no-op with a result each, `-w 64`",
    trials=lambda stage: _rates(stage, tasks=stage.tasks(400_000), seconds=0.0),
    measures=_measures,
)

RESULTS_ONE_MILLISECOND = Row(
    name="results-1ms",
    work="1 ms sleep with a result each, `-w 64`",
    trials=lambda stage: _rates(stage, tasks=stage.tasks(100_000, 10_000), seconds=0.001),
    measures=_measures,
)

RESULT_LATENCY = Row(
    name="result-latency",
    work="a lone record, 200/s, produce to its committed result",
    trials=lambda stage: {delivery: partial(_latency, stage, delivery) for delivery in DELIVERIES},
    measures=lambda _: [
        Measure(name=f"{delivery}, {name}", unit="ms", of=figure(delivery, f"{name}_ms"))
        for delivery in DELIVERIES
        for name in ("p50", "p99")
    ],
)

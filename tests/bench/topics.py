"""The topics that rows process: each is created and filled once, before the first arm that needs it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Literal

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from processor.codec.messages import Outgoing
from processor.codec.select import codec_for
from tests.support import cluster

Row = tuple[bytes, bytes, int]
"""Key, value and partition."""

BY_KEY = -1
"""The key determines the partition."""

Spreading = Literal["in turn", "zipf", "once each"]

BATCH = 5000

CONFIG = {
    "partitioner": "murmur2_random",
    "acks": "1",
    "linger.ms": 50,
    "batch.num.messages": 10_000,
    "batch.size": 1_000_000,
    # Constant padding compresses to almost nothing, so that the network costs no arm anything.
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "message.max.bytes": 2_000_000,
    "log_level": 0,
}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A topic and its records; sizes in bytes."""

    name: str
    records: int
    partitions: int = 8
    sessions: int = 1000
    spreading: Spreading = "in turn"
    size: int = 256
    value_format: Literal["bytes", "avro"] = "bytes"
    shrinks: bool = True
    """True pads values with a constant, which lz4 compresses about tenfold; False is noise that does not compress."""
    hot_every: int = 0
    """One record in this many is followed by one of the session `hot`, in partition 0; 0 means none."""
    stuck: bool = False
    """Whether the very first record is one of the session `stuck`, in partition 0."""
    into: int = BY_KEY
    """The one partition that all records are produced to."""
    keyed: bool = True
    """False puts session N into partition N modulo the number of partitions, so that all partitions are alike."""


def make(servers: str, topic: str, load: Load) -> None:
    """Creates the topic and fills it."""
    cluster.create_topic(servers, topic, load.partitions)
    fill(servers, topic, load)


def fill(servers: str, topic: str, load: Load) -> None:
    """Produces the records. All records of a session go to one partition, by default that of its key under murmur2."""
    producer = Producer({"bootstrap.servers": servers, **CONFIG})
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    produced = rows(load)
    while batch := list(islice(produced, BATCH)):
        while len(producer) > 400_000:
            producer.poll(0.05)
        for partition, part in sorted(_by_partition(batch).items(), reverse=True):
            producer.produce_batch(topic, part, partition=partition, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(120)
    if left or failed:
        raise RuntimeError(f"{left + len(failed)} records of {topic} could not be produced: {failed[:1]}")


def hottest(load: Load) -> int:
    """Return how many records the busiest session has."""
    counts: dict[int, int] = {}
    for session in _sessions(load):
        counts[session] = counts.get(session, 0) + 1
    return max(counts.values())


def rows(load: Load) -> Iterator[Row]:
    """Yield the records in the order in which they are produced."""
    values = _values(load)
    if load.stuck:
        yield b"stuck", values[0], 0
    for number, session in enumerate(_sessions(load)):
        partition = load.into if load.keyed else session % load.partitions
        yield b"s%d" % session, values[number % len(values)], partition
        if load.hot_every and number % load.hot_every == 0:
            yield b"hot", values[number % len(values)], 0


def _by_partition(batch: list[Row]) -> dict[int, list[dict[str, bytes]]]:
    # `produce_batch` takes one partition for the whole batch, and ignores a partition in a message.
    parts: dict[int, list[dict[str, bytes]]] = {}
    for key, value, partition in batch:
        parts.setdefault(partition, []).append({"key": key, "value": value})
    return parts


def _values(load: Load) -> list[bytes]:
    if load.value_format == "bytes" and not load.shrinks:
        chance = random.Random(1)
        return [chance.randbytes(load.size) for _ in range(1000)]  # repetitions are farther apart than lz4 looks back
    if load.value_format == "bytes":
        return [(b"%012d" % number).ljust(load.size, b"x") for number in range(1000)]
    codec = codec_for("avro", None)
    empty = len(codec.encode_task(Outgoing("s100", {"number": 100, "text": ""}, "charge")) or b"")
    text = "x" * max(0, load.size - empty)
    made = (Outgoing(f"s{n}", {"number": n, "text": text}, "charge") for n in range(1000))
    return [codec.encode_task(outgoing) or b"" for outgoing in made]


def _sessions(load: Load) -> Iterator[int]:
    if load.spreading == "once each":
        yield from range(load.records)
    elif load.spreading == "in turn":
        yield from (number % load.sessions for number in range(load.records))
    else:
        weights = list(accumulate(1 / rank for rank in range(1, load.sessions + 1)))
        yield from random.Random(1).choices(range(load.sessions), cum_weights=weights, k=load.records)

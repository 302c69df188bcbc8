"""FastStream on aiokafka, at least once: it runs at most as many tasks at a time as there are partitions."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from tests.bench.arms.job import Clock, Counted, Job

PARTITIONS = 8


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"faststream {version('faststream')}, aiokafka {version('aiokafka')}"
    handle = Counted(job, clock)
    broker = KafkaBroker(job.servers, logger=None)
    common: dict[str, Any] = {
        "group_id": job.group,
        "auto_offset_reset": "earliest",
        "ack_policy": AckPolicy.NACK_ON_ERROR,
    }
    if job.seconds:

        @broker.subscriber(job.topic, max_workers=PARTITIONS, **common)
        async def one(body: bytes) -> None:
            await handle.run_async()

    else:

        @broker.subscriber(job.topic, batch=True, max_records=500, **common)
        async def many(bodies: list[bytes]) -> None:
            for _ in bodies:
                handle()

    asyncio.run(FastStream(broker, logger=None).run())


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    main()

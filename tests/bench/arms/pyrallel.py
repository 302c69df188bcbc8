"""pyrallel-consumer: coroutines in its key_hash order, with as many tasks in flight as there are workers."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version

from pyrallel_consumer import (
    ExecutionConfig,
    ExecutionMode,
    KafkaConfig,
    OrderingMode,
    ParallelConsumerConfig,
    PyrallelConsumer,
)

from tests.bench.arms.job import Clock, Counted, Job


async def consume() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"pyrallel-consumer {version('pyrallel-consumer')}, confluent-kafka {version('confluent-kafka')}"
    config = KafkaConfig(
        BOOTSTRAP_SERVERS=[job.servers],
        CONSUMER_GROUP=job.group,
        dlq_enabled=False,
        parallel_consumer=ParallelConsumerConfig(
            ordering_mode=OrderingMode.KEY_HASH,
            execution=ExecutionConfig(mode=ExecutionMode.ASYNC, max_in_flight=job.workers),
        ),
    )
    await PyrallelConsumer(config, Counted(job, clock).run_async, job.topic).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    asyncio.run(consume())

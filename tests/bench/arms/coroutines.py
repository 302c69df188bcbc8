"""Coroutines that only sleep, without Kafka: the most that asyncio's own event loop lets such handlers reach."""

from __future__ import annotations

import asyncio

from tests.bench.arms.job import Clock, Counted, Job


async def work(handle: Counted, coroutines: int) -> None:
    """Runs handlers one after the other in each of the coroutines, until the clock ends the process."""

    async def run() -> None:
        while True:
            await handle.run_async()

    await asyncio.gather(*(run() for _ in range(coroutines)))


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = "asyncio.sleep"
    asyncio.run(work(Counted(job, clock), job.workers))


if __name__ == "__main__":
    main()

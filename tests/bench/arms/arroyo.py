"""Sentry's Arroyo: a thread pool without ordering; tasks of one session overlap."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from arroyo.backends.kafka import KafkaConsumer
from arroyo.processing.processor import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategy, RunTask, RunTaskInThreads
from arroyo.processing.strategies.abstract import ProcessingStrategyFactory
from arroyo.types import Commit, Partition, Topic

from tests.bench.arms.job import Clock, Counted, Job


class Strategies(ProcessingStrategyFactory[Any]):  # type: ignore[misc]  # not installed where this is checked
    def __init__(self, job: Job, handle: Counted) -> None:
        self._job = job
        self._handle = handle

    def create_with_partitions(self, commit: Commit, partitions: Mapping[Partition, int]) -> ProcessingStrategy[Any]:
        last = CommitOffsets(commit)
        if self._job.seconds:
            return RunTaskInThreads(self._handle, self._job.workers, self._job.workers * 10, last)
        return RunTask(self._handle, last)  # tasks that do nothing are faster without threads


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"sentry-arroyo {version('sentry-arroyo')}, confluent-kafka {version('confluent-kafka')}"
    fetching = {key: value for key, value in job.client.items() if key.startswith(("fetch.", "queued."))}
    consumer = KafkaConsumer(
        {
            "bootstrap.servers": job.servers,
            "group.id": job.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "log_level": 0,
            **fetching,
        }
    )
    StreamProcessor(consumer, Topic(job.topic), Strategies(job, Counted(job, clock))).run()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    main()

"""Quix Streams: one task at a time in partition order; it has no workers."""

from __future__ import annotations

import tempfile
from importlib.metadata import version

from quixstreams import Application

from tests.bench.arms.job import Clock, Counted, Job


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"quixstreams {version('quixstreams')}, confluent-kafka {version('confluent-kafka')}"
    handle = Counted(job, clock)
    fetching = {key: value for key, value in job.client.items() if key.startswith(("fetch.", "queued."))}
    application = Application(
        broker_address=job.servers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        consumer_extra_config=fetching,
        loglevel="ERROR",
        state_dir=tempfile.mkdtemp(prefix="processor-bench-quix-"),
        auto_create_topics=False,
    )
    frame = application.dataframe(application.topic(job.topic, value_deserializer="bytes", key_deserializer="bytes"))
    frame.update(handle)
    application.run()


if __name__ == "__main__":
    main()

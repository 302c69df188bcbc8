"""The ceiling: the client's own `consume` with the processor's client settings, and no handler."""

from __future__ import annotations

import confluent_kafka

from tests.bench.arms.job import Clock, Job


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"confluent-kafka {confluent_kafka.__version__}"
    consumer = confluent_kafka.Consumer({**job.client, "group.id": job.group, "enable.partition.eof": False})
    consumer.subscribe([job.topic])
    count = 0
    while count < job.tasks:
        messages = consumer.consume(500, 0.5)
        if messages and not count:
            clock.begin()
        count += len(messages)
    clock.end(count)


if __name__ == "__main__":
    main()

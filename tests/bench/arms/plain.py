"""A plain loop over confluent-kafka: one record after the other, one commit per batch. It keeps a partition's order."""

from __future__ import annotations

import confluent_kafka

from tests.bench.arms.job import Clock, Counted, Job


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"confluent-kafka {confluent_kafka.__version__}"
    handle = Counted(job, clock)
    consumer = confluent_kafka.Consumer({**job.client, "group.id": job.group, "enable.partition.eof": False})
    consumer.subscribe([job.topic])
    while True:
        messages = consumer.consume(500, 0.1)
        for message in messages:
            if message.error() is None:
                handle(message)
        if messages:
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()

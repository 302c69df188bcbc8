"""How many offset commits per second one group coordinator handles, from a client that does nothing else."""

from __future__ import annotations

import time

import confluent_kafka

from tests.bench.arms.job import Job, tell

PARTITIONS = 8
UNDER_WAY = 500


def main() -> None:
    job = Job.from_environment()
    ended = 0

    def on_commit(error: confluent_kafka.KafkaError | None, _: list[confluent_kafka.TopicPartition]) -> None:
        nonlocal ended
        if error is not None:
            raise confluent_kafka.KafkaException(error)
        ended += 1

    consumer = confluent_kafka.Consumer({**job.client, "group.id": job.group, "on_commit": on_commit})
    consumer.assign([confluent_kafka.TopicPartition(job.topic, number, 0) for number in range(PARTITIONS)])
    metadata = "x" * int(job.seconds)
    _commit(consumer, job, 1, metadata)
    while not ended:
        consumer.poll(0.1)
    begin = time.perf_counter()
    begun = ended
    for number in range(job.tasks):
        _commit(consumer, job, number, metadata)
        while begun + number - ended > UNDER_WAY:
            consumer.poll(0.01)
    while ended < begun + job.tasks:
        consumer.poll(0.01)
    seconds = time.perf_counter() - begin
    tell({"rate": job.tasks / seconds}, f"confluent-kafka {confluent_kafka.__version__}")


def _commit(consumer: confluent_kafka.Consumer, job: Job, offset: int, metadata: str) -> None:
    positions = [confluent_kafka.TopicPartition(job.topic, number, offset, metadata) for number in range(PARTITIONS)]
    consumer.commit(offsets=positions, asynchronous=True)


if __name__ == "__main__":
    main()

"""A thread pool with a barrier after each batch, as most hand-written consumers have: it waits for the busiest session.

It keeps each session's order: the records of one session in a batch are one unit of work.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import confluent_kafka

from tests.bench.arms.job import BesideABacklog, Clock, Counted, Job, SideBySide


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"confluent-kafka {confluent_kafka.__version__}"
    handle = Counted(job, clock)
    pool = ThreadPoolExecutor(job.workers)

    beside, even = BesideABacklog(job, clock), SideBySide(job, clock)

    def work_off(messages: list[confluent_kafka.Message]) -> None:
        for message in messages:
            if job.handler == "beside_a_backlog":
                beside(message.value() or b"")
            elif job.handler == "side_by_side":
                even(message.partition() or 0)
            else:
                handle(message)

    consumer = confluent_kafka.Consumer({**job.client, "group.id": job.group, "enable.partition.eof": False})
    consumer.subscribe([topic for topic in (job.topic, job.second_topic) if topic])
    while True:
        sessions = defaultdict(list)
        for message in consumer.consume(5000, 0.1):
            if message.error() is None:
                sessions[message.key()].append(message)
        if sessions:
            list(pool.map(work_off, sessions.values()))
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()

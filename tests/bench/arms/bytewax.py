"""Bytewax: a dataflow that sends each session to one of its workers. It commits nothing to the group."""

from __future__ import annotations

from importlib.metadata import version

import bytewax.operators as op
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, cluster_main

from tests.bench.arms.job import Clock, Counted, Job


def main() -> None:
    job = Job.from_environment()
    clock = Clock(job)
    clock.versions = f"bytewax {version('bytewax')}, confluent-kafka {version('confluent-kafka')}"
    handle = Counted(job, clock)
    fetching = {key: value for key, value in job.client.items() if key.startswith(("fetch.", "queued."))}

    def work(state: None, message: object) -> tuple[None, None]:
        handle(message)
        return None, None

    flow = Dataflow("bench")
    records = kafka.input("in", flow, brokers=[job.servers], topics=[job.topic], add_config=fetching).oks
    sessions = op.key_on("session", records, lambda message: (message.key or b"").decode())
    done = op.stateful_map("work", sessions, work)
    op.output("out", op.filter("nothing", done, lambda _: False), TestingSink([]))
    # Tasks that do nothing are faster on one worker.
    cluster_main(flow, [], 0, worker_count_per_proc=job.workers if job.seconds else 1)


if __name__ == "__main__":
    main()

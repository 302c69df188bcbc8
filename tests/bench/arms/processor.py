"""This project: one consumer as a fleet runs it, with its deadlines, retries, flow control, statistics and log."""

from __future__ import annotations

import processor
from processor.boot.in_process import run_in_process
from processor.fleet.member import collect_garbage_less_often
from processor.kafka.config import client_versions
from processor.processor import Processor
from processor.runtime.consumer import Consumer
from processor.settings import Settings
from processor.telemetry import logs
from tests.bench import handlers


def main() -> None:
    job, clock = handlers.JOB, handlers.CLOCK
    clock.versions = f"processor {processor.__version__}, confluent-kafka {client_versions()[0]}"
    settings = Settings(
        topics=(job.topic, job.second_topic) if job.second_topic else (job.topic,),
        group=job.group,
        bootstrap_servers=job.servers,
        **{"workers": job.workers, "value_format": "bytes", **job.settings},
    )
    logs.configure("json", "info")
    collect_garbage_less_often()  # as in each process of `processor run`

    def watch(consumer: Consumer) -> None:
        # Uses the engine's own count of settled tasks: counting in the handler would be noticeable at this speed.
        if not handlers.COUNTS_ITSELF:
            clock.watch(lambda: consumer._desk.counts.settled, lambda: {"commits": consumer._desk.counts.commits})

    run_in_process(Processor.of(handlers.chosen()), settings, emit=logs.emitter(consumer=0), on_consumer=watch)


if __name__ == "__main__":
    main()

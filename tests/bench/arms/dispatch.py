"""`Dispatcher.submit`: how long a burst of 2,000 tasks takes, and the sustained rate."""

from __future__ import annotations

import time

import processor
from processor import Dispatcher
from processor.kafka.config import client_versions
from tests.bench.arms.job import Job, tell

BURST = 2000


def main() -> None:
    job = Job.from_environment()
    payload = {"cents": 1200, "currency": "EUR", "note": "x" * 150}
    sessions = [f"s{number}" for number in range(1000)]
    with Dispatcher(job.servers, job.topic) as dispatcher:
        dispatcher.submit("warm", payload, "charge").result(30)  # from here on the client knows the topic's leaders
        begin = time.perf_counter()
        for number in range(BURST):
            dispatcher.submit(sessions[number % 1000], payload, "charge")
        handed_over = time.perf_counter()
        dispatcher.flush(30)
        again = time.perf_counter()
        for number in range(job.tasks):
            dispatcher.submit(sessions[number % 1000], payload, "charge")
        unacknowledged = dispatcher.flush(60)
        seconds = time.perf_counter() - again
    figures = {"burst_ms": (handed_over - begin) * 1e3, "rate": (job.tasks - unacknowledged) / seconds}
    tell(figures, f"processor {processor.__version__}, confluent-kafka {client_versions()[0]}")


if __name__ == "__main__":
    main()

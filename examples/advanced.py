"""A load of 2,000 tasks over 100 sessions on 10 workers, and what it comes to.

    python examples/advanced.py                       on an embedded broker
    python examples/advanced.py localhost:9092        on yours: makes tasks in the topic `orders`

It sends the tasks with a `Dispatcher`, runs a `Processor` with several kinds of tasks in this process until all of them
are settled, and prints figures. It exits with 1 when a session's order was not kept or a task is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from processor import Dispatcher, Processor, Reject, Task
from processor.kafka.embedded import EmbeddedBroker

WORKERS, SESSIONS, TASKS = 10, 100, 2000

app = Processor()


class Run(NamedTuple):
    """One attempt, for the figures."""

    session: str
    number: int
    worker: str
    began: float
    ended: float
    succeeded: bool


runs: list[Run] = []  # one process, and `append` is atomic


@contextlib.contextmanager
def noted(task: Task) -> Iterator[None]:
    began, succeeded = time.monotonic(), False
    try:
        yield
        succeeded = True
    finally:
        name = threading.current_thread().name
        runs.append(Run(task.session_id, task.payload["number"], name, began, time.monotonic(), succeeded))


# A timeout and a number of attempts of its own: payments may take long, and a second attempt is worth it.
@app.task("charge", timeout=5, max_attempts=5)
def charge(task: Task) -> dict[str, Any]:
    with noted(task):
        time.sleep(0.02)
        if task.payload["number"] % 50 == 7 and task.attempt == 1:
            raise ConnectionError("the bank does not answer")  # tried again after a pause; only this session waits
        if task.payload["cents"] == 0:
            raise Reject("nothing to charge")  # a dead letter at once
        return {"charged": task.payload["cents"]}  # to the results topic


# A handler may be async: the others do not wait for it.
@app.task("notify")
async def notify(task: Task) -> None:
    with noted(task):
        await asyncio.sleep(min(0.01, task.remaining()))


@app.default
def anything_else(task: Task) -> None:
    with noted(task):
        time.sleep(0.005)


def tasks() -> Iterator[tuple[str, str, dict[str, int]]]:
    names = ("charge", "notify", "log")
    for number in range(TASKS):
        session = f"customer-{number % SESSIONS:03d}"
        yield session, names[number // SESSIONS % 3], {"number": number, "cents": 0 if number == 1234 else 100 + number}


def produce(bootstrap_servers: str, topic: str) -> None:
    began = time.monotonic()
    with Dispatcher(bootstrap_servers, topic, value_format="json") as dispatcher:
        sent = [dispatcher.submit(session, payload, name=name) for session, name, payload in tasks()]
        dispatcher.flush()
        partitions = Counter(future.result(timeout=30).partition for future in sent)
    print(f"sent          {TASKS:,} tasks to {len(partitions)} partitions in {time.monotonic() - began:.2f} s")


def report() -> bool:
    """Prints the figures; whether every task was done or given up, in its session's order."""
    seconds = max(run.ended for run in runs) - min(run.began for run in runs)
    waits = sorted(run.began - min(run.began for run in runs) for run in runs)
    times = [run.ended - run.began for run in runs]
    by_worker = Counter(run.worker for run in runs if run.worker != "event-loop")  # where async handlers run
    sessions = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.began):
        sessions[run.session].append(run)
    ordered = all(
        earlier.ended <= later.began and earlier.number <= later.number
        for session in sessions.values()
        for earlier, later in itertools.pairwise(session)
    )
    done = Counter(run.number for run in runs if run.succeeded)
    once = len(done) == TASKS - 1 and set(done.values()) == {1}  # one was rejected
    quantiles = statistics.quantiles(times, n=100)
    print(f"done          {len(done):,} once each: {once}; {len(runs) - len(done)} attempts failed or were rejected")
    print(f"order         kept in {len(sessions)} sessions, without overlap: {ordered}")
    print(f"throughput    {len(done) / seconds:,.0f} tasks/s over {seconds:.2f} s")
    print(f"in the queue  p50 {waits[len(waits) // 2]:.2f} s, p99 {waits[len(waits) * 99 // 100]:.2f} s")
    print(f"running       p50 {quantiles[49] * 1000:.0f} ms, p99 {quantiles[98] * 1000:.0f} ms")
    mean = by_worker.total() / WORKERS
    least, most = min(by_worker.values()) / mean - 1, max(by_worker.values()) / mean - 1
    print(f"workers       {len(by_worker)}, {mean:.0f} plain tasks each on the average ({least:+.0%} to {most:+.0%})")
    return ordered and once


def main() -> int:
    parser = argparse.ArgumentParser(description="2,000 tasks of 100 sessions on 10 workers")
    parser.add_argument("bootstrap_servers", nargs="?", help="a broker; without one an embedded broker is started")
    parser.add_argument("--topic", default="orders", help="must exist on your broker and hold nothing else")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        servers = arguments.bootstrap_servers
        if servers is None:
            broker = stack.enter_context(EmbeddedBroker())
            servers, topics = broker.bootstrap_servers, [arguments.topic, f"{arguments.topic}.dlq", "results"]
            broker.create_topics(topics)
        produce(servers, arguments.topic)
        exit_code = app.run(
            arguments.topic,
            group=f"advanced-{uuid.uuid4().hex[:8]}",
            bootstrap_servers=servers,
            workers=WORKERS,
            value_format="json",
            results_topic="results",
            backoff=0.1,
            stop_at_end=True,
            log_level="warning",
        )
    return exit_code or (0 if report() else 1)


if __name__ == "__main__":
    sys.exit(main())

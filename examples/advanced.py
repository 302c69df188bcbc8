"""A load of 2,000 tasks over 100 sessions on 10 workers, with a report.

    python examples/advanced.py                       on an embedded broker
    python examples/advanced.py localhost:9092        on your broker: produces tasks to the topic `orders`

The program sends the tasks with a `Dispatcher` and runs a `Processor` with several kinds of tasks in this process until
all are settled. It prints statistics, and exits with 1 if a session's order was violated or a task is missing.
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
    """One attempt, for the statistics."""

    session: str
    number: int
    worker: str
    began: float
    ended: float
    succeeded: bool


runs: list[Run] = []  # shared by the worker threads: `append` is atomic


@contextlib.contextmanager
def recorded(task: Task) -> Iterator[None]:
    began, succeeded = time.monotonic(), False
    try:
        yield
        succeeded = True
    finally:
        name = threading.current_thread().name
        runs.append(Run(task.session_id, task.payload["number"], name, began, time.monotonic(), succeeded))


# This handler has its own time limit and number of attempts: payments may be slow, and retries are worthwhile.
@app.task("charge", timeout=5, max_attempts=5)
def charge(task: Task) -> dict[str, Any]:
    with recorded(task):
        time.sleep(0.02)
        if task.payload["number"] % 50 == 7 and task.attempt == 1:
            raise ConnectionError("the bank does not respond")  # retried after a delay; only this session waits
        if task.payload["cents"] == 0:
            raise Reject("nothing to charge")  # dead-lettered without a retry
        return {"charged": task.payload["cents"]}  # sent to the results topic


# A handler may be async. It blocks none of the others.
@app.task("notify")
async def notify(task: Task) -> None:
    with recorded(task):
        await asyncio.sleep(min(0.01, task.remaining()))


@app.default
def anything_else(task: Task) -> None:
    with recorded(task):
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
    """Prints statistics. Return whether every task succeeded or was rejected, in its session's order."""
    seconds = max(run.ended for run in runs) - min(run.began for run in runs)
    waits = sorted(run.began - min(run.began for run in runs) for run in runs)
    times = [run.ended - run.began for run in runs]
    by_worker = Counter(run.worker for run in runs if run.worker != "event-loop")  # async handlers run there
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
    print(f"succeeded     {len(done):,} once each: {once}; {len(runs) - len(done)} attempts failed or were rejected")
    print(f"order         kept in {len(sessions)} sessions, without overlap: {ordered}")
    print(f"throughput    {len(done) / seconds:,.0f} tasks/s over {seconds:.2f} s")
    print(f"queueing      p50 {waits[len(waits) // 2]:.2f} s, p99 {waits[len(waits) * 99 // 100]:.2f} s")
    print(f"execution     p50 {quantiles[49] * 1000:.0f} ms, p99 {quantiles[98] * 1000:.0f} ms")
    mean = by_worker.total() / WORKERS
    least, most = min(by_worker.values()) / mean - 1, max(by_worker.values()) / mean - 1
    print(f"workers       {len(by_worker)}, {mean:.0f} non-async tasks each on average ({least:+.0%} to {most:+.0%})")
    return ordered and once


def main() -> int:
    parser = argparse.ArgumentParser(description="2,000 tasks of 100 sessions on 10 workers")
    parser.add_argument("bootstrap_servers", nargs="?", help="brokers; default: an embedded broker")
    parser.add_argument("--topic", default="orders", help="topic, which must exist on your broker and be empty")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        servers, group_protocol = arguments.bootstrap_servers, "classic"
        if servers is None:
            group_protocol = "consumer"  # a classic group would wait for three seconds there
            broker = stack.enter_context(EmbeddedBroker())
            servers, topics = broker.bootstrap_servers, [arguments.topic, f"{arguments.topic}.dlq", "results"]
            broker.create_topics(topics)
        produce(servers, arguments.topic)
        exit_code = app.run(
            arguments.topic,
            group=f"advanced-{uuid.uuid4().hex[:8]}",
            bootstrap_servers=servers,
            group_protocol=group_protocol,
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

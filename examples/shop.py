"""A shop with slow and failing tasks, to try out monitoring. docker-compose.yml runs both parts.

To run them by hand, start a Kafka that has the topic `orders`, such as that of `make kafka`:

    processor run examples.shop:app -b localhost:9092 -t orders -g shop --value-format json
    python examples/shop.py localhost:9092 --rate 100        produces orders until Ctrl-C

Most tasks take a few milliseconds. Some fail and are retried, and a few are dead-lettered. The tasks of one customer
take 15 seconds each, but other customers in the same partition do not wait for them.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from processor import Dispatcher, Processor, Reject, Task

app = Processor()
SLOW_CUSTOMER = "customer-007"


@app.task("charge", timeout=20)
def charge(task: Task) -> dict[str, Any]:
    time.sleep(15 if task.session_id == SLOW_CUSTOMER else random.expovariate(200))
    if task.payload["cents"] == 0:
        raise Reject("nothing to charge")
    if random.random() < 0.02:
        raise ConnectionError("the bank does not respond")
    return {"charged": task.payload["cents"]}


@app.task("ship")
def ship(_: Task) -> None:
    time.sleep(random.expovariate(100))
    if random.random() < 0.01:
        raise TimeoutError("the warehouse does not respond")


def orders(sessions: int) -> Iterator[tuple[str, str, dict[str, int]]]:
    for number in itertools.count():
        session = f"customer-{random.randrange(sessions):03d}"
        yield session, "charge", {"number": number, "cents": 0 if number % 997 == 996 else random.randint(100, 9999)}
        yield session, "ship", {"number": number}


def main() -> int:
    parser = argparse.ArgumentParser(description="produces orders at a steady rate")
    parser.add_argument("bootstrap_servers", nargs="?", default="localhost:9092")
    parser.add_argument("--topic", default="orders")
    parser.add_argument("--rate", type=float, default=100, metavar="TASKS", help="tasks per second")
    parser.add_argument("--sessions", type=int, default=200, metavar="CUSTOMERS", help="number of customers")
    parser.add_argument("--tasks", type=int, metavar="TASKS", help="stop after this many tasks; default: never")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    began = time.monotonic()
    with Dispatcher(arguments.bootstrap_servers, arguments.topic, value_format="json") as dispatcher:
        for sent, (session, name, payload) in enumerate(itertools.islice(orders(arguments.sessions), arguments.tasks)):
            dispatcher.submit(session, payload, name=name)
            time.sleep(max(0.0, began + sent / arguments.rate - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

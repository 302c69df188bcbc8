"""An order as a group: stock, payment and parcel are worked on at the same time, and it ships when all are done.

The session of each task is the resource that only one task may use at a time: the article, the customer, the warehouse.

The topic `orders` must exist: `make kafka` and docker-compose.yml create it.

    processor run examples.fan_out:app -b localhost:9092 -t orders -g shop --value-format json
    python examples/fan_out.py localhost:9092 --orders 3

If the card is refused, the order waits: the dead-letter topic has `charge` with its reason, and a notice for `ship`.
`processor dlq replay` continues it. Without a replay the order expires after a day, and its dead letters name the
missing branches.
"""

from __future__ import annotations

import argparse
from typing import Any

from processor import Dispatcher, Group, Processor, Reject, Step, Task, group

app = Processor()


@app.task("reserve")
def reserve(task: Task) -> dict[str, Any]:
    return {"article": task.session_id, "shelf": len(task.session_id)}


@app.task("charge")
def charge(task: Task) -> str:
    if task.payload["cents"] <= 0:
        raise Reject("there is nothing to charge")
    return f"receipt-{task.payload['order']}"


@app.task("pack")
def pack(task: Task) -> dict[str, Any]:
    return {"parcel": task.payload["order"]}


@app.task("ship")
def ship(task: Task) -> None:
    reserved, receipt, packed = task.inputs  # in the order of the branches
    print(f"order {packed['parcel']} with {reserved['article']} is on its way, {receipt}", flush=True)


def order(number: int, customer: str, article: str, cents: int) -> Group:
    branches = [
        Step(article, {"order": number}, "reserve"),
        Step(customer, {"order": number, "cents": cents}, "charge"),
        Step("warehouse-2", {"order": number}, "pack"),
    ]
    return group(branches, id=f"order-{number}", expires_in=86_400).then(Step(customer, {"order": number}, "ship"))


def main() -> None:
    parser = argparse.ArgumentParser(description="sends orders")
    parser.add_argument("bootstrap_servers", nargs="?", default="localhost:9092")
    parser.add_argument("--topic", default="orders")
    parser.add_argument("--orders", type=int, default=1)
    arguments = parser.parse_args()
    with Dispatcher(arguments.bootstrap_servers, arguments.topic, value_format="json") as dispatcher:
        for number in range(arguments.orders):
            dispatcher.submit(order(number, f"customer-{number % 10}", f"article-{number % 7}", 100 + number))


if __name__ == "__main__":
    main()

"""An order as a chain of tasks: the stock is reserved, the customer is charged, and the parcel is packed and shipped.

The session of each task is the resource that only one task may use at a time: the article, the customer, the warehouse.

The topic `orders` must exist: `make kafka` and docker-compose.yml create it.

    processor run examples.order:app -b localhost:9092 -t orders -g shop --value-format json
    python examples/order.py localhost:9092 --orders 3

A task is sent once the one before has succeeded. If the card is refused, nothing is packed: the dead-letter topic has
`charge` with its reason, and a notice for each task that would follow. `processor dlq replay` continues the chain.
"""

from __future__ import annotations

import argparse
from typing import Any

from processor import Dispatcher, Processor, Reject, Step, Task

app = Processor()


@app.task("reserve")
def reserve(task: Task) -> dict[str, Any]:
    return {"article": task.session_id, "shelf": len(task.session_id)}


@app.task("charge")
def charge(task: Task) -> str:
    if task.payload["cents"] <= 0:
        raise Reject("there is nothing to charge")
    return f"receipt-{task.id}"


@app.task("pack")
def pack(task: Task) -> dict[str, Any]:
    (receipt,) = task.inputs  # what charge returned
    return {"parcel": task.payload["order"], "receipt": receipt}


@app.task("ship")
def ship(task: Task) -> None:
    (parcel,) = task.inputs
    print(f"order {parcel['parcel']} is on its way to {task.session_id} with {parcel['receipt']}", flush=True)


def order(number: int, customer: str, article: str, cents: int) -> Step:
    return (
        Step(article, {"order": number}, "reserve", id=f"order-{number}")
        .then(Step(customer, {"order": number, "cents": cents}, "charge"))
        .then(Step("warehouse-2", {"order": number}, "pack"))
        .then(Step(customer, {"order": number}, "ship"))
    )


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

"""Orders in Avro, read as a dataclass, whichever compatible schema they were written with.

The topic `orders` must exist: `make kafka` and docker-compose.yml create it.

    processor schema sample --schemas examples/schemas -n 10 | processor produce -t orders
    processor run examples.orders:app -t orders -g shop --schemas examples/schemas

`processor schema generate --schemas examples/schemas` generates the class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from processor import Processor, Reject, Task

app = Processor()


@dataclass(kw_only=True)
class Order:
    """An order of a customer."""

    id: str
    """The order's number."""
    total: Decimal
    """The total price in euros."""
    tags: list[str] = field(default_factory=list)
    """Labels of the order."""


@app.task(schema="order.avsc")
def take(task: Task[Order]) -> str:
    order = task.payload
    if order.total < 0:
        raise Reject(f"order {order.id} has a total of {order.total}")
    tags = ", ".join(order.tags) or "no tags"
    # One write: `print` adds the line's end in a second one, and another thread may write in between.
    print(f"{task.session_id}: order {order.id} for {order.total} €, {tags}\n", end="", flush=True)
    return order.id

"""Which payload type a handler's annotation names, however it is written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from processor import Processor, Task
from processor.handlers.payload import payload_type


class Order(msgspec.Struct):
    id: str


OrderTask = Task[Order]
OrderTasks = list[OrderTask]


def by_alias(task: OrderTask) -> None: ...


def unknown(task: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821 — imported for type checks only


def untyped(task: Task) -> None: ...


@pytest.mark.parametrize(("handler", "wanted"), [(by_alias, Order), (unknown, None), (untyped, None)])
def test_an_alias_of_a_task_names_the_payload_type(handler: Any, wanted: Any) -> None:
    assert payload_type(handler) is wanted


def test_an_alias_of_a_list_of_tasks_names_the_payload_type_of_a_batch() -> None:
    app = Processor()

    @app.batch("order")
    def orders(tasks: OrderTasks) -> None: ...

    assert app.handlers[0].payload_type is Order

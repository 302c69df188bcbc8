"""Which payload type a handler's annotation names, however it is written."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sized
from decimal import Decimal
from typing import Annotated, Any, Protocol

import msgspec
import pytest

from processor import Processor, Task
from processor.errors import SettingsError
from processor.handlers.payload import payload_type
from processor.testing import run


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


def marked(task: Annotated[Task[Order], "from the shop"]) -> None: ...


def test_metadata_of_the_annotation_itself_has_no_meaning() -> None:
    assert payload_type(marked) is Order


def test_constraints_of_the_payload_type_are_checked() -> None:
    def charge(task: Task[Annotated[int, msgspec.Meta(gt=0)]]) -> None: ...

    (letter,) = run(charge, [("anna", 5), ("ben", -5)]).dead_letters
    assert (letter.payload, letter.attempts) == (-5, 0)
    assert letter.error.endswith(": it must be an integer >= 1")


class Model:
    """A class as those of other validation libraries are."""


class Keyed(Protocol):
    def keys(self) -> Any: ...


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Model, "to Model: msgspec does not support the class Model; use a dataclass or a msgspec.Struct"),
        (Model | None, "None: msgspec does not support the class Model"),
        (Keyed, "to Keyed: Instance and class checks can only be used with @runtime_checkable protocols"),
    ],
)
def test_a_class_that_msgspec_cannot_make_is_refused_at_registration(wanted: Any, reason: str) -> None:
    def handler(task: Any) -> None: ...

    handler.__annotations__["task"] = Task[wanted]
    with pytest.raises(SettingsError, match=re.escape(reason)):
        Processor().task("order")(handler)


@pytest.mark.parametrize("wanted", [object, Hashable, Order | None, Mapping[str, int], Sized])
def test_a_class_of_which_payloads_are_instances_is_accepted(wanted: Any) -> None:
    def handler(task: Any) -> None: ...

    handler.__annotations__["task"] = Task[wanted]
    assert payload_type(handler) == wanted


def test_keys_of_an_object_are_converted_like_its_values() -> None:
    def totals(task: Task[dict[int, Decimal]]) -> str:
        return repr(task.payload)

    report = run(totals, [("anna", {7: "1.5"}), ("ben", {"x": 1})])
    assert report.results == ["{7: Decimal('1.5')}"]
    assert report.dead_letters[0].error.endswith("a key of it must be an integer, not text")


def test_an_alias_of_a_list_of_tasks_names_the_payload_type_of_a_batch() -> None:
    app = Processor()

    @app.batch("order")
    def orders(tasks: OrderTasks) -> None: ...

    assert app.handlers[0].payload_type is Order

"""What may be a middleware, and what it surrounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from processor.errors import LoadError
from processor.handlers.table import Handlers
from processor.handlers.task import Task
from processor.processor import Processor
from processor.testing import task


def called(app: Processor, name: str = "charge") -> Any:
    """What the handler's call returns for a task of this name."""
    given = task(7, name=name)
    return app.handler_for(given).call(given)


def adding(letter: str) -> Callable[[Task, Callable[[Task], Any]], Any]:
    def middleware(task: Task, call: Callable[[Task], Any]) -> Any:
        return f"{letter}({call(task)})"

    return middleware


def test_the_first_registered_is_outermost_whether_it_came_before_the_handler_or_after() -> None:
    app = Processor()
    app.middleware(adding("a"))
    app.task("charge")(lambda task: task.payload)
    app.default(lambda task: "default")
    app.middleware(adding("b"))
    assert called(app) == "a(b(7))"
    assert called(app, "other") == "a(b(default))"


def test_no_middleware_costs_nothing_and_one_costs_one_call() -> None:
    app = Processor()

    @app.task("charge")
    def charge(task: Task) -> str:
        return "charged"

    handler = app.handler_for(task(name="charge"))
    assert handler.call is charge
    app.middleware(adding("a"))
    assert handler.call.func.__qualname__.startswith("adding")  # type: ignore[attr-defined]


def test_plain_middleware_surrounds_plain_handlers_and_async_middleware_async_ones() -> None:
    app = Processor()
    app.middleware(adding("a"))

    @app.middleware
    async def later(task: Task, call: Callable[[Task], Any]) -> Any:
        return f"later({await call(task)})"

    app.task("charge")(lambda task: "charged")

    @app.task("refund")
    async def refund(task: Task) -> str:
        return "refunded"

    assert called(app) == "a(charged)"
    assert asyncio.run(called(app, "refund")) == "later(refunded)"


class Positional:
    def __call__(self, task: Task, call: Callable[[Task], Any], /) -> Any:
        return f"({call(task)})"


def starred(*arguments: Any) -> Any:
    task, call = arguments
    return f"({call(task)})"


@pytest.mark.parametrize("middleware", [Positional(), starred, lambda task, call, more=1: f"({call(task)})"])
def test_any_callable_with_two_arguments_is_a_middleware(middleware: Callable[[Any, Any], Any]) -> None:
    app = Processor()
    assert app.middleware(middleware) is middleware
    app.task("charge")(lambda task: "charged")
    assert called(app) == "(charged)"


def yields(task: Task, call: Any) -> Iterator[None]:
    yield call(task)


@pytest.mark.parametrize(
    ("middleware", "reason"),
    [
        (lambda task: None, "must take two arguments, the task and the next call"),
        (lambda task, call, other: None, "must take two arguments, the task and the next call"),
        (yields, "is a generator, so that a call runs none of its code: return call"),
    ],
)
def test_a_wrong_signature_is_refused(middleware: Any, reason: str) -> None:
    with pytest.raises(LoadError, match=f"^the middleware .*{reason}"):
        Processor().middleware(middleware)


def test_a_handler_that_two_names_share_is_surrounded_once() -> None:
    app = Processor()
    app.task("charge", schema="charge.avsc")(lambda task: "charged")
    app.bind("charge.avsc", ["shop.Charge"])
    app.middleware(adding("a"))
    assert called(app) == called(app, "shop.Charge") == "a(charged)"


async def paid(task: Task) -> None: ...


async def later(task: Task, call: Callable[[Task], Any]) -> Any:
    return await call(task)


def test_middleware_of_the_other_kind_than_every_handler_is_refused() -> None:
    app = Processor()
    app.task("charge")(paid)
    app.middleware(adding("a"))
    with pytest.raises(
        LoadError, match=r"^the middleware .*middleware surrounds no handler: it is plain, and every handler is async; "
    ):
        Handlers.of(app)
    plain = Processor()
    plain.default(lambda task: None)
    plain.middleware(later)
    with pytest.raises(LoadError, match=r"^the middleware later surrounds no handler: .* write it as `def`$"):
        Handlers.of(plain)


def test_middleware_of_both_kinds_may_surround_handlers_of_one() -> None:
    app = Processor()
    app.task("charge")(paid)
    app.middleware(adding("a"))
    app.middleware(later)
    assert Handlers.of(app) is app


def test_middleware_beside_batches_alone_is_accepted() -> None:
    app = Processor()
    app.batch("charge")(lambda tasks: None)
    app.middleware(adding("a"))
    assert Handlers.of(app) is app

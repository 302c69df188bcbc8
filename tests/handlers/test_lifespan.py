"""What may be an application's lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from processor.errors import LoadError, SettingsError
from processor.processor import Processor


def plain(size: int = 1) -> Iterator[int]:
    yield size


async def later() -> AsyncIterator[int]:
    yield 1


class Opening:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("function", "is_async"), [(plain, False), (later, True), (Opening(), False), (partial(plain, 2), False)]
)
def test_a_generator_function_is_a_lifespan(function: Callable[[], Any], is_async: bool) -> None:
    app = Processor()
    assert app.lifespan(function) is function
    lifespan = app.registered_lifespan
    assert lifespan is not None
    assert (lifespan.function, lifespan.is_async) == (function, is_async)


def test_a_second_lifespan_is_refused() -> None:
    app = Processor()
    app.lifespan(plain)
    with pytest.raises(SettingsError, match="two lifespans"):
        app.lifespan(later)
    assert app.registered_lifespan is not None
    assert app.registered_lifespan.function is plain


def test_a_lifespan_that_is_not_a_generator_function_is_refused() -> None:
    with pytest.raises(LoadError, match=r"the lifespan .*<lambda> must be a generator function"):
        Processor().lifespan(lambda: iter([1]))


def test_a_lifespan_that_requires_an_argument_is_refused() -> None:
    def needy(app: object) -> Iterator[None]:
        yield

    with pytest.raises(LoadError, match=r"needy\(app.*must take no argument"):
        Processor().lifespan(needy)  # type: ignore[type-var]

"""What a handler of batches declares, and what it raises."""

from __future__ import annotations

from typing import Any

import pytest

from processor.engine.loan import BatchRule
from processor.errors import LoadError, SettingsError
from processor.handlers.batch import BatchError
from processor.handlers.task import Task
from processor.processor import Processor
from processor.testing import task


def nothing(tasks: list[Task]) -> None:
    """Succeeds."""


def test_a_batch_has_a_size_a_wait_and_as_many_sessions_as_come() -> None:
    app = Processor()
    app.batch("a")(nothing)
    app.batch("b", size=5, wait=1, sessions=1, timeout=3, max_attempts=7)(nothing)
    first, second = (app.handler_for(task(name=name)) for name in "ab")
    assert first.batch == BatchRule(100, 0.05, by_session=False)
    assert second.batch == BatchRule(5, 1.0, by_session=True)
    assert (second.timeout, second.max_attempts, second.function) == (3, 7, nothing)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"size": 0}, "size must be an integer from 1 to 100000, not 0"),
        ({"size": 2.5}, "size must be an integer"),
        ({"size": True}, "size must be an integer"),
        ({"wait": -1}, "wait must be 0 or more seconds, not -1"),
        ({"wait": "1"}, "wait must be 0 or more seconds, not '1'"),
        ({"wait": float("inf")}, "wait must be 0 or more seconds"),
        ({"sessions": 2}, "sessions must be 1, for one session a batch, or None"),
        ({"sessions": True}, "sessions must be 1"),
        ({"max_attempts": 0}, "max_attempts must be an integer of at least 1"),
        (
            {"length": 3},
            "a batch has no keyword length: there are size, wait, sessions, timeout, max_attempts",
        ),
        ({"siez": 3}, r"a batch has no keyword siez: did you mean size\?"),
        ({"concurrency": 3}, "a batch has no keyword concurrency: its size and --workers limit how much runs at once"),
        ({"rate": "3/s"}, "a batch has no keyword rate"),
    ],
)
def test_a_keyword_that_cannot_be_used_is_refused(keywords: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^{reason}"):
        Processor().batch("a", **keywords)


def test_a_batch_needs_a_name_or_a_schema_that_no_other_handler_has() -> None:
    with pytest.raises(SettingsError, match=r"@app.batch requires the name of a task"):
        Processor().batch(nothing)  # type: ignore[arg-type]
    app = Processor()
    app.task("a", schema="a.avsc")(lambda task: None)
    with pytest.raises(SettingsError, match="the task 'a' has two handlers"):
        app.batch("a")(nothing)
    with pytest.raises(SettingsError, match=r"the schema 'a\.avsc' has two handlers"):
        app.batch(schema="a.avsc")(nothing)


def test_a_generator_is_refused() -> None:
    def yields(tasks: list[Task]) -> Any:
        yield tasks

    with pytest.raises(LoadError, match="is a generator"):
        Processor().batch("a")(yields)


def test_the_type_of_payloads_is_that_of_the_lists_tasks() -> None:
    app = Processor()

    @app.batch("a")
    def ints(tasks: list[Task[int]]) -> None: ...

    @app.batch("b")
    def any_list(tasks: list[Task]) -> None: ...

    @app.batch("c")
    def unknown(tasks: Any) -> None: ...

    types = [app.handler_for(task(name=name)).payload_type for name in "abc"]
    assert types == [int, None, None]


def test_middleware_surrounds_no_batch() -> None:
    app = Processor()
    app.batch("a")(nothing)
    app.middleware(lambda task, call: call(task))
    assert app.handler_for(task(name="a")).call is nothing


def test_a_batch_error_names_the_failed_tasks() -> None:
    error = BatchError({3: ValueError("no"), 1: KeyError("x")})
    assert str(error) == "task 3 of the batch and 1 more: ValueError: no"
    assert (type(error).__module__, type(error).__qualname__) == ("processor", "BatchError")


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ({}, "names no task"),
        ({-1: ValueError()}, "takes indices of the batch, 0 for its first task, not -1"),
        ({"0": ValueError()}, "takes indices of the batch"),
        ({0: "no"}, "takes an exception for each index, not 'no' for 0"),
    ],
)
def test_a_batch_error_that_cannot_be_read_is_refused(errors: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BatchError(errors)

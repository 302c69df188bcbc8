"""Calls in a separate thread: their results and exceptions reach the thread that asked."""

from __future__ import annotations

import threading

import pytest

from processor.kafka.aside import Aside
from tests.support.until import until


def test_what_a_call_raises_is_raised_where_its_result_is_delivered_and_later_calls_are_made() -> None:
    aside, results = Aside("test"), list[int]()

    def fail() -> int:
        raise RuntimeError("a fault")

    aside.run(fail, results.append)
    aside.run(lambda: 1, results.append)
    with pytest.raises(RuntimeError, match="a fault"):
        aside.deliver(30.0)

    def is_delivered() -> bool:
        aside.deliver()
        return results == [1]

    until(is_delivered, "the next call's result")
    aside.close(lambda: None)


def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    aside = Aside("test")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        aside.run(lambda: 1, lambda _: None)
    aside.close(lambda: None)

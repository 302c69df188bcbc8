"""The event loop's waits: short ones are not rounded up to whole milliseconds."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import time

import pytest

from processor.runtime import timely_waits
from processor.runtime.timely_waits import LEAST_SECONDS, SHORT_SECONDS, new_event_loop
from tests.support.until import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not round the time")

if sys.platform == "linux":
    from processor.runtime.timely_waits import TimelySelector


def least_seconds(selector: selectors.BaseSelector, timeout: float) -> float:
    """Return the shortest of many waits, which other load does not extend."""
    waits = []
    for _ in range(50):
        began = time.perf_counter()
        assert selector.select(timeout) == []
        waits.append(time.perf_counter() - began)
    return min(waits)


def test_a_short_wait_is_not_rounded_up_to_the_next_millisecond() -> None:
    with selectors.EpollSelector() as plain:
        assert least_seconds(plain, 0.0012) >= 0.0019
    with TimelySelector() as timely:
        assert until(lambda: (least := least_seconds(timely, 0.0012)) < 0.0019 and least, pause=0.0) >= 0.0012


def test_a_wait_has_a_least_length() -> None:
    with TimelySelector() as selector:
        assert least_seconds(selector, 1e-9) >= LEAST_SECONDS


@pytest.mark.parametrize("timeout", [None, 0.0, SHORT_SECONDS / 2, 10.0])
def test_what_is_ready_ends_the_wait_and_is_reported(timeout: float | None) -> None:
    here, there = socket.socketpair()
    with here, there, TimelySelector() as selector:
        selector.register(here, selectors.EVENT_READ, "data")
        there.send(b"x")
        assert [(key.data, events) for key, events in selector.select(timeout)] == [("data", selectors.EVENT_READ)]


def test_a_long_wait_takes_its_time() -> None:
    with TimelySelector() as selector:
        began = time.perf_counter()
        assert selector.select(SHORT_SECONDS) == []
        assert time.perf_counter() - began >= SHORT_SECONDS


def test_coroutines_that_sleep_run_on_such_a_loop_and_are_woken_from_other_threads() -> None:
    loop = new_event_loop()
    try:
        assert loop.run_until_complete(asyncio.wait_for(asyncio.to_thread(lambda: 7), 60)) == 7
        assert loop.run_until_complete(asyncio.sleep(0.001, 8)) == 8
        assert isinstance(loop, asyncio.SelectorEventLoop)
    finally:
        loop.close()


class OtherLoop(asyncio.SelectorEventLoop):
    """What the policy of an application may provide."""


def test_the_loop_of_another_policy_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "new_event_loop", OtherLoop)
    loop = new_event_loop()
    assert type(loop) is OtherLoop
    loop.close()


def test_a_loop_that_the_policy_has_configured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    configured = asyncio.SelectorEventLoop()
    configured.set_exception_handler(lambda loop, context: None)
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: configured)
    assert new_event_loop() is configured
    configured.close()


def test_a_descriptor_that_select_does_not_accept_leaves_the_usual_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timely_waits, "MOST_DESCRIPTORS", 0)
    loop = new_event_loop()
    assert not isinstance(loop._selector, TimelySelector)  # type: ignore[attr-defined]
    loop.close()

"""The queue of timers, and the sleep that a due timer ends."""

from __future__ import annotations

import threading
from time import monotonic

from processor.runtime.timers import Timers

FAR = 1e9


def test_what_is_due_is_run_in_the_order_of_its_times_and_once() -> None:
    timers, ran = Timers(), list[str]()
    for due, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (9.0, "later")):
        timers.schedule(due, lambda name=name: ran.append(name))  # type: ignore[misc]
    timers.run_due(0.5)
    assert ran == []
    timers.run_due(3.0)
    assert ran == ["a", "b", "c"]
    timers.run_due(3.0)
    assert ran == ["a", "b", "c"]
    timers.run_due(FAR)
    assert ran[-1] == "later"


def test_actions_of_one_moment_are_run_in_the_order_in_which_they_were_scheduled() -> None:
    timers, ran = Timers(), list[int]()
    for number in range(100):
        timers.schedule(1.0, lambda number=number: ran.append(number))  # type: ignore[misc]
    timers.run_due(1.0)
    assert ran == list(range(100))


def test_an_action_may_schedule_another() -> None:
    timers, ran = Timers(), list[str]()

    def first() -> None:
        ran.append("first")
        timers.schedule(1.0, lambda: ran.append("due already"))
        timers.schedule(5.0, lambda: ran.append("later"))

    timers.schedule(1.0, first)
    timers.run_due(2.0)
    assert ran == ["first", "due already"]
    timers.run_due(5.0)
    assert ran == ["first", "due already", "later"]


def test_an_action_that_raises_is_not_run_again_and_the_others_are_left() -> None:
    timers, ran = Timers(), list[str]()

    def fail() -> None:
        raise ZeroDivisionError

    timers.schedule(1.0, fail)
    timers.schedule(2.0, lambda: ran.append("left"))
    try:
        timers.run_due(3.0)
    except ZeroDivisionError:
        timers.run_due(3.0)
    assert ran == ["left"]


def slept(timers: Timers, longest: float, due: float | None = None) -> float:
    began = monotonic()
    timers.sleep(longest, due)
    return monotonic() - began


def test_a_sleep_ends_when_the_first_action_is_due_or_the_given_time_has_come() -> None:
    timers = Timers()
    now = monotonic()
    assert slept(timers, 0.05) >= 0.04
    assert slept(timers, FAR, now) < 5
    assert 0.02 <= slept(timers, FAR, monotonic() + 0.03) < 5
    timers.schedule(monotonic() + 0.03, lambda: None)
    timers.sleep(FAR, None)  # the schedule itself is news
    assert slept(timers, FAR) < 5
    assert monotonic() - now < 20


def test_what_is_due_already_leaves_no_time_to_sleep() -> None:
    timers = Timers()
    timers.schedule(monotonic() - 5, lambda: None)
    timers.sleep(FAR, None)
    assert slept(timers, FAR) < 5


def test_a_sleep_ends_when_something_is_scheduled_or_when_it_is_woken() -> None:
    for wake in (Timers.wake, lambda timers: timers.schedule(FAR, lambda: None)):
        timers = Timers()
        sleeper = threading.Thread(target=timers.sleep, args=(FAR, None))
        sleeper.start()
        wake(timers)
        sleeper.join(10)
        assert not sleeper.is_alive()


def test_a_wake_that_comes_before_the_sleep_is_not_lost() -> None:
    timers = Timers()
    timers.wake()
    assert slept(timers, FAR) < 5
    assert slept(timers, 0.05) >= 0.04, "one wake ends one sleep"

"""Stop requests, before and after the consumer exists."""

from __future__ import annotations

from processor.boot.stop import Stop


class Asked:
    """A consumer that records the requests."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def request_stop(self, reason: str, *, for_good: bool = False) -> None:
        self.orders.append(f"drain{' for good' if for_good else ''}: {reason}")

    def request_stop_now(self, reason: str) -> None:
        self.orders.append(f"now: {reason}")


def started() -> tuple[Stop, Asked]:
    stop, consumer = Stop(), Asked()
    stop.attach(consumer)
    return stop, consumer


def test_the_first_signal_requests_a_clean_stop_and_the_second_an_end_at_once() -> None:
    stop, consumer = started()
    stop.on_signal("SIGTERM")
    stop.on_signal("SIGINT")
    assert consumer.orders == ["drain: SIGTERM", "now: SIGINT"]


def test_a_stop_request_of_the_parent_does_not_count_as_a_second_signal() -> None:
    """A service manager signals both the parent and its consumers."""
    stop, consumer = started()
    stop.on_signal("SIGTERM")
    stop.drain("SIGTERM")
    assert consumer.orders == ["drain: SIGTERM", "drain: SIGTERM"]


def test_without_a_request_the_consumer_receives_none() -> None:
    _, consumer = started()
    assert consumer.orders == []


def test_a_stop_before_the_consumer_exists_ends_the_process() -> None:
    left: list[bool] = []
    Stop(leave=lambda: left.append(True)).on_signal("SIGTERM")
    assert left == [True]


def test_a_stop_while_the_consumer_is_being_attached_is_not_lost() -> None:
    stop, consumer = Stop(leave=lambda: None), Asked()
    stop.drain("SIGTERM")
    stop.attach(consumer)
    assert consumer.orders == ["drain: SIGTERM"]


def test_a_stop_for_good_is_passed_on_as_one_and_remains_one() -> None:
    """The fleet gives up a place whose consumer drains already, and is stopped as a whole meanwhile."""
    stop, consumer = started()
    stop.drain("its code has changed")
    stop.drain("one consumer fewer", for_good=True)
    stop.drain("SIGTERM")
    assert consumer.orders == [
        "drain: its code has changed",
        "drain for good: its code has changed",
        "drain for good: its code has changed",
    ]


def test_a_stop_for_good_while_the_consumer_is_being_attached_is_not_lost() -> None:
    stop, consumer = Stop(leave=lambda: None), Asked()
    stop.drain("one consumer fewer", for_good=True)
    stop.attach(consumer)
    assert consumer.orders == ["drain for good: one consumer fewer"]

"""What asks a consumer to stop, before there is one and after."""

from __future__ import annotations

from processor.boot.stop import Stop


class Asked:
    """A consumer that notes what it is asked."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def request_stop(self, reason: str) -> None:
        self.orders.append(f"drain: {reason}")

    def request_stop_now(self, reason: str) -> None:
        self.orders.append(f"now: {reason}")


def started() -> tuple[Stop, Asked]:
    stop, consumer = Stop(), Asked()
    stop.attach(consumer)
    return stop, consumer


def test_the_first_signal_drains_and_the_second_ends_at_once() -> None:
    stop, consumer = started()
    stop.signalled("SIGTERM")
    stop.signalled("SIGINT")
    assert consumer.orders == ["drain: SIGTERM", "now: SIGINT"]


def test_the_parents_drain_after_a_signal_is_no_second_signal() -> None:
    """A service manager signals the parent and its consumers alike."""
    stop, consumer = started()
    stop.signalled("SIGTERM")
    stop.drain("SIGTERM")
    assert consumer.orders == ["drain: SIGTERM", "drain: SIGTERM"]


def test_nothing_is_asked_of_a_consumer_that_nobody_stops() -> None:
    _, consumer = started()
    assert consumer.orders == []


def test_a_stop_that_comes_before_there_is_a_consumer_ends_the_process() -> None:
    left: list[bool] = []
    Stop(leave=lambda: left.append(True)).signalled("SIGTERM")
    assert left == [True]


def test_a_stop_that_comes_while_the_consumer_is_attached_is_not_lost() -> None:
    stop, consumer = Stop(leave=lambda: None), Asked()
    stop.drain("SIGTERM")
    stop.attach(consumer)
    assert consumer.orders == ["drain: SIGTERM"]

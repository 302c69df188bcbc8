"""Requests to a registry, their frequency, and the answers meanwhile. No registry is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from processor.errors import LoadError, NotReady, RegistryAccessDenied, RegistryError
from processor.kafka.registry import cache
from processor.kafka.registry.cache import AnswerCache, Fetch
from processor.telemetry.events import Event, RegistryAvailable, RegistryUnavailable
from tests.support.until import until

NEVER = 1313


class FakeRegistry:
    """Has a schema for even numbers; NEVER gets no answer."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.connections = 0
        self.error: Exception | None = None
        self.door: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.events: list[Event] = []
        self.answers: AnswerCache[int, str] = AnswerCache("http://h", self.connect, self.events.append)

    @contextmanager
    def connect(self) -> Iterator[Fetch[int, str]]:
        if self.door is not None:
            raise self.door
        self.connections += 1
        yield self.answer

    def answer(self, number: int) -> str:
        self.asked.append(number)
        self.go_on.wait(20)
        if self.error is not None:
            raise self.error
        if number == NEVER:
            raise RegistryError("it makes the registry fail")
        if number % 2:
            raise LoadError(f"there is no {number}")
        return f"<{number}>"

    def get(self, number: int) -> str:
        """Waits for the answer."""
        found: list[str] = []

        def had() -> bool:
            try:
                found.append(self.answers.get(number))
            except NotReady:
                return False
            return True

        until(had)
        return found[0]

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in list(self.events) if isinstance(event, kind)]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    monkeypatch.setattr(cache, "FIRST_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(cache, "LAST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(cache, "CONFIRM_SECONDS", 0.02)
    monkeypatch.setattr(cache, "OUTAGE_SECONDS", 0.05)
    return FakeRegistry()


def test_callers_do_not_block_and_each_request_is_sent_once(registry: FakeRegistry) -> None:
    registry.go_on.clear()
    waits = []
    for _ in range(50):
        with pytest.raises(NotReady) as caught:
            registry.answers.get(2)
        waits.append(caught.value.retry_in)
    assert all(0 < wait <= cache.MAX_RETRY_SECONDS for wait in waits)
    registry.go_on.set()
    assert registry.get(2) == registry.get(2) == "<2>"
    assert registry.asked == [2]
    assert registry.events == []


def test_a_request_whose_thread_cannot_be_started_is_made_later(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(NotReady, match="the schema registry cannot be asked: can't start new thread"):
            registry.answers.get(2)
    assert registry.get(2) == "<2>"


def test_many_concurrent_requests_share_one_connection(registry: FakeRegistry) -> None:
    registry.go_on.clear()
    for number in range(0, 40, 2):
        with pytest.raises(NotReady):
            registry.answers.get(number)
    registry.go_on.set()
    assert [registry.get(number) for number in range(0, 40, 2)] == [f"<{number}>" for number in range(0, 40, 2)]
    assert sorted(registry.asked) == list(range(0, 40, 2))
    assert registry.connections == 1


def test_a_negative_answer_is_cached_for_a_while_and_then_requested_again(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(LoadError, match="there is no 3"):
            registry.get(3)
    assert registry.asked == [3, 3]
    monkeypatch.setattr(cache, "NEGATIVE_SECONDS", 0.0)

    def asked_again() -> bool:
        with pytest.raises(NotReady):
            registry.answers.get(5)
        return registry.asked.count(5) > 2

    until(asked_again)


def test_a_negative_answer_is_confirmed_by_a_second_request(registry: FakeRegistry) -> None:
    """A registry on several machines may answer from one that does not have a new schema yet."""
    registry.error = LoadError("there is no 2 yet")
    with pytest.raises(NotReady):
        registry.answers.get(2)
    until(lambda: registry.answers._unconfirmed)
    assert registry.asked == [2]
    registry.error = None
    assert registry.get(2) == "<2>"
    assert registry.asked == [2, 2]
    assert not registry.answers._unconfirmed


@pytest.mark.parametrize("error", [RegistryError("away"), RegistryAccessDenied("not allowed"), RuntimeError("a bug")])
def test_an_outage_is_reported_once_and_survived(registry: FakeRegistry, error: Exception) -> None:
    registry.error = error
    with pytest.raises(NotReady):
        registry.answers.get(2)
    until(lambda: registry.of(RegistryUnavailable))

    def asked_thrice() -> bool:
        with pytest.raises(NotReady):
            registry.answers.get(2)
        return len(registry.asked) >= 3

    until(asked_thrice)
    registry.error = None
    assert registry.get(2) == "<2>"
    (down,) = registry.of(RegistryUnavailable)
    assert isinstance(down, RegistryUnavailable)
    assert (down.registry, down.failures) == ("http://h", 1)
    assert str(error) in down.error
    (up,) = registry.of(RegistryAvailable)
    assert isinstance(up, RegistryAvailable)
    assert up.failures >= 3
    assert up.unavailable_seconds > 0


def test_a_connection_that_cannot_be_opened_is_an_outage(registry: FakeRegistry) -> None:
    """For example, while the file of a password is being replaced."""
    registry.door = LoadError("the password's file cannot be read")
    with pytest.raises(NotReady):
        registry.answers.get(3)
    until(lambda: registry.of(RegistryUnavailable))

    def names_the_reason() -> bool:
        """Unless the next request is under way already."""
        with pytest.raises(NotReady) as caught:
            registry.answers.get(3)
        return "password" in str(caught.value)

    until(names_the_reason)
    registry.door = None
    with pytest.raises(LoadError, match="there is no 3"):
        registry.get(3)


def test_no_request_is_sent_during_the_delay(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FIRST_DELAY_SECONDS", 1000.0)
    monkeypatch.setattr(cache, "LAST_DELAY_SECONDS", 1000.0)
    registry.answers.record_failure(RegistryError("away"))
    for number in range(100):
        with pytest.raises(NotReady, match="away") as caught:
            registry.answers.get(number)
        assert 700 < caught.value.retry_in <= 1000.1
    assert registry.asked == []
    assert len(registry.of(RegistryUnavailable)) == 1


def test_cached_answers_remain_available_during_an_outage(registry: FakeRegistry) -> None:
    assert registry.get(2) == "<2>"
    registry.answers.record_failure(RegistryError("away"))
    assert registry.answers.get(2) == "<2>"


def test_a_request_that_makes_the_registry_fail_does_not_block_others(registry: FakeRegistry) -> None:
    registry.go_on.clear()
    for number in (NEVER, 2, 4):
        with pytest.raises(NotReady):
            registry.answers.get(number)
    registry.go_on.set()
    for _ in range(5):
        with pytest.raises(NotReady):
            registry.answers.get(NEVER)
        assert (registry.get(2), registry.get(4)) == ("<2>", "<4>")


def test_the_cache_is_bounded(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CAPACITY", 3)
    for number in range(0, 20, 2):
        registry.get(number)
        with pytest.raises(LoadError):
            registry.get(number + 1)
    assert list(registry.answers._answers) == [14, 16, 18]
    assert list(registry.answers._negative) == [15, 17, 19]
    assert registry.get(0) == "<0>"


def test_pending_requests_are_bounded(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_PENDING", 10)
    registry.go_on.clear()
    for number in range(100):
        with pytest.raises(NotReady):
            registry.answers.get(number)
    assert len(registry.answers._pending) <= 10
    registry.go_on.set()
    assert registry.get(2) == "<2>"


def test_the_thread_ends_when_nothing_is_pending(registry: FakeRegistry) -> None:
    def threads() -> int:
        return sum(thread.name == "schema-registry" for thread in threading.enumerate())

    registry.get(2)
    until(lambda: threads() == 0)
    registry.get(4)
    until(lambda: threads() == 0)
    assert registry.connections == 2

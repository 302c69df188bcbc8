"""Look-ups of joins that were complete before: a failure is logged once for each cause, and some are tried again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from processor.errors import BrokerError
from processor.handlers.joins import Join
from processor.runtime import log_pass, look_back
from processor.runtime.ports import Record
from processor.telemetry.events import ConsumerLookBackFailed
from processor.testing.memory.cluster import MemoryRecord
from processor.testing.memory.reader import END, LOST, MemoryReader
from tests.runtime.fakes import PARTITION, TOPIC
from tests.runtime.running import RunningConsumer
from tests.runtime.test_joins import SHIP, arrival, complete_join
from tests.support.scripted_kafka import ScriptedSource
from tests.support.until import until

Failures = list[Exception]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_back, "LOOK_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(look_back, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(look_back, "AGAIN_SECONDS", 0.01)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> Failures:
    """The errors that the next readers raise when they are opened, the last one first."""
    left = Failures()

    def open_reader(source: ScriptedSource) -> MemoryReader:
        if left:
            raise left.pop()
        return MemoryReader(source._cluster)

    monkeypatch.setattr(ScriptedSource, "open_reader", open_reader)
    return left


def read_first_by(reader: type[MemoryReader], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the first pass made with a reader of this type."""
    passes = list[ScriptedSource]()

    def open_reader(source: ScriptedSource) -> MemoryReader:
        passes.append(source)
        return (reader if len(passes) == 1 else MemoryReader)(source._cluster)

    monkeypatch.setattr(ScriptedSource, "open_reader", open_reader)


def failed(run: RunningConsumer) -> list[tuple[str, bool]]:
    return [(event.error, event.retries) for event in run.of(ConsumerLookBackFailed)]


def test_a_cause_that_lasts_is_logged_once_and_tried_again(failures: Failures) -> None:
    failures += [BrokerError("no broker"), BrokerError("denied"), *[BrokerError("no broker") for _ in range(4)]]
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        until(lambda: run.commit_point() == 5)
        run.stop()
    assert failed(run) == [("no broker", True), ("denied", True), ("no broker", True)]
    assert {(event.topic, event.partition, event.joins) for event in run.of(ConsumerLookBackFailed)} == {("t", 0, 1)}


def test_an_internal_error_is_logged_and_not_tried_again(failures: Failures) -> None:
    failures += [BrokerError("reached the next join"), RuntimeError("a fault")]
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        run.until_event(ConsumerLookBackFailed)
        run.push(arrival(5, 0, Join("5/then", "t-0-0", TOPIC, 2, [SHIP])))
        until(lambda: len(failed(run)) == 2)
        assert run.commit_point() == 4
        run.stop()
    assert failed(run) == [("builtins.RuntimeError: a fault", False), ("reached the next join", True)]


def test_joins_of_a_partition_that_is_given_up_are_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, is_given_up = list[ScriptedSource](), threading.Event()

    def open_reader(source: ScriptedSource) -> MemoryReader:
        attempts.append(source)
        if len(attempts) == 1:
            raise BrokerError("no broker")
        assert is_given_up.wait(60)
        raise BrokerError("still no broker")

    monkeypatch.setattr(ScriptedSource, "open_reader", open_reader)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        until(lambda: len(attempts) == 2)
        assert run.source.revoke(PARTITION).wait(60)
        is_given_up.set()
        until(lambda: len(failed(run)) == 2)
        run.stop()
    assert failed(run) == [("no broker", True), ("still no broker", False)]
    assert len(attempts) == 2


@pytest.mark.parametrize("error", [END, LOST])
def test_a_log_that_ends_too_early_is_logged_and_read_again(monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    """Without a record or a reset, nothing else would ever end the pass, and no other join would be looked up."""

    class Short(MemoryReader):
        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            super().take(limit, seconds)
            return [MemoryRecord(PARTITION, 0, error=error)]

    read_first_by(Short, monkeypatch)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        until(lambda: run.commit_point() == 5)
        run.stop()
    ((text, retries),) = failed(run)
    assert text.startswith("the log of t[0] ends ")
    assert retries


def test_a_pass_to_which_nothing_is_delivered_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pass, "STALL_SECONDS", 0.1)

    class Silent(MemoryReader):
        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            return super().take(0, seconds)

    read_first_by(Silent, monkeypatch)
    with RunningConsumer(lambda task: None, cluster=complete_join()) as run:
        run.push(arrival(4, 0))
        until(lambda: run.commit_point() == 5)
        run.stop()
    ((text, _),) = failed(run)
    assert text.startswith("no record of t[0] was delivered")

"""An output of many records: which are in flight at once, in which order, and what follows from a refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, Queue
from random import Random
from typing import Any

import pytest

from processor.errors import DeliveryError
from processor.handlers.links import Planned, write_plan
from processor.runtime import outbox
from processor.runtime.outbox import Output, Shipment
from processor.runtime.ports import Delivered, Headers, OutputRecord
from processor.telemetry.events import TaskDeliveryFailed
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION
from tests.runtime.running import RunningConsumer
from tests.support.until import until

AWAY = DeliveryError("the topic is away")


class Line:
    """A sink whose answers the test gives, and what follows from them."""

    def __init__(self, *names: str, last_alone: bool = False) -> None:
        self.sent: list[str] = []
        self.open: dict[str, Delivered] = {}
        self.settled = 0
        self.tries: list[tuple[str, int]] = []
        """The topic that refused, and how often in a row it has."""
        self.again: Callable[[], None] = lambda: None
        self.answer: Callable[[str, Delivered], None] = self.open.__setitem__
        self.try_again: Callable[[Callable[[], None]], None] = lambda again: setattr(self, "again", again)
        records = [OutputRecord(f"topic of {name}", name.encode(), b"12345678", []) for name in names]
        output = Output(None, records, last_alone=last_alone)  # type: ignore[arg-type]  # its attempt is not looked at
        self.shipment = Shipment(output, self, self._settle, self._try_again)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        assert key is not None
        self.sent.append(key.decode())
        self.answer(key.decode(), delivered)

    def after_reports(self, call: Callable[[], None]) -> None:
        raise NotImplementedError

    def close(self, seconds: float) -> int:
        raise NotImplementedError

    def answered(self, name: str, error: DeliveryError | None = None) -> None:
        self.open.pop(name)(error)

    def _settle(self, output: Output) -> None:
        self.settled += 1

    def _try_again(self, output: Output, topic: str, error: DeliveryError, again: Callable[[], None]) -> None:
        self.tries.append((topic, output.failures))
        self.try_again(again)


def test_all_records_are_under_way_at_once_and_settle_when_the_last_one_is_acknowledged() -> None:
    line = Line("a", "b", "c")
    line.shipment.go_on()
    assert line.sent == ["a", "b", "c"]
    line.answered("b")
    line.answered("c")
    assert line.settled == 0
    line.answered("a")
    assert line.settled == 1


def test_no_more_are_under_way_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", 20)
    line = Line("a", "b", "c", "d")  # of nine bytes each
    line.shipment.go_on()
    assert line.sent == ["a", "b"]
    line.answered("b")
    assert line.sent == ["a", "b", "c"]
    for name in "acd":
        line.answered(name)
    assert line.settled == 1


def test_a_record_that_is_larger_than_that_is_sent_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", 5)
    line = Line("a", "b")
    line.shipment.go_on()
    assert line.sent == ["a"]
    line.answered("a")
    line.answered("b")
    assert line.settled == 1


def test_a_record_that_must_come_last_is_sent_when_the_others_are_acknowledged() -> None:
    line = Line("a", "b", "marker", last_alone=True)
    line.shipment.go_on()
    line.answered("b")
    assert line.sent == ["a", "b"]
    line.answered("a", AWAY)
    line.again()
    assert line.sent == ["a", "b", "a"]
    line.answered("a")
    line.answered("marker", AWAY)
    line.again()
    line.answered("marker")
    assert line.sent == ["a", "b", "a", "marker", "marker"]
    assert (line.settled, line.tries) == (1, [("topic of a", 1), ("topic of marker", 1)])


def test_after_a_refusal_the_others_under_way_are_waited_for_and_only_what_was_refused_is_sent_again() -> None:
    line = Line("a", "b", "c")
    line.shipment.go_on()
    line.answered("b", AWAY)
    line.answered("a")
    assert line.tries == []
    line.answered("c", AWAY)
    assert line.tries == [("topic of b", 1)]
    line.again()
    assert line.sent == ["a", "b", "c", "b", "c"]
    line.answered("b")
    line.answered("c")
    assert line.settled == 1


def test_failures_are_counted_while_nothing_is_accepted() -> None:
    line = Line("a", "b")
    line.answer = lambda _, delivered: delivered(AWAY)  # as from a producer that accepts nothing
    line.shipment.go_on()
    line.again()
    assert line.sent == ["a", "a"]
    line.answer = lambda name, delivered: delivered(AWAY if name == "b" else None)
    line.again()
    line.again()
    assert line.tries == [("topic of a", 1), ("topic of a", 2), ("topic of b", 1), ("topic of b", 2)]
    line.answer = lambda _, delivered: delivered(None)
    line.again()
    assert (line.settled, line.sent) == (1, ["a", "a", "a", "b", "b", "b"])


def test_answers_from_inside_a_send_take_no_stack() -> None:
    line = Line(*(str(n) for n in range(5_000)))
    line.answer = lambda _, delivered: delivered(None)
    line.shipment.go_on()
    assert (line.settled, len(line.sent)) == (1, 5_000)


@pytest.mark.parametrize("seed", range(20))
def test_every_record_is_accepted_once_and_settles_once_for_any_answering_threads(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", 50)
    random, accepted, waiting = Random(seed), list[str](), Queue[tuple[str, Delivered]]()
    names = [str(n) for n in range(60)]
    line = Line(*names, last_alone=bool(seed % 2))
    line.answer = lambda name, delivered: waiting.put((name, delivered))
    over = threading.Event()

    def respond() -> None:
        while not over.is_set():
            try:
                name, delivered = waiting.get(timeout=0.01)
            except Empty:
                continue
            if random.random() < 0.1:
                delivered(AWAY)
            else:
                accepted.append(name)
                delivered(None)

    threads = [threading.Thread(target=respond) for _ in range(3)]
    for thread in threads:
        thread.start()
    line.try_again = lambda again: threading.Thread(target=again).start()
    line.shipment.go_on()
    until(lambda: line.settled)
    over.set()
    for thread in threads:
        thread.join()
    assert sorted(accepted) == sorted(names)
    assert line.settled == 1
    assert not seed % 2 or accepted[-1] == names[-1]


def start(*branches: Planned) -> MemoryRecord:
    """The record by which a group begins."""
    headers: Any = [("task-arrival", b"{}"), ("task-then", write_plan([Planned(group=[[each] for each in branches])]))]
    return MemoryRecord(PARTITION, 0, b"7", None, headers)


def test_a_thousand_branches_are_sent_side_by_side_and_the_group_has_begun_when_all_are_acknowledged() -> None:
    with RunningConsumer(lambda task: None) as run:
        run.sink.holding = True
        run.push(start(*(Planned(f"s{n}", b"", topic="next") for n in range(1000))))
        until(lambda: len(run.sink.held) == 1000)
        assert run.commit_point() in (None, 0)
        run.sink.acknowledge()
        until(lambda: run.commit_point() == 1)
        run.stop()
    assert [each.key for each in run.sink.sent] == [b"s%d" % n for n in range(1000)]


def test_branches_that_are_refused_are_reported_once_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_RESEND_SECONDS", 0.02)
    with RunningConsumer(lambda task: None) as run:
        run.sink.refusals = 2
        run.push(start(*(Planned(f"s{n}", b"", topic="next") for n in range(50))))
        until(lambda: run.commit_point() == 1)
        run.stop()
    assert [event.target_topic for event in run.of(TaskDeliveryFailed)] == ["next", "next"]
    assert [each.key for each in run.sink.sent] == [b"s%d" % n for n in range(50)]

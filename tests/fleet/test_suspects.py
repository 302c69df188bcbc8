"""Which suspects the parent of a fleet sends to its consumers after a death."""

from __future__ import annotations

from collections.abc import Sequence

from processor.engine.deaths import MOST_SUSPECTS, TaskPlace
from processor.fleet.channel import Watch
from processor.fleet.restarts import Exit
from processor.fleet.supervisor import Supervisor
from processor.settings import Settings


class Child:
    """A consumer that notes its orders."""

    pid, joined, started = 1, True, True

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.settled: list[TaskPlace] = []

    def send(self, order: object) -> None:
        assert isinstance(order, Watch)
        self.watches.append(order)

    def receive(self) -> bool:
        return True


def places(watches: Sequence[Watch]) -> set[TaskPlace]:
    return {suspect.place for watch in watches for suspect in watch.suspects}


def test_further_suspects_are_sent_once_the_first_ones_are_settled() -> None:
    supervisor = Supervisor(Settings(topics=("t",), group="g"), "app:app", lambda event: None)
    (slot,) = supervisor._slots
    slot.child = child = Child()  # type: ignore[assignment]
    supervisor._reports.has_started = True
    running = [TaskPlace("t", 0, n) for n in range(MOST_SUSPECTS + 100)]
    supervisor._attribute(slot, Exit(7, 1.0, joined=True, died=True, running=running), pid=2)
    sent = places(child.watches)
    assert len(sent) == MOST_SUSPECTS
    child.settled = list(sent)
    supervisor._receive(child)  # type: ignore[arg-type]
    assert places(child.watches[1:]) == set(running) - sent
    child.settled = list(set(running) - sent)
    supervisor._receive(child)  # type: ignore[arg-type]
    assert len(child.watches) == 2

"""How often delayed tasks that fill their limit are checked for tasks that can be set aside."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from processor.engine.stock import Usage
from processor.runtime import ahead
from processor.runtime.ahead import LOOK_AGAIN_SECONDS, LOOK_SECONDS, Ahead
from processor.runtime.ports import Partition
from processor.settings import Settings
from tests.runtime.fakes import PARTITION

DELAYED = {PARTITION: Usage(80, 80)}


class Desk:
    """Sets aside as many tasks as the test asks for. Each check takes 5 ms or more, under its lock."""

    def __init__(self) -> None:
        self.tasks = self.count = self.looks = 0
        self.partitions = SimpleNamespace(is_draining=False)
        self.set_aside = self

    def make_room_of_delayed(self, _: Usage, __: int) -> dict[Partition, int]:
        self.looks += 1
        return {PARTITION: self.count} if self.count else {}

    def partitions_among(self, partitions: Iterable[Partition]) -> list[Partition]:
        return list(partitions)


@pytest.mark.parametrize(
    ("count", "seconds"), [(0, LOOK_AGAIN_SECONDS), (1, LOOK_SECONDS), (19, LOOK_SECONDS), (20, 0.0), (80, 0.0)]
)
def test_delayed_tasks_are_looked_at_again_later_if_few_can_be_set_aside(
    monkeypatch: pytest.MonkeyPatch, count: int, seconds: float
) -> None:
    desk, now = Desk(), 100.0
    monkeypatch.setattr(ahead, "monotonic", lambda: now)
    fake: Any = desk
    recall: Any = SimpleNamespace(start=lambda: None)
    looking = Ahead(Settings(topics=("t",), group="g", max_in_flight=100), fake, recall, lambda _: None)
    desk.count = count
    assert looking.make_room_of_delayed(DELAYED) == (count > 0)
    assert looking.make_room_of_delayed(DELAYED) == (not seconds)
    assert desk.looks == (1 if seconds else 2)
    now += seconds
    looking.make_room_of_delayed(DELAYED)
    assert desk.looks == (2 if seconds else 3)

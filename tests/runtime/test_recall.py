"""How long before its time a task is read again: the duration of passes over the logs of all partitions decides."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from processor.engine.assignment import Asked
from processor.engine.delays import LEAD_SECONDS
from processor.engine.ledger import Ledger
from processor.engine.stock import Usage
from processor.runtime import recall
from processor.runtime.ports import Partition, Record
from processor.runtime.recall import Recall
from processor.settings import Settings
from processor.testing.memory.reader import MemoryReader
from tests.runtime.fakes import FakeRecord
from tests.support.scripted_kafka import ScriptedCluster

LARGE, SMALL = Partition("t", 0), Partition("t", 1)
SECONDS = {LARGE: 20.0, SMALL: 0.1}
"""How long a pass takes."""


class Desk:
    """Asks for one task of each of these partitions in turn, and notes the lead each time."""

    def __init__(self, *asks: Partition) -> None:
        self.set_aside = self
        self.runs_low = threading.Event()
        self.tasks = 1
        self.leads: list[float] = []
        self.is_over = threading.Event()
        self._asks, self._is_reading = list(asks), False

    def ask(self, _: Usage, lead: float) -> list[Asked[Partition]]:
        if self._is_reading:
            return []
        self.leads.append(lead)
        if not self._asks:
            self.is_over.set()
            return []
        self._is_reading = True
        return [Asked(self._asks.pop(0), Ledger(0), [0])]

    def note_read(self, _: int) -> None: ...

    def asked(self, _: Ledger) -> list[int]:
        return [0]

    def read_again(self, _: Ledger, records: Sequence[Record]) -> bool:
        self._is_reading = not records
        return True


def test_a_short_pass_over_one_partition_does_not_make_the_tasks_of_another_one_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, desk, cluster = [1000.0], Desk(SMALL, LARGE, SMALL, SMALL), ScriptedCluster()
    cluster.create_topic("t", 2)
    cluster.append(FakeRecord(0, b"s"), FakeRecord(0, b"s", partition=1))

    class Slow(MemoryReader):
        def take(self, limit: int, seconds: float) -> Sequence[Record]:
            records = super().take(limit, seconds)
            now[0] += sum(SECONDS[Partition(record.topic(), record.partition())] for record in records)
            return records

    monkeypatch.setattr(recall, "monotonic", lambda: now[0])
    fake: Any = desk
    source: Any = SimpleNamespace(open_reader=lambda: Slow(cluster))
    recalling = Recall(Settings(topics=("t",), group="g"), fake, source, lambda _: None)
    recalling.start()
    try:
        assert desk.is_over.wait(60)
    finally:
        recalling.close()
    before, after_small, *leads = desk.leads[:5]
    assert (before, after_small) == (LEAD_SECONDS, LEAD_SECONDS)
    assert leads == pytest.approx([40.0, 40.0, 40.0], abs=0.1)

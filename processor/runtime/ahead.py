"""`Ahead`: how far a consumer reads ahead of sessions with very many tasks, and of those that are delayed for long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic

from processor.engine.delays import are_crowded
from processor.engine.overflow import WORTH
from processor.engine.stock import Usage
from processor.runtime.desk import Desk
from processor.runtime.ports import Partition
from processor.runtime.recall import Recall
from processor.settings import Settings
from processor.telemetry.events import ConsumerSetAside, Emit, Reason

LOOK_SECONDS = 0.1
"""Time between two checks of partitions whose tasks fill what may be in flight; and of delayed tasks, if only few of
them could be set aside."""

LOOK_AGAIN_SECONDS = 0.5
"""Time between two checks of delayed tasks while none can be set aside. A check of ten thousand takes some 10 ms."""


class Ahead:
    """Decides when tasks are set aside. Belongs to the poller's thread."""

    def __init__(self, settings: Settings, desk: Desk, recall: Recall, emit: Emit) -> None:
        self._set_aside, self._partitions = desk.set_aside, desk.partitions
        self._recall = recall
        self._emit = emit
        self._limits = Usage(settings.max_in_flight, settings.max_in_flight_bytes)
        self._most = settings.max_ahead
        self._next_look = self._next_look_at_delayed = 0.0
        self._known: set[Partition] = set()
        """Partitions for which it was logged that tasks are set aside."""

    def allows(self, count: int) -> bool:
        """Return whether `count` more records may be admitted whatever their sessions are.

        Records are set aside at once if their session has set-aside tasks. Even if all of these were, the limit would
        hold.
        """
        return not (set_aside := self._set_aside.tasks) or set_aside + count <= self._most

    def limited(self, quotas: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Return the quotas, lowered so that the limit of set-aside tasks holds whatever sessions the records have."""
        set_aside = self._set_aside.partitions_among(quotas)
        if not set_aside:
            return quotas
        limited, room = dict(quotas), self._most - self._set_aside.tasks
        for partition in set_aside:
            limited[partition] = min(limited[partition], max(0, room))
            room -= limited[partition]
        return limited

    def make_room(self, partitions: Iterable[Partition], now: float) -> None:
        """Sets aside tasks of the sessions that fill these partitions, which have more tasks than may be in flight."""
        if now < self._next_look or self._partitions.is_draining:
            return
        self._next_look = now + LOOK_SECONDS
        self._note(
            self._set_aside.make_room(partitions, self._limits, self._most - self._set_aside.tasks), "many tasks"
        )

    def make_room_of_delayed(self, delayed: Mapping[Partition, Usage]) -> bool:
        """Sets aside tasks that are delayed for long, if delayed tasks take much of what may be in flight.

        `delayed` is what they take, by partition. Return whether any were set aside.
        """
        now = monotonic()
        if now < self._next_look_at_delayed or not are_crowded(delayed.values(), self._limits):
            return False
        counts = self._set_aside.make_room_of_delayed(self._limits, self._most - self._set_aside.tasks)
        if not counts:  # all delayed tasks are due soon: check again later
            self._next_look_at_delayed = now + LOOK_AGAIN_SECONDS
        elif WORTH * sum(counts.values()) < sum(usage.tasks for usage in delayed.values()):  # most are due soon
            self._next_look_at_delayed = now + LOOK_SECONDS
        self._note(counts, "delays")
        return bool(counts)

    def _note(self, counts: Mapping[Partition, int], because: Reason) -> None:
        if counts:
            self._log(counts, because)
            self._recall.start()

    def _log(self, counts: Mapping[Partition, int], because: Reason) -> None:
        """Logs each partition once, until nothing of it is set aside any more."""
        self._known.intersection_update(self._set_aside.partitions_among(self._known))
        for partition, count in counts.items():
            if partition not in self._known:
                self._emit(
                    ConsumerSetAside(topic=partition.topic, partition=partition.number, tasks=count, because=because)
                )
        self._known.update(counts)

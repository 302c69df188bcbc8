"""Turns by urgency: which of the ready lanes of all partitions is lent next, while some of them hold urgent tasks.

Until a consumer sees the first task with a priority, none of this exists: the ready lanes of a partition wait in a
deque, and the partitions take turns. From then on each partition has an `UrgencyQueue` instead of the deque.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from processor.engine.lane import Lane
from processor.engine.ledger import Ledger

AGED_TURN = 8
"""Every eighth turn goes to the lane that has waited longest, whatever its urgency, so that none starves."""


class _Place(NamedTuple):
    """A lane's place in the queue."""

    since: int
    """Its number among the lanes of all partitions, in the order in which they became ready."""
    urgency: int


class UrgencyQueue:
    """The ready lanes of one partition, by age and by urgency. `Lanes` uses it like the deque that it replaces."""

    def __init__(self, turns: Turns, ledger: Ledger) -> None:
        self.ledger = ledger
        self.is_open = True
        """Whether its lanes may be lent."""
        self._turns = turns
        self._by_age: OrderedDict[Lane, _Place] = OrderedDict()
        self._classes: dict[int, OrderedDict[Lane, None]] = {}
        """The urgent lanes, by urgency."""

    def __len__(self) -> int:
        return len(self._by_age)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._by_age)

    @property
    def urgent(self) -> int:
        """How many of its lanes hold urgent tasks."""
        return sum(map(len, self._classes.values()))

    @property
    def since(self) -> int:
        """The number of the lane that has waited longest. There must be one."""
        return next(iter(self._by_age.values())).since

    def append(self, lane: Lane, /) -> None:
        """Adds a lane that has become ready."""
        self.put(lane, self._turns.next_number())

    def appendleft(self, lane: Lane, /) -> None:
        """Puts back a lane of which nothing was begun: it counts as the one that has waited longest."""
        urgency = self.put(lane, 0)
        self._by_age.move_to_end(lane, last=False)
        if urgency:
            self._classes[urgency].move_to_end(lane, last=False)

    def put(self, lane: Lane, since: int) -> int:
        """Adds a ready lane with this number. Return its urgency."""
        urgency = lane.urgency
        self._by_age[lane] = _Place(since, urgency)
        self._enter(lane, urgency)
        return urgency

    def lift(self, lane: Lane) -> None:
        """Raises the lane's urgency if a task that has joined it is more urgent. Its age stays."""
        place = self._by_age.get(lane)
        if place is not None and lane.urgency > place.urgency:
            self._leave(lane, place.urgency)
            self._by_age[lane] = place._replace(urgency=lane.urgency)
            self._enter(lane, lane.urgency)

    def popleft(self) -> Lane:
        """Take out the lane that has waited longest."""
        return self.take(next(iter(self._by_age)))

    def most_urgent(self, urgency: int) -> Lane:
        """Return the first lane of this urgency. There must be one."""
        return next(iter(self._classes[urgency]))

    def take(self, lane: Lane) -> Lane:
        """Take out this lane."""
        self._leave(lane, self._by_age.pop(lane).urgency)
        return lane

    def close(self) -> None:
        """Ends the queue: none of its lanes is lent any longer."""
        self.is_open = False
        for urgency in self._classes:
            self._turns.withdraw(self, urgency)

    def _enter(self, lane: Lane, urgency: int) -> None:
        if urgency:
            if urgency not in self._classes:
                self._classes[urgency] = OrderedDict()
                if self.is_open:
                    self._turns.enter(self, urgency)
            self._classes[urgency][lane] = None

    def _leave(self, lane: Lane, urgency: int) -> None:
        if urgency:
            of_class = self._classes[urgency]
            del of_class[lane]
            if not of_class:  # lanes are only taken from open queues, so `_turns` has this class of the queue
                del self._classes[urgency]
                self._turns.withdraw(self, urgency)


class Turns:
    """Decides which lane of all partitions is next. True while a lane with an urgent task is ready.

    The most urgent lanes come first; among lanes of the same urgency, their partitions take turns.
    """

    def __init__(self, ledgers: Iterable[Ledger]) -> None:
        self.taken = 0
        """Turns so far. The caller counts those that lent something."""
        self.queues: dict[Ledger, UrgencyQueue] = {}
        self._rotations: dict[int, OrderedDict[UrgencyQueue, None]] = {}
        self._numbers = 0
        for ledger in ledgers:
            waiting = ledger.lanes.ready
            queue = self.add(ledger)
            for number, lane in enumerate(waiting):  # as old as the lane at the same place in other partitions
                queue.put(lane, number)
            self._numbers = max(self._numbers, len(queue))

    def __bool__(self) -> bool:
        return bool(self._rotations)

    @property
    def urgent(self) -> int:
        """How many ready lanes hold urgent tasks."""
        return sum(queue.urgent for queue in self.queues.values())

    def add(self, ledger: Ledger) -> UrgencyQueue:
        """Replace the ledger's ready lanes by an empty queue, and return it. The caller adds the lanes."""
        queue = self.queues[ledger] = UrgencyQueue(self, ledger)
        ledger.lanes.ready = queue
        return queue

    def remove(self, ledger: Ledger) -> None:
        """Remove a ledger: none of its lanes is lent any more."""
        queue = self.queues.pop(ledger, None)
        if queue is not None:
            queue.close()

    def next(self) -> tuple[Ledger, Lane]:
        """Take out the lane whose turn it is. There must be an urgent one."""
        if (self.taken + 1) % AGED_TURN:
            urgency = max(self._rotations)
            rotation = self._rotations[urgency]
            queue = next(iter(rotation))
            rotation.move_to_end(queue)
            return queue.ledger, queue.take(queue.most_urgent(urgency))
        queue = min((queue for queue in self.queues.values() if queue), key=lambda queue: queue.since)
        return queue.ledger, queue.popleft()

    def next_number(self) -> int:
        """Return the number of a lane that becomes ready."""
        self._numbers += 1
        return self._numbers

    def enter(self, queue: UrgencyQueue, urgency: int) -> None:
        """Note that the queue has its first lane of this urgency."""
        self._rotations.setdefault(urgency, OrderedDict())[queue] = None

    def withdraw(self, queue: UrgencyQueue, urgency: int) -> None:
        """Note that the queue has no more lanes of this urgency to lend."""
        rotation = self._rotations[urgency]
        del rotation[queue]
        if not rotation:
            del self._rotations[urgency]

"""What may run next in one partition: a FIFO for each session, and the order in which sessions get their turn."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

from processor.engine.lane import BLOCKED, DELAYED, LENT, PARKED, READY, RECALLED, Lane
from processor.engine.record import Record
from processor.engine.set_aside import Shelf

QUANTUM = 64
"""The most tasks of one partition, and of one lane, in a turn: enough to share the cost of lending and settling,
few enough that the others' turns come soon."""

LONE_QUANTUM = 256
"""The most tasks of a lane in a turn while no other lane is ready. With one session and no-op tasks, each turn
costs a visit to the desk."""

HOT_TASKS = 8
"""The smallest limit of a loan from a session that has more than a worker's share of all waiting tasks.

Its tasks run one after the other in any case, and are the last to end: each visit to the desk between two of them is
time lost. With 10 ms tasks by Zipf(1.0), that was 0.6 ms a task.
"""


class ReadyLanes(Protocol):
    """Lanes for workers, the next one at the left: a deque, or a queue that also considers urgency."""

    def append(self, lane: Lane, /) -> None:
        """Adds a lane that has had its turn, or is new."""

    def appendleft(self, lane: Lane, /) -> None:
        """Puts back, in front, a lane that was taken out but had no turn."""

    def popleft(self) -> Lane:
        """Takes out the next lane."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Lane]: ...


class Lanes:
    """The lanes of one assigned partition.

    Ready lanes wait in one queue: a lane that has had its turn goes to the end, so a session with a
    million tasks gets as many turns as any other. A record without a key gets its own lane, and is
    in the queue only.
    """

    __slots__ = ("_blocked", "_by_key", "_delayed", "_keyless", "_parked", "lifted", "ready", "shelves", "waiting")

    def __init__(self, blocked: Iterable[bytes] = ()) -> None:
        """`blocked` are the sessions that must wait until `unblock`."""
        self.ready: ReadyLanes = deque()
        self.lifted: list[Lane] = []
        """Lanes that an urgent task has joined. The caller moves them in the queue, and clears this list."""
        self.waiting = 0
        """Number of tasks in lanes, without those that are lent."""
        self.shelves: Mapping[bytes | None, Shelf] = {}
        """For each session, its tasks whose records were dropped. The lane of such a session does not end if empty."""
        self._by_key: dict[bytes, Lane] = {}
        self._blocked = set(blocked)
        self._keyless = 0
        # Not sets: their order depends on memory addresses, and each run should set aside the same tasks.
        self._parked: dict[Lane, None] = {}
        self._delayed: dict[Lane, None] = {}

    def __len__(self) -> int:
        return len(self._by_key) + self._keyless

    def admit(self, records: Sequence[Record], keys: Sequence[bytes | None]) -> None:
        """Appends each record to its session's lane; `keys` are theirs."""
        by_key, blocked, ready = self._by_key, self._blocked, self.ready
        find = by_key.get
        for record, key in zip(records, keys, strict=True):
            lane = find(key)  # type: ignore[arg-type]  # without a key there is none
            if lane is not None:
                lane.waiting.append(record)
            elif key is None or blocked:
                self._open(key, record)
            else:
                lane = by_key[key] = Lane(key, READY, record)
                ready.append(lane)
        self.waiting += len(records)

    def admit_urgent(
        self, records: Sequence[Record], keys: Sequence[bytes | None], priorities: Mapping[int, int]
    ) -> None:
        """Does the same where some of the records have `priorities`, by offset."""
        find = self._by_key.get
        for record, key in zip(records, keys, strict=True):
            lane = find(key)  # type: ignore[arg-type]  # without a key there is none
            if lane is None:
                lane = self._open(key, record)
            else:
                lane.waiting.append(record)
            priority = priorities.get(record.offset())
            if priority:
                lane.lift(record.offset(), priority)
                self.lifted.append(lane)
        self.waiting += len(records)

    def lend(self, lane: Lane, limit: int, share: int | None = None) -> list[Record]:
        """Lends a lane that was taken out of the queue. Return at most `limit` of its oldest tasks.

        If it has more than `share`, the limit is at least `HOT_TASKS`.
        """
        lane.state = LENT
        records = lane.waiting
        if share is not None and len(records) > share:
            limit = max(limit, HOT_TASKS)
        if len(records) <= limit:
            lane.waiting = []
        else:
            records = records[:limit]
            del lane.waiting[:limit]
        self.waiting -= len(records)
        return records

    def lend_next(self, limit: int, share: int | None = None) -> list[tuple[Lane, list[Record]]]:
        """Lends the next ready lanes, with at most `limit` tasks together.

        A lane gets at most `QUANTUM` of them while others are ready, else `LONE_QUANTUM`. See `lend` for `share`.
        """
        ready, lent, whole = self.ready, list[tuple[Lane, list[Record]]](), 0
        while limit > 0 and ready:
            lane = ready.popleft()
            records = lane.waiting
            count = len(records)
            if count <= QUANTUM and count <= limit:  # `min` would take as long as all the rest
                lane.state = LENT
                lane.waiting = []
                whole += count
            else:
                records = self.lend(lane, min(limit, QUANTUM if ready else LONE_QUANTUM), share)
                count = len(records)
            limit -= count
            lent.append((lane, records))
        self.waiting -= whole
        return lent

    def give_back(self, lane: Lane, unfinished: list[Record], *, first: bool = False) -> bool:
        """Takes back a lent lane with its unsettled tasks. Return whether it is ready again.

        It goes to the end of the queue or, if it never had its turn (`first`), to the front.
        """
        if unfinished:
            self.put_front(lane, unfinished)
        if not lane.waiting:
            if self.shelves and lane.key in self.shelves:
                lane.state = RECALLED
            else:
                self.end(lane)
            return False
        lane.state = READY
        if first:
            self.ready.appendleft(lane)
        else:
            self.ready.append(lane)
        return True

    def give_back_done(self, lanes: Iterable[Lane]) -> int:
        """Takes back lent lanes whose lent tasks are all settled. Return how many of them are ready again.

        Only for partitions of which nothing is set aside.
        """
        ready, before, by_key = self.ready, len(self.ready), self._by_key
        for lane in lanes:
            if lane.waiting:
                lane.attempts = 0
                lane.setback = None
                lane.state = READY
                ready.append(lane)
            elif lane.key is None:
                self._keyless -= 1
            else:
                del by_key[lane.key]
        return len(ready) - before

    def take_more(self, lane: Lane, limit: int) -> list[Record]:
        """Lends at most `limit` more of a lent lane's oldest tasks. Return them."""
        records = lane.waiting[:limit]
        del lane.waiting[:limit]
        self.waiting -= len(records)
        return records

    def put_front(self, lane: Lane, unfinished: list[Record]) -> None:
        """Puts tasks that were lent back into the lane, in front of all others."""
        lane.waiting[:0] = unfinished
        self.waiting += len(unfinished)

    def park(self, lane: Lane, unfinished: list[Record]) -> None:
        """Takes back a lent lane whose head may not run now. It waits until `wake`."""
        self.put_front(lane, unfinished)
        lane.state = PARKED
        self._parked[lane] = None

    def delay(self, lane: Lane) -> None:
        """Makes a lane that was taken out of the queue wait until `wake`: its head may not begin yet."""
        lane.state = DELAYED
        self._delayed[lane] = None

    def is_delayed(self, key: bytes | None) -> bool:
        """Return whether this session waits for the time of its head. A new task without a key does not."""
        lane = self._by_key.get(key)  # type: ignore[arg-type]  # without a key there is none
        return lane is not None and lane.state is DELAYED

    def parked_lanes(self) -> list[Lane]:
        """Return the lanes that are parked or held, those that have waited longest first."""
        return list(self._parked)

    def delayed_lanes(self) -> list[Lane]:
        """Return the lanes that wait for the time of their head, those that have waited longest first."""
        return list(self._delayed)

    def drop(self, lane: Lane) -> list[Record]:
        """Ends a delayed lane. Return its tasks."""
        self._delayed.pop(lane, None)
        self.waiting -= len(lane.waiting)
        self.end(lane)
        return lane.waiting

    def wake(self, lane: Lane) -> None:
        """Makes a parked or delayed lane ready, whose next attempt is due."""
        self._parked.pop(lane, None)
        self._delayed.pop(lane, None)
        lane.state = READY
        self.ready.append(lane)

    def waits(self, lane: Lane) -> bool:
        """Return whether the lane is parked, held or delayed."""
        return lane in self._parked or lane in self._delayed

    def waiting_lanes(self) -> list[Lane]:
        """Return the lanes that are parked, held or delayed."""
        return [*self._parked, *self._delayed]

    def claim(self, lane: Lane) -> list[Record]:
        """Lends the head of a lane that waits, whatever it waits for."""
        self._parked.pop(lane, None)
        self._delayed.pop(lane, None)
        return self.lend(lane, 1)

    def unblock(self, key: bytes) -> bool:
        """Unblocks a session, whose earlier handler has ended. Return whether its lane became ready."""
        self._blocked.discard(key)
        lane = self._by_key.get(key)
        if lane is None:
            return False
        self.wake(lane)
        return True

    def longest(self, count: int) -> list[tuple[bytes, int]]:
        """Return the `count` sessions with the most waiting tasks, and the number of these."""
        lengths = ((len(lane.waiting) + self.waiting_elsewhere(key), key) for key, lane in self._by_key.items())
        return [(key, length) for length, key in heapq.nlargest(count, lengths)]

    def waiting_elsewhere(self, key: bytes | None) -> int:
        """Return how many tasks of the session are set aside."""
        if not self.shelves:
            return 0
        shelf = self.shelves.get(key)
        return len(shelf) + shelf.asked if shelf is not None else 0

    def longer_than(self, length: int) -> list[Lane]:
        """Return the lanes in which more than `length` tasks wait, except those of tasks without a key."""
        return [lane for lane in self._by_key.values() if len(lane.waiting) > length]

    def drop_behind(self, lane: Lane, length: int) -> list[Record]:
        """Leaves the lane its `length` oldest tasks. Return the others."""
        dropped = lane.waiting[length:]
        del lane.waiting[length:]
        self.waiting -= len(dropped)
        return dropped

    def put_back(self, lane: Lane, record: Record) -> bool:
        """Appends a task that was set aside. Return whether that makes the lane ready."""
        lane.waiting.append(record)
        self.waiting += 1
        if lane.state is not RECALLED:
            return False
        lane.state = READY
        self.ready.append(lane)
        return True

    def take_in(self, record: Record) -> Lane:
        """Appends a task that was set aside to its session's lane, which may have ended. Return the lane."""
        key = record.key()
        lane = self._by_key.get(key)  # type: ignore[arg-type]  # without a key there is none
        if lane is None:
            lane = self._open(key, record)
        else:
            lane.waiting.append(record)
        self.waiting += 1
        return lane

    def readmit(self, key: bytes | None, records: Sequence[Record]) -> None:
        """Appends records that were in no lane for a while to their session's lane."""
        lane = self._by_key.get(key)  # type: ignore[arg-type]  # without a key there is none
        if lane is None:
            lane = self._open(key, records[0])
            lane.waiting.extend(records[1:])
        else:
            lane.waiting.extend(records)
            if lane.state is RECALLED:
                lane.state = READY
                self.ready.append(lane)
        self.waiting += len(records)

    def has_lane(self, key: bytes | None) -> bool:
        """Return whether the session has tasks that wait or are lent."""
        return key in self._by_key

    def parked(self) -> int:
        """Return how many lanes wait for their head's next attempt."""
        return len(self._parked)

    def delayed(self) -> int:
        """Return how many lanes wait for the time of their head."""
        return len(self._delayed)

    def headed_by(self, offset: int) -> Lane | None:
        """Return the lane that is not lent and whose oldest task is at `offset`. The cost grows with the lanes."""
        keyless = chain(self._delayed, self.ready) if self._keyless else ()
        lanes = chain(self._by_key.values(), self._parked, keyless)
        return next((lane for lane in lanes if lane.waiting and lane.waiting[0].offset() == offset), None)

    def _open(self, key: bytes | None, first: Record) -> Lane:
        if key in self._blocked:
            lane = self._by_key[key] = Lane(key, BLOCKED, first)
            return lane
        lane = Lane(key, READY, first)
        self.ready.append(lane)
        if key is None:
            self._keyless += 1
        else:
            self._by_key[key] = lane
        return lane

    def end(self, lane: Lane) -> None:
        """Removes a lane that has no task any more, here or set aside."""
        if lane.key is None:
            self._keyless -= 1
        else:
            del self._by_key[lane.key]

"""`Joins`: arrivals of one partition that wait for the other branches of their group, and markers of complete joins.

Both are *kept*: they are unsettled, so that the log has them after a crash or a rebalance, and they are in no lane, so
that nothing waits behind them.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from processor.engine.record import Headers, Record

Identity = tuple[str, str]
"""The ID of a join, and the run of its group."""

SPARE_EXPIRIES = 1000
"""Expiry times of complete joins are dropped once all times exceed twice the open joins by this many."""


MOST_RECENT = 10_000
"""Complete joins that are remembered per partition."""

MOST_NAMES = 10
"""The most branches that one text names."""


class Standing(enum.Enum):
    """What an arrival means to its join."""

    KEPT = "the join waits for other branches"
    REPEATED = "its branch has already arrived"
    LAST = "all branches have arrived"


class Due(NamedTuple):
    """An arrival, as its headers describe it."""

    identity: Identity
    of: int
    """The number of branches."""
    branch: int
    """The index of its branch."""
    expires: float = inf
    """The time in seconds since the epoch."""
    not_before: float = -inf
    """The join is not given up before this time: what stands behind a late arrival in the log may complete it."""


class KeptRecord:
    """A record reduced to what is needed. Values that are equal in all arrivals at a join are kept once.

    The client gives each record its own copy of the headers, and these contain all that follows from the group.
    """

    __slots__ = ("pairs", "place", "shared_key", "size", "stamp", "text", "where")

    def __init__(self, record: Record, size: int, other: KeptRecord | None = None) -> None:
        """`size` is that of the record in bytes. `other` is an arrival at the same join."""
        self.size = size
        self.where = record.offset()
        self.text = record.value()
        self.stamp = record.timestamp()
        self.place: tuple[str, int] = other.place if other is not None else (record.topic(), record.partition())
        self.shared_key: bytes | None = other.shared_key if other is not None else record.key()
        known: dict[object, Any] = {part: part for pair in other.pairs for part in pair} if other is not None else {}
        self.pairs: tuple[tuple[str, bytes | None], ...] = tuple(
            (known.get(name, name), known.get(value, value)) for name, value in record.headers() or ()
        )

    def topic(self) -> str:
        """Return the topic."""
        return self.place[0]

    def partition(self) -> int:
        """Return the number of the partition."""
        return self.place[1]

    def offset(self) -> int:
        """Return the offset."""
        return self.where

    def key(self) -> bytes | None:
        """Return the key, the ID of the join."""
        return self.shared_key

    def value(self) -> bytes | None:
        """Return the value."""
        return self.text

    def headers(self) -> Headers | None:
        """Return the headers."""
        return list(self.pairs)

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of its time, and the time in epoch milliseconds."""
        return self.stamp

    def error(self) -> object | None:
        """Return None: it is a record."""
        return None


class Join:
    """A join of which some branches have arrived."""

    __slots__ = ("expires", "is_ending", "kept", "of", "since")

    def __init__(self, of: int, expires: float, since: float) -> None:
        self.of = of
        self.expires = expires
        self.since = since
        """When its first arrival was kept, in the caller's seconds."""
        self.kept: dict[int, KeptRecord] = {}
        """The kept arrivals, by the index of the branch."""
        self.is_ending = False
        """Whether the last arrival has been delivered, and the next task is being sent."""

    @property
    def missing(self) -> list[int]:
        """Return the indices of the branches that have not arrived."""
        return [index for index in range(self.of) if index not in self.kept]


class Marker(NamedTuple):
    """A join that is complete. Its record is kept until no branch of it can arrive again."""

    record: KeptRecord
    since: float
    """When it was kept, in the caller's seconds."""
    path: Mapping[str, Mapping[int, Sequence[int]]]
    """Offsets of tasks that may run again until the group has committed them, by partition by topic."""


class Doubtful(NamedTuple):
    """A join of which an arrival is kept, and that may have been complete before the partition was assigned."""

    identity: Identity
    since: float
    """When the arrival was kept, in the caller's seconds."""
    begun: int
    """The offset of the record by which its group began, in the same partition."""
    arrived: int
    """The offset of the arrival."""


class Joins:
    """The joins of one partition. They belong to its ledger."""

    __slots__ = (
        "_assigned_at",
        "_doubtful",
        "_expiries",
        "_failed",
        "_recent",
        "bytes",
        "kept",
        "markers",
        "offsets",
        "open",
        "tasks",
    )

    def __init__(self, assigned_at: int | None = None) -> None:
        """`assigned_at` is the offset at which the partition was assigned; None if it had not begun."""
        self._assigned_at = assigned_at
        self._doubtful: deque[Doubtful] = deque()
        self.bytes = 0
        """The total size of the kept records."""
        self.open: dict[Identity, Join] = {}
        self.markers: dict[Identity, Marker] = {}
        self.offsets: set[int] = set()
        """The offsets of the kept arrivals."""
        self.kept = 0
        """Number of arrivals kept so far."""
        self.tasks = 0
        """Records that are kept."""
        self._expiries: list[tuple[float, Identity]] = []
        self._failed: set[Identity] = set()
        """Joins whose last arrival has come, but from which nothing follows."""
        self._recent: dict[Identity, None] = {}
        """Recently completed joins, oldest first: a task that ran on elsewhere may still arrive."""

    def arrive(self, due: Due, record: Record, size: int, now: float) -> Standing:
        """Keeps an arrival, unless it is the last one or a repeated one. Returns which of these it is.

        `size` is that of the record in bytes, `now` is in the caller's seconds.
        """
        join = self.open.get(due.identity)
        is_complete = due.identity in self.markers or due.identity in self._recent
        if is_complete or (join is not None and due.branch in join.kept):
            return Standing.REPEATED
        if len(self.arrivals(due.identity)) == due.of - 1:
            if join is not None:
                join.is_ending = True
            return Standing.LAST
        if join is None:
            join = self.open[due.identity] = Join(due.of, due.expires, now)
            if due.expires != inf:
                heapq.heappush(self._expiries, (max(due.expires, due.not_before), due.identity))
            self._doubt(due.identity, record, now)
        join.kept[due.branch] = KeptRecord(record, size, next(iter(join.kept.values()), None))
        self.offsets.add(record.offset())
        self.kept += 1
        self.tasks += 1
        self.bytes += size
        return Standing.KEPT

    def _doubt(self, identity: Identity, record: Record, now: float) -> None:
        place, _, offset = identity[1].rpartition("-")
        if self._assigned_at is not None and place == f"{record.topic()}-{record.partition()}" and offset.isdecimal():
            begun = int(offset)
            if begun < self._assigned_at:
                self._doubtful.append(Doubtful(identity, now, begun, record.offset()))

    def take_doubtful(self, before: float) -> list[Doubtful]:
        """Return, each only once, joins that may have been complete and have waited since `before` or longer."""
        found = []
        while self._doubtful and self._doubtful[0].since <= before:
            doubtful = self._doubtful.popleft()
            if self.waits(doubtful.identity):
                found.append(doubtful)
        return found

    def waits(self, identity: Identity) -> bool:
        """Return whether a join waits for branches."""
        join = self.open.get(identity)
        return join is not None and not join.is_ending

    def arrivals(self, identity: Identity) -> Mapping[int, KeptRecord]:
        """Return the arrivals of a join that are kept, by the index of their branch."""
        join = self.open.get(identity)
        return join.kept if join is not None else {}

    def fail(self, identity: Identity) -> None:
        """Notes that nothing follows from a complete join: its arrivals are dead letters, and may be replayed."""
        self._failed.add(identity)

    def complete(self, identity: Identity) -> list[KeptRecord]:
        """Takes the arrivals of a join whose next task was sent. Further arrivals count as repeated from now on."""
        if identity in self._failed:
            self._failed.discard(identity)
        else:
            self._remember(identity)
        return self.take(identity)

    def take(self, identity: Identity) -> list[KeptRecord]:
        """Forgets a join that is over, and returns its arrivals."""
        join = self.open.pop(identity, None)
        kept = list(join.kept.values()) if join is not None else []
        self.offsets.difference_update([record.offset() for record in kept])
        self._forget(kept)
        if len(self._expiries) > 2 * len(self.open) + SPARE_EXPIRIES:
            self._expiries = [entry for entry in self._expiries if entry[1] in self.open]
            heapq.heapify(self._expiries)
        return kept

    def mark(self, identity: Identity, marker: Marker) -> bool:
        """Keep a marker. Return whether the join had none; then the caller takes its arrivals, if any are kept."""
        if identity in self.markers:
            return False
        self._recent.pop(identity, None)
        self.markers[identity] = marker
        self.tasks += 1
        self.bytes += marker.record.size
        return True

    def unmark(self, identities: Iterable[Identity]) -> list[int]:
        """Forgets those of these markers that are kept. Return their offsets."""
        known = [identity for identity in identities if identity in self.markers]
        found = [self.markers.pop(identity).record for identity in known]
        self._forget(found)
        for identity in known:
            self._remember(identity)
        return [record.offset() for record in found]

    def holder_of(self, offset: int) -> tuple[Identity, KeptRecord, float] | None:
        """Return the join whose arrival or marker is at this offset, with the record, and since when it is kept.

        The cost grows with the number of joins.
        """
        for identity, join in self.open.items() if offset in self.offsets else ():
            for record in join.kept.values():
                if record.offset() == offset:
                    return identity, record, join.since
        for identity, marker in self.markers.items():
            if marker.record.offset() == offset:
                return identity, marker.record, marker.since
        return None

    def _remember(self, identity: Identity) -> None:
        self._recent[identity] = None
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]

    def _forget(self, records: Sequence[KeptRecord]) -> None:
        self.tasks -= len(records)
        self.bytes -= sum(record.size for record in records)

    def next_expiry(self) -> float | None:
        """Return when the next join expires, which may be complete already; None if there is none."""
        return self._expiries[0][0] if self._expiries else None

    def lasting(self, epoch: float) -> set[int]:
        """Return the offsets of arrivals at joins that do not expire before `epoch`, in seconds since the epoch."""
        expiring = (join for join in self.open.values() if join.expires < epoch)
        others = {record.offset() for join in expiring for record in join.kept.values()}
        return self.offsets - others if others else self.offsets

    def expired(self, epoch: float, most: int) -> list[Identity]:
        """Return at most `most` open joins that have expired at `epoch`, each once. `epoch` is in seconds since the
        epoch.

        A join may have several times: that of a join which was taken stays, and its arrivals may come again.
        """
        found: dict[Identity, None] = {}
        while self._expiries and self._expiries[0][0] < epoch and len(found) < most:
            _, identity = heapq.heappop(self._expiries)
            join = self.open.get(identity)
            if join is not None and not join.is_ending:
                found[identity] = None
        return list(found)

    def describe(self, identity: Identity) -> str:
        """Return what a join waits for, in words."""
        join = self.open.get(identity)
        if join is None:
            return f"the join {identity[0]} is complete, and waits until the group has committed its branches"
        return f"the join {identity[0]} waits for {missing_ids(identity[0], join.missing)}"


def missing_ids(join_id: str, missing: Sequence[int]) -> str:
    """Return the IDs of branches as text; if there are many, the first ones and how many more there are."""
    group = join_id.removesuffix("/then")
    names = [f"{group}/{index + 1}" for index in missing[:MOST_NAMES]]
    more = len(missing) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")

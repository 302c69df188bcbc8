"""Growth of a topic: when a partition may begin that its group has never committed, and up to which offset.

When partitions are added, sessions move, and the later tasks of a session stand in another partition than the earlier
ones. So a new partition waits for those with lower numbers: if the count is multiplied, a session moves to a new
partition or stays, and never moves to a lower number.

A new partition is opened by *cuts*. A cut is an end offset of the new partition, and the end offsets of its
predecessors as they were later. Once the group has committed those, every task that a session had before its records
below the cut is settled. The first cut ends the hold of the partition. More cuts follow while the partition is watched:
a producer may learn of the growth minutes later, and write to the old partition meanwhile. No producer's clock
matters. The last cut is made when the watch is over and every producer knows of the growth. Its ends cover all that
was written to an old partition, so once those are committed, the partition has no bound any more.

The watch begins when the growth is seen, not when the partition begins. A delayed task may hold the partition for
hours; the last cut is made meanwhile, not afterwards.

Partitions are `(topic, number)`. What the group and the brokers answered is passed as plain values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import NamedTuple

from processor.engine.commit_note import split
from processor.engine.progress_record import noted_until

Place = tuple[str, int]
"""A topic and the number of a partition."""

HELD = -1
"""The gate of a partition of which nothing may begin, not even its first offset."""

WATCH_SECONDS = 330.0
"""How long a partition is watched after it was first seen. Producers ask for a topic's partitions every five minutes
(`metadata.max.age.ms` in Java, `topic.metadata.refresh.interval.ms` in librdkafka), and may be late by a request."""

ASK_SECONDS, LONGEST_ASK_SECONDS = 0.25, 10.0
"""The shortest and the longest time between two surveys while a cut is awaited."""

ASK_SHARE = 20
"""Between these bounds, the time is a twentieth of the time for which the cut has been awaited, so that the partition
begins late by at most a twentieth."""


class Extent(NamedTuple):
    """One partition as a survey found it."""

    start: int
    """Its lowest offset."""
    end: int
    committed: int | None
    """The offset that the group has committed; None if there is none."""
    begun_with: int | None = None
    """The commit's note: how many partitions the topic had when the group began it, or 0 if the partition is watched;
    None without a note."""

    kept: int = 0
    """Number of offsets from the committed one on among which only records of joins are unsettled."""

    @property
    def settled(self) -> int:
        """Every task in it below this offset is settled.

        Arrivals are not tasks. One that waits at a join may need a branch from the new partition.
        """
        return self.start if self.committed is None else self.committed + self.kept

    @property
    def is_old(self) -> bool:
        """Whether the group has processed it for longer than any watch lasts."""
        return self.committed is not None and self.begun_with != 0


def extent_of(start: int, end: int, committed: int | None, metadata: str, now: float) -> Extent:
    """Return a partition with what the metadata of its commit notes at `now`, in seconds since the epoch."""
    _, note = split(metadata)
    begun_with = note.begun_with if note is not None and note.until > now else None
    noted = noted_until(metadata, committed) if committed is not None else None
    return Extent(start, end, committed, begun_with, noted - committed if noted and committed is not None else 0)


class Begin(NamedTuple):
    """The partition may be processed without a bound."""

    place: Place
    at: int | None
    """Where it starts; None if it had begun."""
    begun_with: int | None
    """What its commits are to note; None for nothing."""


class Hold(NamedTuple):
    """The partition waits until the group has settled others up to their `targets`."""

    place: Place
    targets: Mapping[int, int]
    partitions: int
    """How many partitions the topic has."""
    before: int
    """How many it had before it grew; 0 if that is not known."""


class Open(NamedTuple):
    """The partition may be processed below `gate`."""

    place: Place
    at: int | None
    """Where it starts; None if it had begun."""
    gate: int


class Grown(NamedTuple):
    """A topic has grown once more, while partitions of an earlier growth waited."""

    topic: str
    before: int
    partitions: int


class Uneven(NamedTuple):
    """The number of partitions was not multiplied: sessions move between old partitions too, and nothing waits there.

    Each partition of the topic that is new reports it.
    """

    topic: str
    before: int
    partitions: int


Decision = Begin | Hold | Open | Grown | Uneven


class _Newcomer:
    """One partition that has not begun, or is watched."""

    __slots__ = (
        "asked",
        "awaited_since",
        "begun",
        "gate",
        "is_logged",
        "last_targets",
        "next_question",
        "partitions",
        "predecessors",
        "seen_end",
        "start",
        "targets",
        "until",
    )

    def __init__(self, until: float | None) -> None:
        self.begun = until is not None
        self.until = until
        """When its last cut is made; None before it is found in a survey."""
        self.gate = HELD
        self.asked = False
        """Whether the survey that is under way is about it."""
        self.next_question = -inf
        """The earliest time of the next survey about it."""
        self.awaited_since: float | None = None
        """When its latest cut was made; without a cut, when it was first surveyed after it was added or opened."""
        self.is_logged = False
        self.start: int | None = None
        """Its lowest offset in the last survey."""
        self.partitions = 0
        """How many its topic had in the last survey."""
        self.predecessors: frozenset[int] | None = None
        self.seen_end: int | None = None
        """Its end in an earlier survey: where the next cut is made."""
        self.targets: dict[int, int] | None = None
        """What the cut at `seen_end` waits for; None while there is none."""
        self.last_targets: dict[int, int] | None = None
        """What the last cut waits for; None before it is made."""

    def await_until(self, now: float, *, may_cut: bool) -> None:
        """Sets the next survey: at once if its answer may make a cut, else after a pause that grows with the wait."""
        since = now if self.awaited_since is None else self.awaited_since
        pause = min(max((now - since) / ASK_SHARE, ASK_SECONDS), LONGEST_ASK_SECONDS)
        self.next_question = now if may_cut else now + pause


class Growth:
    """The partitions of one consumer that are new to their group. Times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._newcomers: dict[Place, _Newcomer] = {}
        self._asked_at = 0.0
        self._is_asking = False

    def __bool__(self) -> bool:
        return bool(self._newcomers)

    def add(self, place: Place) -> None:
        """Adds an assigned partition of which the group has committed nothing."""
        self._newcomers[place] = _Newcomer(None)

    def watch(self, place: Place, until: float) -> None:
        """Watches an assigned partition until then: it was new to the consumer that had it before.

        That time may be over: then its last cut is still to be made, or to be reached.
        """
        self._newcomers[place] = _Newcomer(until)

    def forget(self, places: Iterable[Place]) -> None:
        """Forgets partitions that no longer belong to this consumer."""
        for place in places:
            self._newcomers.pop(place, None)

    @property
    def topics(self) -> set[str]:
        """The topics of which a partition has not begun, or is watched."""
        return {topic for topic, _ in self._newcomers}

    def watched_until(self, place: Place) -> float | None:
        """Return until when the partition is watched; None where it is not, or was not found in a survey yet."""
        newcomer = self._newcomers.get(place)
        return newcomer.until if newcomer is not None else None

    def targets(self, place: Place) -> Mapping[int, int]:
        """Return which offsets of which partitions have to be committed before more of the partition may begin."""
        newcomer = self._newcomers.get(place)
        return (newcomer.targets or newcomer.last_targets or {}) if newcomer is not None else {}

    def start(self, place: Place) -> int | None:
        """Return the lowest offset of a partition that has not begun; None if it has, or is not surveyed yet."""
        newcomer = self._newcomers.get(place)
        return newcomer.start if newcomer is not None and not newcomer.begun else None

    def question(self, now: float, blocked: Collection[Place]) -> list[str]:
        """Return the topics to survey now; none while a survey is under way.

        Args:
            now: the time.
            blocked: partitions with records that wait at the gate.
        """
        if self._is_asking:
            return []
        waiting = {
            place: newcomer
            for place, newcomer in self._newcomers.items()
            if not newcomer.begun or place in blocked or _is_watch_over(newcomer, now)
        }
        topics = {topic for (topic, _), newcomer in waiting.items() if newcomer.next_question <= now}
        for (topic, _), newcomer in waiting.items():
            newcomer.asked = topic in topics
            if newcomer.awaited_since is None:
                newcomer.awaited_since = now
        self._is_asking, self._asked_at = bool(topics), now
        return sorted(topics)

    def fail(self, now: float) -> None:
        """Ends the survey that is under way, without its answer."""
        self._is_asking = False
        for newcomer in self._newcomers.values():
            if newcomer.asked:
                newcomer.asked = False
                newcomer.await_until(now, may_cut=False)

    def answer(self, topics: Mapping[str, Mapping[int, Extent]], now: float) -> list[Decision]:
        """Return what follows from a survey of the topics, each with its partitions by number."""
        asked = [(place, newcomer) for place, newcomer in self._newcomers.items() if newcomer.asked]
        self.fail(now)
        decisions: list[Decision] = []
        for (topic, number), newcomer in asked:
            found = topics.get(topic, {})
            if number in found:  # a broker may not know of it yet
                decided = self._decide((topic, number), newcomer, found, now)
                decisions += [decision for decision in decided if decision not in decisions]
                newcomer.await_until(now, may_cut=newcomer.targets is None and newcomer.last_targets is None)
        return decisions

    def _decide(self, place: Place, newcomer: _Newcomer, found: Mapping[int, Extent], now: float) -> list[Decision]:
        topic, number = place
        decisions: list[Decision] = []
        if newcomer.predecessors is None:
            if not newcomer.begun and found[number].committed is not None:
                return self._recognise(place, newcomer, found, now)
            newcomer.predecessors = predecessors(number, found)
            begun_with = beginning_of(found)
            is_fresh = all(extent.committed is None for extent in found.values())
            if is_fresh or not newcomer.predecessors or (begun_with is not None and number < begun_with):
                del self._newcomers[place]
                at = None if newcomer.begun else found[number].start
                return [Begin(place, at, len(found) if is_fresh else begun_with)]
            if not newcomer.begun:
                newcomer.until = now + WATCH_SECONDS
                decisions += _unless_multiplied(topic, _before(found), len(found))
        if 0 < newcomer.partitions < len(found):
            decisions += _unless_multiplied(topic, newcomer.partitions, len(found))
            if not newcomer.begun:
                decisions.append(Grown(topic, newcomer.partitions, len(found)))
        newcomer.partitions, newcomer.start = len(found), found[number].start
        return decisions + (self._last_cut(place, newcomer, found, now) or self._cut(place, newcomer, found, now))

    def _recognise(self, place: Place, newcomer: _Newcomer, found: Mapping[int, Extent], now: float) -> list[Decision]:
        """Take a partition that has begun, although the group's offsets could not be read when it was assigned."""
        own = found[place[1]]
        if own.is_old:
            del self._newcomers[place]
            return [Begin(place, None, own.begun_with)]
        newcomer.begun, newcomer.until = True, now + WATCH_SECONDS
        return self._decide(place, newcomer, found, now)

    def _last_cut(self, place: Place, newcomer: _Newcomer, found: Mapping[int, Extent], now: float) -> list[Decision]:
        if newcomer.last_targets is None:
            if not _is_watch_over(newcomer, self._asked_at):
                return []
            newcomer.last_targets, newcomer.awaited_since = _ends(newcomer, found), now
        newcomer.last_targets = _unreached(newcomer.last_targets, found)
        if newcomer.last_targets:
            return []
        del self._newcomers[place]
        return [Begin(place, None if newcomer.begun else found[place[1]].start, None)]

    def _cut(self, place: Place, newcomer: _Newcomer, found: Mapping[int, Extent], now: float) -> list[Decision]:
        own = found[place[1]]
        decisions: list[Decision] = []
        if newcomer.begun and newcomer.last_targets is not None and newcomer.targets is None:
            return decisions  # a cut that was made now would wait for more than the last one
        if newcomer.targets is None and newcomer.seen_end is not None and newcomer.seen_end > newcomer.gate:
            newcomer.targets, newcomer.awaited_since = _ends(newcomer, found), now
        if newcomer.targets is None:
            newcomer.seen_end = own.end
            return decisions
        newcomer.targets = _unreached(newcomer.targets, found)
        if newcomer.targets:
            if not newcomer.is_logged and not newcomer.begun:
                newcomer.is_logged = True
                decisions.append(Hold(place, newcomer.targets, len(found), _before(found)))
            return decisions
        assert newcomer.seen_end is not None
        decisions.append(Open(place, None if newcomer.begun else own.start, newcomer.seen_end))
        newcomer.gate, newcomer.targets, newcomer.seen_end = newcomer.seen_end, None, own.end
        newcomer.begun, newcomer.awaited_since = True, None
        return decisions


def predecessors(number: int, found: Mapping[int, Extent]) -> frozenset[int]:
    """Return the partitions that may hold earlier tasks of the sessions of this one.

    Those are the old ones with a lower number. If the topic has grown more than once, new ones may be among them: for
    each possible earlier count, the partition that the sessions of this one had then.
    """
    counts = [count for count in range(1, number + 1) if len(found) % count == 0]
    lineage = {number % count for count in counts}
    return frozenset(p for p, extent in found.items() if p < number and (extent.is_old or p in lineage))


def _is_watch_over(newcomer: _Newcomer, now: float) -> bool:
    return newcomer.until is not None and now >= newcomer.until


def _ends(newcomer: _Newcomer, found: Mapping[int, Extent]) -> dict[int, int]:
    """Return the ends of its predecessors."""
    return {number: found[number].end for number in newcomer.predecessors or () if number in found}


def _unreached(targets: Mapping[int, int], found: Mapping[int, Extent]) -> dict[int, int]:
    """Return those of the targets that the group has not settled yet. A partition that is gone holds up nothing.

    A partition that ends below its target was recreated, or has lost records: its end is the target then.
    """
    present = {number: min(end, found[number].end) for number, end in targets.items() if number in found}
    return {number: end for number, end in present.items() if end > found[number].settled}


def _unless_multiplied(topic: str, before: int, partitions: int) -> list[Decision]:
    return [Uneven(topic, before, partitions)] if before and partitions % before else []


def beginning_of(found: Mapping[int, Extent]) -> int | None:
    """Return with how many partitions the group began the topic; None if no commit notes it any more."""
    return max((extent.begun_with or 0 for extent in found.values()), default=0) or None


def _before(found: Mapping[int, Extent]) -> int:
    """Return the count before the growth: the lowest number that is not old; 0 if that is not known.

    It is not known if the group has committed only higher partitions. A plain consumer does that if it commits only
    partitions that had records.
    """
    return min(number for number, extent in found.items() if not extent.is_old)

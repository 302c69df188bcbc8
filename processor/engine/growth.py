"""Growth of a topic: when a partition may begin that its group has never committed, and up to which offset.

When partitions are added, sessions move: the later tasks of a session are in another partition than the earlier ones.
So a new partition waits for those with lower numbers: if the count is multiplied, a session moves to a new partition or
stays, and never moves to a lower number.

A new partition is opened by *cuts*. A cut is an end offset of the new partition, and the end offsets of its
predecessors as they were later. Once the group has committed those, every task that a session had before its records
below the cut is settled. The first cut ends the hold of the partition. More cuts follow while the partition is watched:
a producer may learn of the growth minutes later, and write to the old partition meanwhile. No producer's clock
matters. The last cut is made when the watch is over and every producer knows of the growth. Its ends cover all that
was written to an old partition, so once those are committed, the partition no longer has a bound.

The watch begins when the growth is seen, not when the partition begins. A delayed task may hold the partition for
hours; the last cut is made meanwhile, not afterwards.

Partitions are `(topic, number)`. The answers of the group and the brokers are passed as plain values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from processor.engine.extents import Cut, Extent, Extents, Predecessors

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


class Begin(NamedTuple):
    """The partition may be processed without a bound."""

    place: Place
    at: int | None
    """Where it starts; None if it had begun."""
    begun_with: int | None
    """The number that its commits must note; None for none."""


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
        "cut",
        "gate",
        "is_logged",
        "last_cut",
        "next_question",
        "partitions",
        "predecessors",
        "seen_end",
        "start",
        "until",
    )

    def __init__(self, until: float | None) -> None:
        self.begun = until is not None
        self.until = until
        """When its last cut is made; None before it is found in a survey."""
        self.gate = HELD
        self.asked = False
        """Whether the survey in progress includes it."""
        self.next_question = -inf
        """The earliest time of the next survey about it."""
        self.awaited_since: float | None = None
        """When its latest cut was made; without a cut, when it was first surveyed after it was added or opened."""
        self.is_logged = False
        self.start: int | None = None
        """Its lowest offset in the last survey."""
        self.partitions = 0
        """How many its topic had in the last survey."""
        self.predecessors: Predecessors | None = None
        self.seen_end: int | None = None
        """Its end in an earlier survey: where the next cut is made."""
        self.cut: Cut | None = None
        """The ends that the cut at `seen_end` waits for; None while there is none."""
        self.last_cut: Cut | None = None
        """The ends that the last cut waits for; None before it is made."""

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
        """Watches an assigned partition until this time: it was new to the consumer that had it before.

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
        """Return until when the partition is watched; None if it is not watched, or no survey has found it yet."""
        newcomer = self._newcomers.get(place)
        return newcomer.until if newcomer is not None else None

    def targets(self, place: Place) -> Mapping[int, int]:
        """Return which offsets of which partitions have to be committed before more of the partition may begin."""
        newcomer = self._newcomers.get(place)
        if newcomer is None or newcomer.predecessors is None:
            return {}
        cuts = [cut for cut in (newcomer.cut, newcomer.last_cut) if cut is not None]
        return next(filter(None, (cut.ends(newcomer.predecessors) for cut in cuts)), {})

    def start(self, place: Place) -> int | None:
        """Return the lowest offset of a partition that has not begun; None if it has, or is not surveyed yet."""
        newcomer = self._newcomers.get(place)
        return newcomer.start if newcomer is not None and not newcomer.begun else None

    def question(self, now: float, blocked: Collection[Place]) -> list[str]:
        """Return the topics to survey now; none while a survey is in progress.

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
        """Ends the survey in progress without an answer."""
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
        surveyed = {topic: Extents(found) for topic, found in topics.items()}
        for place, newcomer in asked:
            extents = surveyed.get(place[0])
            if extents is not None and place[1] in extents.found:  # a broker may not know of it yet
                decisions += self._decide(place, newcomer, extents, now)
                newcomer.await_until(now, may_cut=newcomer.cut is None and newcomer.last_cut is None)
        return list(_once(decisions))

    def _decide(self, place: Place, newcomer: _Newcomer, extents: Extents, now: float) -> list[Decision]:
        (topic, number), found = place, extents.found
        decisions: list[Decision] = []
        if newcomer.predecessors is None:
            if not newcomer.begun and found[number].committed is not None:
                return self._recognise(place, newcomer, extents, now)
            newcomer.predecessors = extents.predecessors(number)
            begun_with = extents.begun_with
            is_not_new = newcomer.predecessors.is_empty or (begun_with is not None and number < begun_with)
            if extents.is_fresh or is_not_new:
                del self._newcomers[place]
                at = None if newcomer.begun else found[number].start
                return [Begin(place, at, len(found) if extents.is_fresh else begun_with)]
            if not newcomer.begun:
                newcomer.until = now + WATCH_SECONDS
                decisions += _unless_multiplied(topic, extents.before, len(found))
        if 0 < newcomer.partitions < len(found):
            decisions += _unless_multiplied(topic, newcomer.partitions, len(found))
            if not newcomer.begun:
                decisions.append(Grown(topic, newcomer.partitions, len(found)))
        newcomer.partitions, newcomer.start = len(found), found[number].start
        return decisions + (self._last_cut(place, newcomer, extents, now) or self._cut(place, newcomer, extents, now))

    def _recognise(self, place: Place, newcomer: _Newcomer, extents: Extents, now: float) -> list[Decision]:
        """Take a partition that has begun, although the group's offsets could not be read when it was assigned."""
        own = extents.found[place[1]]
        if own.is_old:
            del self._newcomers[place]
            return [Begin(place, None, own.begun_with)]
        newcomer.begun, newcomer.until = True, now + WATCH_SECONDS
        return self._decide(place, newcomer, extents, now)

    def _last_cut(self, place: Place, newcomer: _Newcomer, extents: Extents, now: float) -> list[Decision]:
        assert newcomer.predecessors is not None
        if newcomer.last_cut is None:
            if not _is_watch_over(newcomer, self._asked_at):
                return []
            newcomer.last_cut, newcomer.awaited_since = extents.cut, now
        if not newcomer.last_cut.is_reached(newcomer.predecessors, extents):
            return []
        del self._newcomers[place]
        return [Begin(place, None if newcomer.begun else extents.found[place[1]].start, None)]

    def _cut(self, place: Place, newcomer: _Newcomer, extents: Extents, now: float) -> list[Decision]:
        assert newcomer.predecessors is not None
        own = extents.found[place[1]]
        decisions: list[Decision] = []
        if newcomer.begun and newcomer.last_cut is not None and newcomer.cut is None:
            return decisions  # a cut that was made now would wait for more than the last one
        if newcomer.cut is None and newcomer.seen_end is not None and newcomer.seen_end > newcomer.gate:
            newcomer.cut, newcomer.awaited_since = extents.cut, now
        if newcomer.cut is None:
            newcomer.seen_end = own.end
            return decisions
        if not newcomer.cut.is_reached(newcomer.predecessors, extents):
            if not newcomer.is_logged and not newcomer.begun:
                newcomer.is_logged = True
                waits_for = newcomer.cut.ends(newcomer.predecessors)
                decisions.append(Hold(place, waits_for, len(extents.found), extents.before))
            return decisions
        assert newcomer.seen_end is not None
        decisions.append(Open(place, None if newcomer.begun else own.start, newcomer.seen_end))
        newcomer.gate, newcomer.cut, newcomer.seen_end = newcomer.seen_end, None, own.end
        newcomer.begun, newcomer.awaited_since = True, None
        return decisions


def _is_watch_over(newcomer: _Newcomer, now: float) -> bool:
    return newcomer.until is not None and now >= newcomer.until


def _unless_multiplied(topic: str, before: int, partitions: int) -> list[Decision]:
    return [Uneven(topic, before, partitions)] if before and partitions % before else []


def _once(decisions: Iterable[Decision]) -> Iterator[Decision]:
    """Leave out what another partition of the topic has reported already."""
    reported = set[tuple[type[Decision], Decision]]()  # with its type: a named tuple equals any tuple of its values
    for decision in decisions:
        if isinstance(decision, (Grown, Uneven)):
            if (type(decision), decision) in reported:
                continue
            reported.add((type(decision), decision))
        yield decision

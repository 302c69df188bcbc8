"""`LateProducers`: finds records that a producer has sent to the wrong partition since its topic has grown.

A producer asks for a topic's partitions every five minutes by default. Until then it sends the tasks of a session that
has moved to the partition where the session was. While partitions of the topic are held or watched, some records are
compared with the partition that the present count gives their sessions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from processor.engine.extents import Extent
from processor.engine.growth import Place
from processor.engine.murmur2 import partition_of


class Stray(NamedTuple):
    """A record in another partition than its session."""

    belongs_to: int
    """The partition of its session."""
    partitions: int
    """How many the topic has."""


class _Grown:
    """One topic that has grown."""

    __slots__ = ("ends", "partitions", "reported")

    def __init__(self, found: Mapping[int, Extent]) -> None:
        self.partitions = len(found)
        self.ends = {number: extent.end for number, extent in found.items()}
        """Where the partitions ended when the growth was noticed: what is below may be from before it."""
        self.reported: set[int] = set()


class LateProducers:
    """The topics of one consumer that have grown lately."""

    def __init__(self) -> None:
        self._topics: dict[str, _Grown] = {}

    def note(self, topic: str, found: Mapping[int, Extent]) -> None:
        """Notes that a topic has grown to these partitions. For each count, only the first call has an effect."""
        known = self._topics.get(topic)
        if known is None or known.partitions != len(found):
            self._topics[topic] = _Grown(found)

    def keep(self, topics: Collection[str]) -> None:
        """Forgets all other topics: none of their partitions is held or watched any more."""
        for topic in self._topics.keys() - set(topics):
            del self._topics[topic]

    def check(self, place: Place, offset: int, key: bytes | None) -> Stray | None:
        """Return where a record belongs if its producer has not noticed the growth, else None. Each partition is
        reported once.
        """
        topic, number = place
        grown = self._topics.get(topic)
        if grown is None or not key or number in grown.reported or offset < grown.ends.get(number, offset):
            return None
        belongs_to = partition_of(key, grown.partitions)
        if belongs_to == number:
            return None
        grown.reported.add(number)
        return Stray(belongs_to, grown.partitions)

"""`UnservedWatch`: finds partitions that a coordinator has given to a member which never received them.

With KIP-848 a client gives up a heartbeat that is not answered within `group.consumer.heartbeat.interval.ms`, and sends
the next one. If the lost answer assigned partitions, the coordinator does not repeat them, and no member serves them
until the group changes. So the member compares its partitions with those that the coordinator reports for it.
"""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka.admin import ConsumerGroupDescription

from processor.kafka.aside import Aside
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.missing import Missing
from processor.runtime.ports import Partition

CHECK_SECONDS: Final = 10.0
"""Time between two checks: twice the default heartbeat interval, since a member receives newly assigned partitions only
with a later heartbeat."""

CHECK_SECONDS_PER_MEMBER: Final = 0.1
"""Additional time for each member of the group: every member asks, and each answer names all members."""


class UnservedWatch:
    """Belongs to the poller's thread; another thread sends the requests."""

    def __init__(self, aside: Aside, inquiry: GroupInquiry) -> None:
        self._aside = aside
        self._inquiry = inquiry
        self._next_check = monotonic() + CHECK_SECONDS
        self._missing = Missing()

    def is_due(self) -> bool:
        """Return whether it is time to check again."""
        return monotonic() >= self._next_check

    def check(self, member_id: str, own: Set[Partition]) -> None:
        """Ask which partitions the member has. `own` is the live set of the member's own: it is read at the answer."""
        self._next_check = float("inf")
        self._aside.run(self._inquiry.describe, partial(self._compare, member_id, own))

    def on_rebalanced(self) -> None:
        """Start again after a rebalance: what was missing before proves nothing."""
        self._missing.forget()

    def unserved(self) -> frozenset[Partition]:
        """Return the partitions that have been missing for long enough, once."""
        return self._missing.take()

    def _compare(self, member_id: str, own: Set[Partition], group: ConsumerGroupDescription | None) -> None:
        members = group.members if group is not None else []
        self._next_check = monotonic() + CHECK_SECONDS + CHECK_SECONDS_PER_MEMBER * len(members)
        given = {
            Partition(t.topic, t.partition)
            for member in members
            if member.member_id == member_id
            for t in member.assignment.topic_partitions
        }
        self._missing.note(frozenset(given - own))

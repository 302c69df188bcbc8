"""`Rejoining`: makes a member leave its group and join again, if partitions never arrived where they were assigned."""

from __future__ import annotations

from collections.abc import Set

from confluent_kafka import Consumer

from processor.kafka.aside import Aside
from processor.kafka.config import Config
from processor.kafka.group_inquiry import GroupInquiry
from processor.kafka.unassigned import UnassignedWatch
from processor.kafka.unserved import UnservedWatch
from processor.runtime.ports import Partition
from processor.telemetry.events import ConsumerRejoining, Emit


class Rejoining:
    """Belongs to the poller's thread."""

    def __init__(self, watch: UnservedWatch | UnassignedWatch, emit: Emit) -> None:
        self._watch = watch
        self._emit = emit
        self._is_leaving = False
        """Whether the member is leaving the group, to join again once it has released its partitions."""

    def on_rebalanced(self) -> None:
        """Take the end of a rebalance, in which partitions may have arrived."""
        self._watch.on_rebalanced()

    def tick(self, consumer: Consumer, own: Set[Partition]) -> bool:
        """Leave the group if partitions are missing. To be called often.

        Args:
            consumer: the member's client.
            own: the partitions that are assigned to it.

        Returns:
            Whether the member has left the group, and is to subscribe again.
        """
        if self._is_leaving:
            self._is_leaving = bool(own)
            return not own
        if self._watch.is_due():
            self._watch.check(consumer.memberid() or "", own)
        elif unserved := self._watch.unserved():
            self._emit(ConsumerRejoining(partitions=sorted(map(str, unserved))))
            self._is_leaving = True
            consumer.unsubscribe()
        return False


def watch_for(
    config: Config, aside: Aside, inquiry: GroupInquiry, *, replaces: bool
) -> UnservedWatch | UnassignedWatch | None:
    """Return the watch that a member needs, if any.

    Args:
        config: the configuration of its client.
        aside: runs the watch's requests.
        inquiry: sends them to the coordinator.
        replaces: whether the member takes the place of a consumer that has exited.
    """
    if config["group.protocol"] == "consumer":
        return UnservedWatch(aside, inquiry)
    if replaces and "group.instance.id" in config:
        return UnassignedWatch(aside, inquiry)
    return None

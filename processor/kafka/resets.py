"""`Resets`: where a partition goes on whose next offset the broker does not have, or which has none yet.

The client could do this by itself (`auto.offset.reset`), and would say nothing of what it leaves out. So it is told to
make an error of it, and the user's `auto.offset.reset` is applied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from processor.errors import ProcessorError, SettingsError
from processor.runtime.ports import Partition

KEY: Final = "auto.offset.reset"
POLICIES: Final[Mapping[str, int | None]] = {
    "earliest": OFFSET_BEGINNING,
    "smallest": OFFSET_BEGINNING,
    "beginning": OFFSET_BEGINNING,
    "latest": OFFSET_END,
    "largest": OFFSET_END,
    "end": OFFSET_END,
    "error": None,
}
"""The client's own names for where to go on; None: not at all."""

ASK_SECONDS: Final = 1.0
"""How long one question may take; the poller waits for it, and so does everything that it does."""


class Resets:
    """The partitions that have lost their place. Belongs to the poller's thread."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the client's, with the user's policy.

        Raises:
            SettingsError: there is no such policy.
        """
        self._policy = str(config.get(KEY, "earliest"))
        if self._policy not in POLICIES:
            raise SettingsError(f"-X {KEY} must be one of {', '.join(POLICIES)}, not {self._policy!r}")
        self._astray: set[Partition] = set()

    def __bool__(self) -> bool:
        return bool(self._astray)

    @property
    def first(self) -> int:
        """Where a partition begins for which the group has committed nothing, as the client's logical offset.

        Raises:
            ProcessorError: the policy is not to begin at all.
        """
        logical = POLICIES[self._policy]
        if logical is None:
            raise ProcessorError(f"the group has no offset to begin at, and -X {KEY} says that this is an error")
        return logical

    def lose(self, partition: Partition) -> None:
        """The broker does not have this partition's next offset.

        Raises:
            ProcessorError: the policy is not to go on.
        """
        if POLICIES[self._policy] is None:
            raise ProcessorError(f"{partition} has no record at the group's offset, and -X {KEY} says: error")
        self._astray.add(partition)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are not this consumer's any more."""
        self._astray.difference_update(partitions)

    def found(self, consumer: Consumer) -> Iterator[tuple[Partition, int]]:
        """Goes on where there are records again, and yields from which offset; who is not answered stays astray."""
        for partition in list(self._astray):
            where = TopicPartition(*partition)
            try:
                low, high = consumer.get_watermark_offsets(where, timeout=ASK_SECONDS)
                where.offset = low if self.first == OFFSET_BEGINNING else high
            except KafkaException:  # the client itself reports a broker that is away
                continue
            # Not by a seek: it is refused, as the client has stopped fetching a partition that it made an error of.
            consumer.incremental_unassign([where])
            consumer.incremental_assign([where])
            self._astray.discard(partition)
            yield partition, where.offset

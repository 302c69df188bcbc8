"""`Resets`: where to continue a partition whose next offset the broker does not have, or that has no offset yet.

The client could do this itself (`auto.offset.reset`), but without reporting the offsets that it skips. It is therefore
configured to raise an error, and the user's `auto.offset.reset` is applied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import ProcessorError, SettingsError
from processor.kafka.errors import reason_of
from processor.runtime.ports import Partition
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, RepeatsByKey
from processor.telemetry.events import Emit, KafkaClientError

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
"""The client's names of policies, and the logical offset where each continues; None means an error."""

ASK_SECONDS: Final = 1.0
"""Time limit for one request. It blocks the poller."""


class Resets:
    """The partitions without a valid offset. For the poller's thread only."""

    def __init__(self, config: Mapping[str, Any], emit: Emit) -> None:
        """Reads the policy from the client's configuration.

        Raises:
            SettingsError: the policy is not valid.
        """
        self._policy = str(config.get(KEY, "earliest"))
        if self._policy not in POLICIES:
            raise SettingsError(f"-X {KEY} must be one of {', '.join(POLICIES)}, not {self._policy!r}")
        self._astray: dict[Partition, int | None] = {}
        """These partitions, and the offset where each is to continue; None until it is looked up."""
        self._emit = emit
        self._failures: RepeatsByKey[Partition] = RepeatsByKey(LOG_AGAIN_SECONDS)

    def __bool__(self) -> bool:
        return bool(self._astray)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._astray

    @property
    def begins_at_start(self) -> bool:
        """Whether a partition for which the group has committed nothing begins with its first record."""
        return POLICIES[self._policy] == OFFSET_BEGINNING

    @property
    def first(self) -> int:
        """Where to begin a partition without a committed offset, as the client's logical offset.

        Raises:
            ProcessorError: the policy is `error`.
        """
        logical = POLICIES[self._policy]
        if logical is None:
            raise ProcessorError(f"the group has no committed offset, and -X {KEY} is set to error")
        return logical

    def lose(self, partition: Partition) -> None:
        """Records that the broker does not have this partition's next offset.

        Raises:
            ProcessorError: the policy is `error`.
        """
        if POLICIES[self._policy] is None:
            raise ProcessorError(f"{partition} has no record at the group's offset, and -X {KEY} is set to error")
        self._astray[partition] = None

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Removes partitions that are no longer assigned to this consumer."""
        for partition in partitions:
            self._astray.pop(partition, None)
            self._failures.forget(partition)

    def look_up(self, consumer: Consumer) -> None:
        """Look up where to continue the partitions. Those whose offsets are unknown remain until a later call."""
        for partition in [partition for partition, offset in self._astray.items() if offset is None]:
            try:
                low, high = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=ASK_SECONDS)
            except KafkaException as caught:
                self._log(partition, caught.args[0])
            else:
                self._astray[partition] = low if self.first == OFFSET_BEGINNING else high

    def found(self, consumer: Consumer) -> Iterator[tuple[Partition, int]]:
        """Continue the partitions that were looked up, and yield the offset of each.

        To be called only when no revoke waits in the client, see `KafkaSource.take`.
        """
        for partition, offset in list(self._astray.items()):
            if offset is None:
                continue
            where = TopicPartition(*partition, offset)
            # The client rejects a seek here, since it has stopped fetching the partition after the error.
            consumer.incremental_unassign([where])
            consumer.incremental_assign([where])
            self.forget([partition])
            yield partition, offset

    def _log(self, partition: Partition, error: KafkaError) -> None:
        """Logs why a partition stays as it is. The client reports an unreachable broker, but not a missing leader."""
        if self._failures.is_due(partition, error.code(), monotonic()):
            message = f"the offsets of {partition} cannot be looked up: {reason_of(error)}"
            self._emit(KafkaClientError(code=error.name(), message=message))

"""`RecallFailures`: logs why set-aside tasks cannot be read again, once for each partition and cause."""

from __future__ import annotations

from time import monotonic

from processor.runtime.desk import Desk
from processor.runtime.ports import Partition
from processor.telemetry.cadence import LOG_AGAIN_SECONDS, RepeatsByKey
from processor.telemetry.events import ConsumerRecallFailed, Emit


class RecallFailures:
    """Belongs to the thread that reads. A failure of all partitions has the key None."""

    def __init__(self, desk: Desk, emit: Emit) -> None:
        self._desk = desk
        self._emit = emit
        self._repeats: RepeatsByKey[Partition | None] = RepeatsByKey(LOG_AGAIN_SECONDS)

    def report(self, partition: Partition | None, error: str) -> None:
        """Log the failure, unless the same one was logged in the last `LOG_AGAIN_SECONDS`."""
        if self._repeats.is_due(partition, error, monotonic()):
            self._emit(
                ConsumerRecallFailed(
                    error=error,
                    set_aside=self._desk.set_aside.tasks,
                    topic=partition.topic if partition is not None else None,
                    partition=partition.number if partition is not None else None,
                )
            )

    def forget(self, partition: Partition | None) -> None:
        """Log the next failure even if it is the same."""
        self._repeats.forget(partition)

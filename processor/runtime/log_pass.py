"""A pass over a part of a partition's log, with a separate reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from processor.engine.record import Record
from processor.errors import BrokerError
from processor.runtime.ports import End, Lost, Partition, Reader

TAKE = 1000
"""The most records that one call of the client returns."""

TAKE_SECONDS = 0.1
"""The longest wait for a record."""

STALL_SECONDS = 30.0
"""A pass fails if nothing is delivered to it for this long."""


def records_between(
    reader: Reader, partition: Partition, offset: int, end: int, is_closing: Callable[[], bool]
) -> Iterator[Sequence[Record]]:
    """Yield the records from `offset` on, in parts; the last part may go beyond `end`. Stops early when closing.

    Raises:
        BrokerError: the log ends below `end`, or nothing is delivered.
        ProcessorError: the client cannot read.
    """
    reader.begin(partition, offset)
    moved_at = monotonic()
    while offset < end and not is_closing():
        before = offset
        taken = reader.take(TAKE, TAKE_SECONDS)
        if records := [record for record in taken if record.error() is None]:
            offset = records[-1].offset() + 1
            yield records
        for report in [reader.interpret(record) for record in taken if record.error() is not None]:
            offset = _moved(reader, report, offset, end)
        if offset > before:
            moved_at = monotonic()
        elif monotonic() - moved_at > STALL_SECONDS:
            raise BrokerError(f"no record of {partition} was delivered, from {offset} on")


def _moved(reader: Reader, report: End | Lost | None, offset: int, end: int) -> int:
    """Return the offset at which the pass continues after a report of the client."""
    match report:
        case End(partition, reached):
            if reached < end:
                raise BrokerError(f"the log of {partition} ends at {reached}, before {end}")
            return reached
        case Lost(partition, start):
            if start <= offset:  # the offset is out of range, but not below the start: it is above the end
                raise BrokerError(f"the log of {partition} ends before {offset}")
            reader.begin(partition, start)
            return start
        case _:
            return offset

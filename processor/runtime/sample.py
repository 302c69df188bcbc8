"""Which tasks are told of one by one, where not all are to be."""

from __future__ import annotations

from zlib import crc32

from processor.runtime.ports import Record


def in_sample(record: Record, share: float) -> bool:
    """Whether the record is in the `share` (0 to 1) of tasks that are logged: the same ones each time it is asked."""
    if share >= 1.0:
        return True
    place = f"{record.topic()}-{record.partition()}-{record.offset()}".encode()
    return crc32(place) < share * 2.0**32

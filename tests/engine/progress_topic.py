"""`ProgressTopic`: a model of the progress topic on the broker, for the state machines."""

from __future__ import annotations

from typing import NamedTuple


class MapRecord(NamedTuple):
    """A record of the progress topic."""

    key: bytes
    value: bytes


class ProgressTopic:
    """It is compacted, and may be recreated."""

    def __init__(self) -> None:
        self.records: dict[int, MapRecord] = {}
        self.end = 0

    def write(self, record: MapRecord) -> int:
        """Append a record. Return its offset."""
        self.records[self.end] = record
        self.end += 1
        return self.end - 1

    def compact(self) -> None:
        """Keep the last record of each key."""
        last = {record.key: offset for offset, record in self.records.items()}
        self.records = {offset: self.records[offset] for offset in sorted(last.values())}

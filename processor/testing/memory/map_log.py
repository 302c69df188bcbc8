"""`MemoryMapLog`: a progress topic of the in-memory Kafka."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future

from processor.runtime.ports import MapRecord, Partition, Place
from processor.testing.memory.cluster import MemoryCluster


class MemoryMapLog:
    """Implements the `MapLog` port. Each write is acknowledged at once."""

    def __init__(self, cluster: MemoryCluster, topic: str | None) -> None:
        self.topic = topic
        self._cluster = cluster

    def write(self, records: Mapping[Partition, MapRecord]) -> Future[Mapping[Partition, Place]]:
        """Appends the records to the topic."""
        assert self.topic is not None, "there is no topic to write to"
        places = {}
        for partition, (key, value) in records.items():
            record = self._cluster.produce(self.topic, key, value, None)
            places[partition] = Place(Partition(record.topic(), record.partition()), record.offset())
        written: Future[Mapping[Partition, Place]] = Future()
        written.set_result(places)
        return written

    def read(self, places: Collection[Place], seconds: float) -> Mapping[Place, MapRecord | str]:  # noqa: ARG002 — the port's
        """Return the records at these places, each as its map or as the reason why it cannot be read."""
        return {place: self._record_at(place) for place in places}

    def close(self) -> None:
        """Does nothing: no resource is held."""

    def _record_at(self, place: Place) -> MapRecord | str:
        with self._cluster.changed:
            log = self._cluster.logs.get(place.partition)
            found = log.read(place.offset, 1) if log is not None else []
        if not found or found[0].offset() != place.offset:
            return "there is no record"
        return MapRecord(found[0].key(), found[0].value())

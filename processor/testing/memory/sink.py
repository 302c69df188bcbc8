"""`MemorySink`: a producer for the in-memory Kafka's topics."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from processor.engine.record import Headers
from processor.errors import DeliveryError
from processor.runtime.ports import Delivered
from processor.testing.memory.cluster import MemoryCluster


class MemorySink:
    """Implements the `Sink` port. It acknowledges records in a separate thread, as the Kafka client does."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._guard = threading.Lock()
        self._closed = False
        self._unacknowledged: SimpleQueue[Delivered | None] = SimpleQueue()
        self._after_reports: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._acknowledge_all, name="memory-sink", daemon=True)
        self._thread.start()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        delivered: Delivered,
        partition: int | None = None,
    ) -> None:
        """Appends the record to its topic."""
        with self._guard:
            if not self._closed:
                self._cluster.produce(topic, key, value, headers, partition)
                self._unacknowledged.put(delivered)
                return
        delivered(DeliveryError(f"{topic}: this sink has stopped sending"))

    def after_reports(self, call: Callable[[], None]) -> None:
        """Calls `call` after each acknowledgement from now on."""
        self._after_reports = call

    def close(self, seconds: float) -> int:
        """Waits at most `seconds` for acknowledgements. Return the number of records that have none."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._unacknowledged.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, seconds))
        left = self._left()
        for delivered in left:
            self._report(delivered, DeliveryError("not acknowledged before the sink was closed"))
        self._unacknowledged.put(None)  # for the thread, where the first one was among them
        return len(left)

    def _acknowledge_all(self) -> None:
        while (delivered := self._unacknowledged.get()) is not None:
            self._report(delivered, None)

    def _left(self) -> list[Delivered]:
        left = []
        try:
            while True:
                left.append(self._unacknowledged.get_nowait())
        except Empty:
            return [delivered for delivered in left if delivered is not None]

    def _report(self, delivered: Delivered, error: DeliveryError | None) -> None:
        """Call a callback. If it raises, the others are still called, and the exception is not lost."""
        try:
            delivered(error)
            self._after_reports()
        except Exception:  # noqa: BLE001 — whatever it is
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

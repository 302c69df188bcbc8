"""`FlightRecorder`: writes which tasks run into shared memory, where they can be read when the process has died."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import IO, Final

from processor.engine.deaths import TaskPlace
from processor.engine.record import Record
from processor.telemetry.handler_logs import Origin, origin

ENTRIES: Final = 65_536
"""The most tasks that can be recorded at once; those of a batch count one by one. Further ones are not recorded."""

_WORDS: Final = 2
"""64-bit words of an entry: the offset plus one, or 0 for a free entry; then the topic's index and the partition."""

_SIZE: Final = ENTRIES * _WORDS * 8
"""The size in bytes. The kernel allocates only the pages that are written."""


def open_memory() -> IO[bytes] | None:
    """Return a file in memory for one recorder, or else a temporary file; None if neither can be created."""
    try:
        return os.fdopen(os.memfd_create("processor-flight-recorder"), "r+b")
    except (AttributeError, OSError):  # only Linux has files in memory
        pass
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None


class FlightRecorder:
    """Records for each worker thread, or coroutine, the tasks that it runs.

    Each of them records its own tasks, without a lock: taking a free entry from the list is one atomic step.

    Args:
        descriptor: that of a file which `open_memory` has returned.
        topics: the consumed topics. `recorded` must get them in the same order.

    Raises:
        OSError: the memory cannot be mapped.
    """

    def __init__(self, descriptor: int, topics: Sequence[str]) -> None:
        os.ftruncate(descriptor, 0)  # drops what an earlier recorder has left
        os.ftruncate(descriptor, _SIZE)
        self._words = memoryview(mmap.mmap(descriptor, _SIZE)).cast("q")
        self._topics = {topic: number for number, topic in enumerate(topics)}
        self._free = list(range(ENTRIES - 1, -1, -1))
        self._taken: dict[Origin | None, list[int]] = {}

    def close(self) -> None:
        """Clears and ends the record. Workers may still call the other methods, which then write to other memory."""
        words, self._words = self._words, memoryview(bytearray(_SIZE)).cast("q")
        for entries in list(self._taken.values()):
            for entry in entries:
                words[_WORDS * entry] = 0

    def begin(self, records: Iterable[Record]) -> None:
        """Record that the calling worker begins these tasks, and has ended its earlier ones."""
        self.end()
        taken = self._taken[origin.get()] = list[int]()
        words, topics = self._words, self._topics
        for record in records:
            try:
                entry = self._free.pop()
            except IndexError:
                return
            taken.append(entry)
            words[_WORDS * entry + 1] = topics[record.topic()] << 32 | record.partition()
            words[_WORDS * entry] = record.offset() + 1  # last, and in one step: the process may die at any instant

    def end(self) -> None:
        """Record that the calling worker no longer runs a task."""
        for entry in self._taken.pop(origin.get(), ()):
            self._words[_WORDS * entry] = 0
            self._free.append(entry)


def recorded(memory: IO[bytes], topics: Sequence[str]) -> list[TaskPlace]:
    """Return the tasks that ran when the process of a recorder died; none if it has recorded nothing."""
    content = os.pread(memory.fileno(), _SIZE, 0)
    words = memoryview(content[: len(content) // (_WORDS * 8) * _WORDS * 8]).cast("q")
    return [
        TaskPlace(topics[where >> 32], where & 0xFFFFFFFF, end - 1)
        for end, where in zip(words[::_WORDS], words[1::_WORDS], strict=True)
        if end
    ]

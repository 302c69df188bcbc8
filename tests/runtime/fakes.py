"""The records and the values that tests of the runtime use."""

from __future__ import annotations

import threading
from typing import Any

from processor.engine.record import Record
from processor.errors import DecodeError, EncodeError, NotReady
from processor.runtime.ports import Content, Headers, Partition
from processor.testing.memory.cluster import MemoryRecord

TOPIC = "t"
PARTITION = Partition(TOPIC, 0)
POISON = b"poison"
UNREADABLE = b"cannot be read yet"
PRODUCED_AT = 1234


class FakeRecord(MemoryRecord):
    """A record of the topic `t`, with a header and a time, and with another header if its task has a name."""

    def __init__(
        self, offset: int, key: bytes | None, value: bytes | None = b"", partition: int = 0, *, name: str = ""
    ) -> None:
        headers: Headers = [("trace", b"1")]
        if name:
            headers.append(("task-name", name.encode()))
        super().__init__(Partition(TOPIC, partition), offset, key, value, headers, timestamp=PRODUCED_AT)


class FakeCodec:
    """The value is the payload; one value cannot be read, one not before `ready`, and only bytes can be written."""

    passes_values = False

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.put_off = 0

    def decode(self, record: Record) -> Content:
        value = record.value()
        if value == POISON:
            raise DecodeError("it is poison")
        if value == UNREADABLE and not self.ready.is_set():
            self.put_off += 1
            raise NotReady("its schema is away", 0.01)
        return Content(value)

    def encode_result(self, task: Any, result: Any) -> bytes:
        if not isinstance(result, bytes):
            raise EncodeError("a result is bytes")
        return result

"""`CancelCheck`: checks from its record whether a waiting task is cancelled."""

from __future__ import annotations

from processor.engine.cancels import Cancels
from processor.engine.ledger import Ledger
from processor.engine.record import Record
from processor.errors import DecodeError, NotReady
from processor.handlers.task import NO_CONTENT, Task
from processor.runtime.cancelled import cancel_of, cancel_of_join
from processor.runtime.ports import Codec


class CancelCheck:
    """Any thread may call it."""

    def __init__(self, cancels: Cancels, codec: Codec) -> None:
        self._cancels = cancels
        self._codec = codec

    def covers(self, ledger: Ledger, record: Record) -> bool:
        """Return whether the task of a record of this ledger is cancelled."""
        if not self._cancels.may_cover(record.key()):
            return False
        if ledger.terms_of(record).arrives:
            return cancel_of_join(self._cancels, record) is not None
        return cancel_of(self._cancels, self.task_of(record, 1)) is not None

    def task_of(self, record: Record, number: int) -> Task:
        """Return the task at attempt `number`. If its value cannot be decoded, it has only what its headers contain."""
        try:
            content = self._codec.decode(record)
        except (DecodeError, NotReady):
            content = NO_CONTENT
        return Task(record, content.payload, number, 0.0, content)

"""`DeliveryFuture`, the future of one submitted task."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from threading import Condition
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, Message

from processor.errors import DeliveryError


class RecordMetadata(NamedTuple):
    """Where a task's record was written."""

    topic: str
    partition: int
    offset: int
    """-1 where the broker has recognised a repeated send, and does not return where it wrote the first one."""


class Producing(Protocol):
    """The producer that a future's record was handed to."""

    def delivery_error(self, topic: str, error: KafkaError) -> DeliveryError:
        """What became of a record that the client reported with `error`."""

    def reported(self, error: KafkaError | None) -> None:
        """Called at the end of each report."""


class DeliveryFuture(Future[RecordMetadata]):
    """A `concurrent.futures.Future` that gets its lock and lists when somebody first asks for them.

    Most futures of a dispatcher are dropped unread, and a full one, with its condition, lock and
    lists, costs more than all the rest of a `submit`: 47,000 tasks a second with them, 208,000
    without (2 cores, 100,000 pending; half of it is garbage collection).

    Why ending without a lock is safe: `_end` sets the state first and looks for a condition second;
    whoever waits or adds a callback makes the condition first and reads the state second. One of the
    two sees the other. With a condition there, `_end` notifies under it, as `Future` does.

    It cannot be cancelled: the client has the record already.
    """

    _state: str = PENDING
    _result: RecordMetadata | None = None
    _exception: BaseException | None = None

    def __init__(self, producer: Producing) -> None:
        """Leaves out what `__getattr__` makes when it is asked for."""
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        if name == "_condition":
            return self.__dict__.setdefault(name, Condition())  # atomic: two threads get the same one
        if name in ("_waiters", "_done_callbacks"):
            return self.__dict__.setdefault(name, [])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def cancel(self) -> bool:
        """False: what is handed over cannot be taken back."""
        return False

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """The client's delivery report."""
        try:
            if error is None:
                offset = message.offset()
                place = message.topic(), message.partition(), -1 if offset is None else offset
                self._result = RecordMetadata(*place)  # type: ignore[arg-type]
                self._end()
            else:
                self.fail(self._producer.delivery_error(message.topic() or "", error))
        finally:
            self._producer.reported(error)

    def fail(self, error: DeliveryError) -> None:
        """Ends it with `error`."""
        self._exception = error
        self._end()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._state == FINISHED  # as the next two: no lock is made for an answer that cannot change

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Where the record was written, after at most `timeout` seconds.

        Raises:
            DeliveryError: the broker did not take it.
            TimeoutError: nobody knows yet.
        """
        if self._state == FINISHED and self._result is not None:
            return self._result
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why it failed, or None, after at most `timeout` seconds.

        Raises:
            TimeoutError: nobody knows yet.
        """
        return self._exception if self._state == FINISHED else super().exception(timeout)

    def _end(self) -> None:
        self._state = FINISHED
        condition = self.__dict__.get("_condition")
        if condition is None:
            return
        with condition:
            for waiter in self._waiters:
                if self._exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            condition.notify_all()
        self._invoke_callbacks()

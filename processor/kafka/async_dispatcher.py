"""`AsyncDispatcher`, which sends tasks to a topic from coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, Message

from processor.codec.messages import Outgoing
from processor.errors import DeliveryError
from processor.handlers.steps import NO_PAYLOAD, Group, Step, check_alone
from processor.handlers.terms import Time, headers_for_terms
from processor.kafka.after_fork import renew_after_fork
from processor.kafka.delivery_future import RecordMetadata, metadata_of
from processor.kafka.polled_producer import PolledProducer
from processor.kafka.task_producer import CLOSE_SECONDS, ROOM_SECONDS, TaskProducer, check_options
from processor.options.value_formats import ValueFormat
from processor.registry_settings import RegistrySettings

Sent = asyncio.Future[RecordMetadata]


class AsyncDispatcher:
    """Sends tasks as `Dispatcher` does, from the coroutines of one event loop, which it never blocks.

    Each session's tasks go to one partition, in the order in which `submit` began to run. After a fork, the child
    process may use the dispatcher too, in its own event loop and with its own client.

    ```python
    async with AsyncDispatcher("localhost:9092", "tasks") as dispatcher:
        where = await dispatcher.submit("customer-17", {"amount": 12}, "charge")
    print(where.offset)
    ```
    """

    def __init__(  # noqa: PLR0913 — each is given by its name
        self,
        bootstrap_servers: str = "localhost:9092",
        topic: str = "",
        *,
        value_format: ValueFormat = "avro",
        schemas: str | None = None,
        schema_registry: str | RegistrySettings | None = None,
        kafka_config: Mapping[str, Any] | None = None,
        max_pending: int = 100_000,
    ) -> None:
        """Takes the arguments of `Dispatcher`. It is opened by `async with`, or by `open`.

        Raises:
            SettingsError: an argument cannot be used.
        """
        check_options(topic, kafka_config, max_pending)
        self.topic = topic
        self._make = partial(
            TaskProducer,
            bootstrap_servers,
            topic,
            value_format=value_format,
            schemas=schemas,
            schema_registry=schema_registry,
            kafka_config=kafka_config,
            max_pending=max_pending,
        )
        self._tasks: TaskProducer | None = None
        self._loop: _Loop | None = None
        """The event loop in which it is used; None before the first use."""

    async def open(self) -> None:
        """Open the producer in another thread. It connects to the brokers with the first task. A second call does
        nothing.

        Raises:
            SettingsError: a Kafka setting cannot be used.
            LoadError: a schema cannot be loaded, or the registry rejects it.
            RegistryError: the registry does not respond, or denies access.
            BrokerError: `oauth_cb` returns no token.
        """
        async with self._bound().turn:
            if self._tasks is None:
                self._tasks = await self._made()
                renew_after_fork(self)

    async def _made(self) -> TaskProducer:
        """Make the producer in another thread. If this is cancelled, the producer is closed."""
        made, is_cancelled = list[TaskProducer](), threading.Event()

        def make() -> TaskProducer:
            made.append(self._make())
            if is_cancelled.is_set():
                made[0].client.close(0.0)
            return made[0]

        try:
            return await asyncio.to_thread(make)
        except asyncio.CancelledError:
            # The thread stores the producer first and looks at the event second, and here it is the other way round: so
            # one of them sees the other. Both may close it.
            is_cancelled.set()
            if made:
                asyncio.get_running_loop().run_in_executor(None, made[0].client.close, 0.0)
            raise

    async def submit(  # noqa: PLR0913 — each but the first three is given by its name
        self,
        session_id: str | Step | Group,
        payload: Any = NO_PAYLOAD,
        name: str = "",
        *,
        id: str | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        priority: int = 0,
        not_before: Time | None = None,
        delay: float | None = None,
        expires: Time | None = None,
        expires_in: float | None = None,
    ) -> RecordMetadata:
        """Send a task, wait until it is acknowledged, and return the topic, partition and offset of its record.

        While too many tasks are pending, it waits first. To send several tasks at once, run it in several tasks of
        asyncio, as `asyncio.gather` does. A task whose `submit` is cancelled may have been sent.

        Args:
            session_id: the session; its UTF-8 encoding is the key of the record. Or a `Step` or a group, alone,
                with the steps that follow.
            payload: the payload that the handler receives.
            name: the name of the handler.
            id: the ID of the task; TOPIC-PARTITION-OFFSET if there is none.
            headers: additional headers of the record.
            priority: 0 to 9; sessions with more urgent tasks run first.
            not_before: the task does not begin before this time: epoch milliseconds, ISO 8601 or a `datetime`, the
                latter two with a time zone.
            delay: the same, in seconds from now.
            expires: the task does not begin after this time, and then becomes a dead letter.
            expires_in: the same, in seconds from now.

        Raises:
            DeliveryError: the record could not be delivered.
            EncodeError: a payload cannot be encoded in this format, a text cannot be encoded in UTF-8, or the steps
                that follow are too large.
            ValueError: the session ID is empty, or one of the terms from `priority` on is invalid.
            TypeError: a step was given together with other arguments.
            RuntimeError: the dispatcher is closed, is not open yet, or is used in another event loop.
        """
        tasks, loop = self._opened(), self._bound()
        if isinstance(session_id, Step | Group):
            check_alone(payload, name, id, headers, priority, not_before, delay, expires, expires_in)
            record = tasks.record_of_step(session_id)
        elif payload is NO_PAYLOAD:
            raise TypeError("submit needs a payload")
        else:
            terms = headers_for_terms(priority, not_before, delay, expires, expires_in)
            record = tasks.record_of(Outgoing(session_id, payload, name, id), headers, terms)
        delivery = _Delivery(loop, loop.loop.create_future(), tasks.client)
        async with loop.turn:  # it is fair, so that tasks that wait for room keep their order
            while not tasks.send(record, delivery):
                await loop.delivered()
        return await delivery.sent

    async def flush(self, seconds: float = CLOSE_SECONDS) -> int:
        """Wait at most `seconds` until every task is acknowledged or has failed. Return how many are neither."""
        return await asyncio.to_thread(self._opened().client.flush, seconds)

    def pending(self) -> int:
        """Return the number of tasks that are neither acknowledged nor failed."""
        return len(self._opened().client)

    async def close(self, seconds: float = CLOSE_SECONDS) -> int:
        """Flush and close. Return the number of tasks that were not acknowledged within `seconds`; their `submit`
        fails.

        A second call does nothing, and neither does a call before it was opened.
        """
        return 0 if self._tasks is None else await asyncio.to_thread(self._tasks.client.close, seconds)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def renew(self) -> None:
        """Forgets the parent's event loop, in a child process. The client renews itself."""
        self._loop = None

    def _opened(self) -> TaskProducer:
        if self._tasks is None:
            raise RuntimeError("the dispatcher is not open: use `async with`, or await its open()")
        return self._tasks

    def _bound(self) -> _Loop:
        running = asyncio.get_running_loop()
        if self._loop is None or self._loop.loop.is_closed():
            self._loop = _Loop(running)
        if self._loop.loop is not running:
            raise RuntimeError("the dispatcher is used in another event loop: make one in each")
        return self._loop


class _Loop:
    """The event loop, and the deliveries that the client's thread passes to it. Many deliveries wake the loop once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn = asyncio.Lock()
        """Held by `open`, and by the `submit` that sends or waits for room."""
        self._room = asyncio.Event()
        self._ended: deque[_Ended] = deque()
        self._visit_due = False

    async def delivered(self) -> None:
        """Waits for a delivery, at most `ROOM_SECONDS`."""
        self._room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(ROOM_SECONDS):
                await self._room.wait()

    def end(self, ended: _Ended) -> None:
        """Has the loop end a future. Any thread may call it."""
        self._ended.append(ended)
        if not self._visit_due:
            self._visit_due = True
            with suppress(RuntimeError):  # the loop is closed, and nothing waits there any more
                self.loop.call_soon_threadsafe(self._visit)

    def _visit(self) -> None:
        self._visit_due = False  # first: what is appended from now on makes another visit due
        while self._ended:
            sent, place, error = self._ended.popleft()
            if sent.done():  # cancelled
                continue
            if place is not None:
                sent.set_result(place)
            else:
                sent.set_exception(error or DeliveryError("the outcome of the delivery is unknown"))
        self._room.set()


class _Ended(NamedTuple):
    """How a task's record ended."""

    sent: Sent
    place: RecordMetadata | None
    error: DeliveryError | None = None


class _Delivery:
    """The outcome of one record, which is passed to the loop."""

    __slots__ = ("_client", "_loop", "sent")

    def __init__(self, loop: _Loop, sent: Sent, client: PolledProducer) -> None:
        self.sent = sent
        self._loop = loop
        self._client = client

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Handles the client's delivery report, in the client's thread."""
        try:
            if error is None:
                ended = _Ended(self.sent, metadata_of(message))
            else:
                ended = _Ended(self.sent, None, self._client.delivery_error(message.topic() or "", error))
        finally:
            self._client.reported(error)
        self._loop.end(ended)  # last: a task whose `submit` has returned is not pending

    def fail(self, error: DeliveryError) -> None:
        """Ends the future with `error`."""
        self._loop.end(_Ended(self.sent, None, error))

"""Handlers tried without Kafka: through the real engine, on topics that are kept in memory.

```python
from processor.testing import run, task


def test_a_refused_card_is_a_dead_letter():
    report = run(app, [{"session_id": "anna", "name": "charge", "payload": {"card": "expired"}}])
    assert [letter.error_type for letter in report.dead_letters] == ["processor.Reject"]


def test_a_charge_tells_its_amount():
    assert charge(task({"cents": 100})) == "1.00"
```
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from processor.codec.messages import Outgoing
from processor.codec.select import ValueCodec, codec_of
from processor.engine.record import Headers
from processor.errors import ProcessorError, SettingsError
from processor.handlers.table import Function, Handlers
from processor.handlers.task import Content, Task
from processor.options.values import ValueFormat
from processor.processor import Processor
from processor.runtime.consumer import Consumer
from processor.runtime.ports import Commit, Delivered, End, Listener, Partition, Record, Start
from processor.settings import Settings
from processor.telemetry.events import Event, TaskRetrying, TaskSucceeded

TOPIC: Final = "test"
RESULTS_TOPIC: Final = "test.results"
CREATE_TIME: Final = 1
"""Kafka's number for a timestamp that the producer set."""

HeaderValues = Mapping[str, str | bytes | None]
Given = Task | tuple[str, Any] | Mapping[str, Any]
"""A task to run: one made by `task`, `(session_id, payload)`, or a dict with some of `session_id`, `payload`, `name`,
`id` and `headers`. A dict with `value` in place of `payload` is a record with just these bytes, decodable or not."""

_MEMBERS: Final = {"session_id", "payload", "name", "id", "headers", "value"}


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A task that succeeded."""

    session_id: str
    name: str
    payload: Any
    """As it was given."""
    attempts: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was given up."""

    session_id: str
    payload: Any
    """As it was given; the bytes, where it was given as bytes."""
    attempts: int
    """0 where it could not be decoded."""
    error_type: str
    """The exception's name with its module."""
    error: str
    headers: dict[str, bytes | None]
    """Those of the record in the dead-letter topic."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the tasks."""

    done: list[Done]
    """In the order in which they succeeded."""
    results: list[Any]
    """What handlers returned, without None, in the order in which they did."""
    dead_letters: list[DeadLetter]
    retried: int
    """How many attempts failed and were followed by another."""
    exit_code: int
    """What `processor run` would have ended with."""

    def order_of(self, session_id: str) -> list[Any]:
        """The payloads of this session's tasks that succeeded, in the order in which they did."""
        return [done.payload for done in self.done if done.session_id == session_id]


def task(  # noqa: PLR0913 — what a task consists of
    payload: Any = None,
    session_id: str = "",
    name: str = "",
    *,
    id: str | None = None,
    headers: HeaderValues | None = None,
    topic: str = TOPIC,
    partition: int = 0,
    offset: int = 0,
    attempt: int = 1,
    timeout: float = 30.0,
) -> Task:
    """A task to call a handler with, or to give to `run`.

    Args:
        payload: what the handler gets, as it is.
        session_id: the record's key; "" is a record without one.
        name: which handler takes it.
        id: None is TOPIC-PARTITION-OFFSET.
        headers: text is written in UTF-8.
        topic: where it seems to come from.
        partition: the same.
        offset: the same.
        attempt: 1 for the first.
        timeout: seconds that its handler still has.
    """
    record = _Record(topic, partition, offset, _key(session_id), None, _headers(headers))
    return Task(record, payload, attempt, time.monotonic() + timeout, Content(payload, name or None, id))


def run(  # noqa: PLR0913 — options, each given by its name
    app: Processor | Function,
    tasks: Iterable[Given],
    *,
    value_format: ValueFormat = "avro",
    schemas: str | None = None,
    workers: int = 8,
    partitions: int = 4,
    backoff: float = 0.0,
    backoff_max: float = 30.0,
    seconds: float = 60.0,
    **options: Any,
) -> Report:
    """Runs `app` on `tasks` until each has succeeded or is a dead letter, and tells what became of them.

    The threads, the order, the retries and the codec are those of `processor run`; only Kafka is a list in memory.

    Args:
        app: a handler, plain or async, or a `Processor`.
        tasks: in the order in which they are produced.
        value_format: how payloads and results travel; one that cannot be written in it is an error here too.
        schemas: a folder of .avsc files.
        workers: threads, or coroutines where every handler is async.
        partitions: over which the sessions are spread.
        backoff: seconds before a second attempt; none, so that tests of failures are fast.
        backoff_max: seconds.
        seconds: that all of it may take.
        options: any other field of `Settings`, such as `max_attempts` or `timeout`.

    Raises:
        TimeoutError: not everything was settled in time.
        ProcessorError: a handler went on after its timeout and could not be stopped, or the consumer failed.
        SettingsError: an option or a task cannot be used.
        EncodeError: a payload cannot be written in the value format.
        LoadError: `app` is no application, or a schema cannot be loaded.
    """
    if partitions < 1:
        raise SettingsError(f"partitions must be at least 1, not {partitions}")
    settings = Settings(
        **{
            "topics": (TOPIC,),
            "group": "test",
            "value_format": value_format,
            "schemas": schemas,
            "workers": workers,
            "backoff": backoff,
            "backoff_max": max(backoff, backoff_max),
            "results_topic": RESULTS_TOPIC,
            "stop_at_end": True,
            "log_level": "debug",
            **options,
        }
    )
    handlers = Handlers.of(app)
    codec = _RememberingCodec(codec_of(handlers, value_format, schemas))
    topic = _Topic(settings.topics[0], partitions, codec.real)
    for given in tasks:
        topic.add(given)
    return _run(settings, handlers, topic, codec, seconds)


def _run(settings: Settings, app: Handlers, topic: _Topic, codec: _RememberingCodec, seconds: float) -> Report:
    events: list[Event] = []
    sink = _Sink()
    consumer = Consumer(settings, app, _Source(topic), sink, codec, events.append)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        consumer.request_stop_now(f"not done within {seconds:g} s")

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        ending = consumer.run()
    finally:
        timer.cancel()
    if late.is_set() and not ending.finished:
        raise TimeoutError(f"not every task was settled within {seconds:g} seconds")
    if ending.recycle or not ending.finished:
        raise ProcessorError(f"the consumer ended before the last task: {_why(events)}")
    return _reported(topic, events, sink.letters(settings.results_topic), codec.results, ending.exit_code)


def _why(events: Sequence[Event]) -> str:
    reasons = [getattr(event, "reason", None) or getattr(event, "error", None) for event in events]
    return next((str(reason) for reason in reversed(reasons) if reason), "it did not say why")


def _reported(
    topic: _Topic, events: Sequence[Event], letters: Sequence[_Record], results: list[Any], exit_code: int
) -> Report:
    dead = [_dead_letter(topic, letter) for letter in letters]
    # A return value that cannot be written makes a dead letter of a task whose handler had succeeded.
    given_up = {(int(_text(letter, "dlq-partition")), int(_text(letter, "dlq-offset"))) for letter in letters}
    done = [
        Done(
            session_id=event.session_id,
            name=event.task_name,
            payload=topic.payloads[event.partition, event.offset],
            attempts=event.attempt,
        )
        for event in events
        if isinstance(event, TaskSucceeded) and (event.partition, event.offset) not in given_up
    ]
    retried = sum(isinstance(event, TaskRetrying) for event in events)
    return Report(done=done, results=results, dead_letters=dead, retried=retried, exit_code=exit_code)


def _dead_letter(topic: _Topic, letter: _Record) -> DeadLetter:
    key = letter.key()
    return DeadLetter(
        session_id=key.decode() if key is not None else "",
        payload=topic.payloads[int(_text(letter, "dlq-partition")), int(_text(letter, "dlq-offset"))],
        attempts=int(_text(letter, "dlq-attempts")),
        error_type=_text(letter, "dlq-error-type"),
        error=_text(letter, "dlq-error-message"),
        headers=dict(letter.headers() or ()),
    )


def _text(record: _Record, header: str) -> str:
    return (dict(record.headers() or ())[header] or b"").decode()


def _key(session_id: str) -> bytes | None:
    return session_id.encode() if session_id else None


def _headers(headers: HeaderValues | None) -> Headers:
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in (headers or {}).items()]


# --- Kafka in memory ---------------------------------------------------------------------------------


class _Record:
    def __init__(
        self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._key = key
        self._value = value
        self._headers = headers
        self._timestamp = time.time_ns() // 1_000_000

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return self._headers or None

    def timestamp(self) -> tuple[int, int]:
        return CREATE_TIME, self._timestamp

    def error(self) -> object | None:
        return None


class _Topic:
    """The tasks as records, a list a partition."""

    def __init__(self, name: str, partitions: int, codec: ValueCodec) -> None:
        self.name = name
        self.partitions: list[list[_Record]] = [[] for _ in range(partitions)]
        self.payloads: dict[tuple[int, int], Any] = {}
        self._codec = codec
        self._keyless = itertools.count()

    def add(self, given: Given) -> None:
        members = _members(given)
        key = _key(members.get("session_id") or "")
        headers = _headers(members.get("headers"))
        if "value" in members:
            payload = value = members["value"]
        else:
            payload = members.get("payload")
            name, session_id = members.get("name") or "", members.get("session_id") or ""
            outgoing = Outgoing(session_id, payload, name, members.get("id"))
            value = self._codec.encode_task(outgoing)
            headers = [*self._codec.headers_for(outgoing), *headers]
        number = (next(self._keyless) if key is None else zlib.crc32(key)) % len(self.partitions)
        records = self.partitions[number]
        self.payloads[number, len(records)] = payload
        records.append(_Record(self.name, number, len(records), key, value, headers))


def _members(given: Given) -> Mapping[str, Any]:
    if isinstance(given, Task):
        headers = dict(given._record.headers() or ())  # noqa: SLF001 — what `task` put there, without the value's
        return {
            "session_id": given.session_id,
            "payload": given.payload,
            "name": given.name,
            "id": given._content.id,  # noqa: SLF001 — the property would make one up
            "headers": headers,
        }
    if isinstance(given, tuple):
        if len(given) != 2:
            raise SettingsError(f"a task is (session_id, payload), not a tuple of {len(given)}")
        return {"session_id": given[0], "payload": given[1]}
    if unknown := sorted(set(given) - _MEMBERS):
        raise SettingsError(f"a task has no {', '.join(map(repr, unknown))}: it may have {', '.join(sorted(_MEMBERS))}")
    return given


class _Source:
    """A group of one member, which has all partitions from the first `take` on."""

    session_seconds = math.inf

    def __init__(self, topic: _Topic) -> None:
        self._name = topic.name
        self._waiting = {Partition(topic.name, n): deque(records) for n, records in enumerate(topic.partitions)}
        self._sizes = {partition: len(records) for partition, records in self._waiting.items()}
        self._committed: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._unheard: list[Sequence[Commit]] = []
        self._listener: Listener | None = None
        self._assigned = False

    def open(self, listener: Listener) -> None:
        self._listener = listener

    def take(self, limit: int, seconds: float) -> Sequence[Record]:
        assert self._listener is not None
        if not self._assigned:
            self._assigned = True
            self._listener.on_assign([Start(partition, None, "") for partition in self._waiting])
        unheard, self._unheard = self._unheard, []
        for commits in unheard:
            self._listener.on_committed(commits, None)
        taken: list[Record] = []
        for partition, records in self._waiting.items():
            while records and len(taken) < limit and partition not in self._paused:
                taken.append(records.popleft())
        if not taken:
            time.sleep(min(seconds, 0.005))
        return taken

    def interpret(self, record: Record) -> End | None:  # noqa: ARG002 — the port's
        return None

    def commit(self, commits: Sequence[Commit]) -> None:
        self._keep(commits)
        self._unheard.append(commits)

    def commit_now(self, commits: Sequence[Commit], seconds: float) -> str | None:  # noqa: ARG002 — the port's
        self._keep(commits)
        return None

    def _keep(self, commits: Sequence[Commit]) -> None:
        self._committed.update({commit.partition: commit.offset for commit in commits})

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def ends(self) -> dict[Partition, int]:
        return {partition: size for partition, size in self._sizes.items() if size}

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        return {partition: self._committed[partition] for partition in partitions if partition in self._committed}

    def high_watermark(self, partition: Partition) -> int | None:
        return self._sizes.get(partition)

    def close(self) -> None: ...


class _Sink:
    """Keeps what is sent and acknowledges it from a thread of its own, as the Kafka client does."""

    def __init__(self) -> None:
        self._sent: list[_Record] = []
        self._acknowledging = ThreadPoolExecutor(1, "test-sink")

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, delivered: Delivered
    ) -> None:
        self._sent.append(_Record(topic, 0, len(self._sent), key, value, headers or []))
        self._acknowledging.submit(delivered, None)

    def close(self, seconds: float) -> int:  # noqa: ARG002 — the port's
        self._acknowledging.shutdown(wait=True)
        return 0

    def letters(self, results_topic: str | None) -> list[_Record]:
        return [record for record in self._sent if record.topic() != results_topic]


class _RememberingCodec:
    """The real codec, and what handlers returned."""

    def __init__(self, real: ValueCodec) -> None:
        self.real = real
        self.results: list[Any] = []
        self.decode: Callable[[Record], Any] = real.decode

    def encode_result(self, task: Any, result: Any) -> bytes:
        encoded = self.real.encode_result(task, result)
        self.results.append(result)
        return encoded

"""The tasks of a test, and the records that they become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from processor.codec.messages import Outgoing
from processor.codec.plans import group_headers, step_headers
from processor.codec.value_codec import ValueCodec
from processor.engine.deaths import TaskPlace
from processor.engine.record import Headers, Record
from processor.errors import SettingsError
from processor.handlers.joins import is_of_join, returned_by
from processor.handlers.links import INPUTS, write_inputs
from processor.handlers.steps import Group, Step
from processor.handlers.task import Content, Task
from processor.handlers.terms import headers_for_terms
from processor.runtime.ports import Partition
from processor.testing.memory.cluster import MemoryCluster, MemoryRecord

TOPIC: Final = "test"

HeaderValues = Mapping[str, str | bytes | None]
Given = Task | Step | Group | tuple[str, Any] | Mapping[str, Any]
"""A task to run: a task made by `task`, a `Step` or a group, `(session_id, payload)`, or a dict.

A dict has some of `session_id`, `payload`, `name`, `id` and `headers`, and of the terms `priority`, `not_before`,
`delay`, `expires` and `expires_in`, as `Dispatcher.submit` takes them. A dict with `value` in place of `payload` is a
record with exactly these bytes, decodable or not."""

_TERMS: Final = frozenset({"priority", "not_before", "delay", "expires", "expires_in"})
_MEMBERS: Final = _TERMS | {"session_id", "payload", "name", "id", "headers", "value"}


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
    state: Any = None,
    inputs: Sequence[Any] = (),
) -> Task:
    """Return a task to call a handler with, or to pass to `run`.

    Args:
        payload: the payload, which the handler gets unchanged.
        session_id: the record's key; "" is a record without a key.
        name: the name of the handler.
        id: the task's ID; None is TOPIC-PARTITION-OFFSET.
        headers: the record's headers; text is encoded in UTF-8.
        topic: the topic of the record.
        partition: the partition of the record.
        offset: the offset of the record.
        attempt: the number of the attempt, 1 for the first.
        timeout: seconds until the handler's time limit.
        inputs: the return values of the tasks that it follows.
        state: the value of `task.state`. `run` ignores it, and runs the lifespan itself.
    """
    links: Headers = [(INPUTS, write_inputs(inputs))] if inputs else []
    place = Partition(topic, partition)
    record = MemoryRecord(place, offset, _key(session_id), None, [*_headers(headers), *links])
    content = Content(payload, name or None, id)
    return Task(record, payload, attempt, time.monotonic() + timeout, content, state=state)


class Load:
    """Produces the tasks of one run to the topic, and remembers them as they were given."""

    def __init__(self, cluster: MemoryCluster, topic: str, codec: ValueCodec) -> None:
        self.payloads: dict[TaskPlace, Any] = {}
        """Payloads by the places of the tasks; the value's bytes if a task was given as `value`."""
        self._cluster = cluster
        self._topic = topic
        self._codec = codec

    def produce(self, given: Given) -> None:
        """Appends a task to the topic.

        Raises:
            SettingsError: it is not a task.
            EncodeError: its payload cannot be written in the value format.
        """
        if isinstance(given, Group):
            self._produce_group(given)
            return
        members = _members(given)
        session_id = members.get("session_id") or ""
        headers = [*_headers(members.get("headers")), *self._terms(given, members)]
        if "value" in members:
            payload = value = members["value"]
        else:
            payload = members.get("payload")
            outgoing = Outgoing(session_id, payload, members.get("name") or "", members.get("id"))
            value = self._codec.encode_task(outgoing)
            headers = [*self._codec.headers_for(outgoing), *headers]
        record = self._cluster.produce(self._topic, _key(session_id), value, headers)
        self.payloads[_place_of(record)] = payload

    def note_follow_ups(self, topics: Sequence[str]) -> None:
        """Notes the payloads of the tasks in these topics that followed from others."""
        for record in [record for topic in topics for record in self._cluster.records(topic)]:
            place = _place_of(record)
            if place not in self.payloads:
                self.payloads[place] = self.payload_in(record)

    def payload_in(self, record: Record) -> Any:
        """Return the payload of a task that was not given, or what a branch returned that has arrived at its join."""
        return returned_by(record) if is_of_join(record) else self._codec.decode(record).payload

    def _produce_group(self, group: Group) -> None:
        try:
            headers = group_headers(group, self._codec)
        except ValueError as error:
            raise SettingsError(f"a group: {error}") from None
        record = self._cluster.produce(self._topic, _key(group.id or ""), None, headers)
        self.payloads[_place_of(record)] = None

    def _terms(self, given: Given, members: Mapping[str, Any]) -> Headers:
        try:
            if isinstance(given, Step):
                return step_headers(given, self._codec)
            return headers_for_terms(**{name: members[name] for name in _TERMS & members.keys()})
        except ValueError as error:
            raise SettingsError(f"a task's terms: {error}") from None


def _place_of(record: Record) -> TaskPlace:
    return TaskPlace(record.topic(), record.partition(), record.offset())


def _key(session_id: str) -> bytes | None:
    return session_id.encode() if session_id else None


def _headers(headers: HeaderValues | None) -> Headers:
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in (headers or {}).items()]


def _members(given: Task | Step | tuple[str, Any] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(given, Task):
        headers = dict(given._record.headers() or ())  # noqa: SLF001 — what `task` put there, without the value's
        return {
            "session_id": given.session_id,
            "payload": given.payload,
            "name": given.name,
            "id": given._content.id,  # noqa: SLF001 — the property would make one up
            "headers": headers,
        }
    if isinstance(given, Step):
        return {name: getattr(given, name) for name in ("session_id", "payload", "name", "id", "headers")}
    if isinstance(given, tuple):
        if len(given) != 2:
            raise SettingsError(f"a task is (session_id, payload), not a tuple of {len(given)}")
        return {"session_id": given[0], "payload": given[1]}
    if unknown := sorted(set(given) - _MEMBERS):
        raise SettingsError(f"a task has no {', '.join(map(repr, unknown))}: it may have {', '.join(sorted(_MEMBERS))}")
    return given

"""Encodes a step's terms and the tasks that follow it as headers of its record, and those of a group's first record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from processor.codec.messages import Outgoing
from processor.engine.record import Headers
from processor.errors import EncodeError
from processor.handlers.joins import NAME
from processor.handlers.links import ARRIVAL, THEN, Planned, write_plan
from processor.handlers.steps import Group, Step
from processor.handlers.terms import headers_for_terms, milliseconds_of


class TaskEncoder(Protocol):
    """The writing half of a `ValueCodec`."""

    def encode_task(self, outgoing: Outgoing) -> bytes | None:
        """Encodes a task as a record's value."""

    def headers_for(self, outgoing: Outgoing) -> Headers:
        """The record's headers for what the value cannot carry."""


def step_headers(step: Step, codec: TaskEncoder) -> Headers:
    """Return the headers of a step's record that carry its terms and what follows from it.

    Raises:
        EncodeError: a payload that follows cannot be written in this format, or all of them are too large.
        ValueError: a term cannot be used, or a step that follows has no session ID, or has its own ID.
    """
    headers = headers_for_terms(step.priority, step.not_before, step.delay, step.expires, step.expires_in)
    if step.following:
        headers.append((THEN, write_plan(_plan(step.following, codec))))
    return headers


def group_headers(group: Group, codec: TaskEncoder) -> Headers:
    """Return the headers of the record by which a group begins. Its key is the group's ID, and it has no value.

    Raises:
        EncodeError: a payload cannot be written in this format, all of them are too large, or the ID cannot be encoded
        in UTF-8. ValueError: a term cannot be used, or a step has no session ID, or has its own ID.
    """
    named: Headers = [("task-id", encode_text(group.id))] if group.id else []
    plan = write_plan(_plan((replace(group, id=None, following=()), *group.following), codec))
    return [("task-name", NAME.encode()), *named, (ARRIVAL, b"{}"), (THEN, plan)]


def encode_headers(headers: Mapping[str, str | bytes | None]) -> Headers:
    """Return headers as they are in a record, with text in UTF-8.

    Names are checked, too: the Kafka client crashes at one that it cannot encode.

    Raises:
        EncodeError: a name or a text cannot be encoded in UTF-8.
        TypeError: a value is of another type.
    """
    encoded: Headers = []
    for name, text in headers.items():
        encode_text(name)
        if not isinstance(text, str | bytes | None):
            raise TypeError(f"the value of header {name!r} must be a str, bytes or None, not {type(text).__name__}")
        encoded.append((name, encode_text(text)))
    return encoded


def encode_text(text: str | bytes | None) -> bytes | None:
    """Return text encoded in UTF-8, and any other value unchanged.

    Raises:
        EncodeError: the text cannot be encoded in UTF-8.
    """
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as caught:
        raise EncodeError(f"a text is not valid UTF-8: {caught.reason}") from None


def _plan(steps: Sequence[Step | Group], codec: TaskEncoder) -> list[Planned]:
    try:
        return [_planned_group(each, codec) if isinstance(each, Group) else _planned(each, codec) for each in steps]
    except RecursionError:
        raise EncodeError("groups are nested too deeply") from None


def _planned_group(group: Group, codec: TaskEncoder) -> Planned:
    if group.id is not None:
        raise ValueError(f"a group that follows takes no id: its ID is its predecessor's with /1, not {group.id!r}")
    headers_for_terms(0, expires=group.expires, expires_in=group.expires_in)  # raises if they conflict
    branches = [_plan((replace(branch, following=()), *branch.following), codec) for branch in group.branches]
    end = None if group.expires is None else milliseconds_of("expires", group.expires)
    return Planned(group=branches, expires=end, expires_in=group.expires_in)


def _planned(step: Step, codec: TaskEncoder) -> Planned:
    if step.id is not None:
        raise ValueError(f"a step that follows takes no id: its ID is its predecessor's with /1, not {step.id!r}")
    if not step.session_id:
        raise ValueError("session_id of a step that follows must not be empty: it keeps a session's tasks in order")
    _check_terms(step)
    outgoing = Outgoing(step.session_id, step.payload, step.name)
    return Planned(
        step.session_id,
        codec.encode_task(outgoing),
        [
            *codec.headers_for(outgoing),
            *encode_headers(step.headers or {}),
            *headers_for_terms(step.priority, step.not_before, expires=step.expires),
        ],
        step.topic,
        step.delay,
        step.expires_in,
    )


def _check_terms(step: Step) -> None:
    """Checks the terms of a step that follows. `expires_in` counts from when it is sent, perhaps after `not_before`.

    Raises:
        ValueError: a term cannot be used, or two of them conflict.
    """
    from_then = step.not_before is not None and step.expires_in is not None
    headers_for_terms(0, step.not_before, step.delay, step.expires, None if from_then else step.expires_in)
    headers_for_terms(0, expires=step.expires, expires_in=step.expires_in)

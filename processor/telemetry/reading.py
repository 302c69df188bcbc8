"""Reading log lines back as the events that they were written from.

Each line decodes into a subclass of its event's class in which every field has a default. So fields that an older
version lacks have their defaults, and fields that only a newer version has are ignored.
"""

from __future__ import annotations

import types
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import msgspec

from processor.telemetry.events import Event, kinds

E = TypeVar("E", bound=Event)


class Envelope(msgspec.Struct, kw_only=True):
    """The fields of every line, beside those of its event."""

    timestamp: datetime
    log_version: int = 1
    host: str = ""
    pid: int = 0
    group: str = ""
    fleet: int = 0
    """process ID of the fleet's parent"""
    consumer: int | None = None
    """number of the consumer in its fleet; None on lines of the fleet's parent"""


class LogEvent(NamedTuple):
    """One line."""

    envelope: Envelope
    event: Event


def read(line: bytes) -> LogEvent | None:
    """Decode a line of the JSON format; None if its event is unknown here.

    Raises:
        msgspec.DecodeError: the line is not JSON, or not an event.
        UnicodeDecodeError: the line is not UTF-8.
        RecursionError: its JSON is nested too deeply.
    """
    try:
        event = _decode(line)
    except msgspec.ValidationError:
        if _decode_header(line).event in _KNOWN:
            raise
        return None
    return LogEvent(Envelope(**{name: getattr(event, name) for name in _ENVELOPE}), cast(Event, event))


def with_defaults(kind: type[E], **fields: Any) -> E:
    """Return an event of `kind` with these fields; all others have their defaults, as if a line lacked them."""
    return cast(E, _lenient(kind)(**fields))


class _Header(msgspec.Struct):
    """The fields that every event has, even one of an unknown kind."""

    timestamp: datetime
    event: str


@cache
def _lenient(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a subclass of `kind`, an event or a part of one, whose fields all have a default."""
    return msgspec.defstruct(kind.__name__, _fields(kind), bases=(kind,), kw_only=True)


def _readable(event: type[Event]) -> type[msgspec.Struct]:
    """Return such a subclass of an event, with the fields of the envelope."""
    fields = _fields(event)
    own = {name for name, *_ in fields}
    shared = [(one.name, one.type, one.default) for one in msgspec.structs.fields(Envelope) if one.name not in own]
    return msgspec.defstruct(
        event.__name__, [*shared, *fields], bases=(event,), kw_only=True, tag_field="event", tag=event.event
    )


def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, Any, Any]]:
    return [(field.name, _type(field.type), _default(field.type)) for field in msgspec.structs.fields(kind)]


def _type(kind: Any) -> Any:
    """Return the type with which a field is read: a `Literal` becomes text, since a later version may add to it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return str
    if origin is list:
        return types.GenericAlias(list, (_type(parts[0]),))
    if origin is types.UnionType:
        return Union[tuple(_type(part) for part in parts)]  # noqa: UP007 — of a tuple
    return _lenient(kind) if isinstance(kind, type) and not origin and issubclass(kind, msgspec.Struct) else kind


def _default(kind: Any) -> Any:
    origin = get_origin(kind)
    if origin in (list, dict):
        return msgspec.field(default_factory=origin)
    if origin is types.UnionType:  # each has None
        return None
    return "" if origin is Literal else kind()


_ENVELOPE: Final = Envelope.__struct_fields__
_KNOWN: Final = frozenset(kind.event for kind in kinds())
_decode: Final = msgspec.json.Decoder(Union[tuple(map(_readable, kinds()))]).decode  # noqa: UP007 — of a tuple
_decode_header: Final = msgspec.json.Decoder(_Header).decode

"""Every event, whatever is in it, is one line that docs/logs.schema.json describes."""

from __future__ import annotations

import io
import json
from typing import Any, get_args, get_origin

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.telemetry import logs
from processor.telemetry.events import Event, FleetStopping
from tests.support import log_schema

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-1, 2**63 - 1),
    Any: st.none() | st.lists(st.text() | st.integers(-1, 2**63 - 1), max_size=3),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})
    origin, parts = get_origin(kind), get_args(kind)
    if origin is list:
        return st.lists(values(parts[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=3)
    if type(None) in parts:
        return st.none() | values(next(part for part in parts if part is not type(None)))
    return st.from_type(kind)


def line_of(event: Event, **bound: Any) -> str:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    logs.emitter(**bound)(event)
    return stream.getvalue()


@pytest.mark.parametrize("kind", log_schema.kinds(), ids=lambda kind: kind.event)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_event_is_one_line_that_the_schema_describes(kind: type[Event], data: st.DataObject) -> None:
    bound = {"group": "g", "fleet": 1} if kind.event.startswith("fleet.") else {"group": "g", "fleet": 1, "consumer": 0}
    text = line_of(data.draw(values(kind)), **bound)
    assert text.count("\n") == 1
    assert not set(text[:-1]) & {chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E)}
    log_schema.check([json.loads(text)])


def test_a_line_with_a_field_that_the_schema_does_not_know_is_refused() -> None:
    line = json.loads(line_of(FleetStopping(reason="r"), group="g", fleet=1))
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        log_schema.check([{**line, "surprise": 1}])


def test_a_line_without_a_field_is_refused() -> None:
    line = json.loads(line_of(FleetStopping(reason="r"), group="g", fleet=1))
    del line["reason"]
    with pytest.raises(jsonschema.ValidationError, match="reason"):
        log_schema.check([line])

"""The observer reads what is written, by its right names."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from processor.observe.lines import KNOWN_VERSION
from processor.telemetry import events
from processor.telemetry import reading as told

EVENTS = {
    kind.event: kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.Event) and hasattr(kind, "event")
}
BOUND = {"timestamp", "log_version", "host", "pid", "group", "fleet", "consumer"}
"""What every line has, or can have, next to the fields of its event."""


@pytest.mark.parametrize("kind", get_args(told.AnyTold), ids=lambda kind: kind.__name__)
def test_every_field_that_is_read_is_one_that_is_written(kind: type[told.Told]) -> None:
    written = EVENTS[str(kind.__struct_config__.tag)]
    assert set(kind.__struct_fields__) - BOUND <= set(written.__struct_fields__)


@pytest.mark.parametrize(
    ("read", "written"), [(told.HeadTold, events.HeadOfLine), (told.SessionTold, events.SessionLoad)]
)
def test_so_are_the_fields_of_what_is_nested(read: type[msgspec.Struct], written: type[msgspec.Struct]) -> None:
    assert set(read.__struct_fields__) <= set(written.__struct_fields__)


def test_the_log_version_that_is_read_is_the_one_that_is_written() -> None:
    assert KNOWN_VERSION == events.LOG_VERSION

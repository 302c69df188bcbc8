from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.codec.messages import Outgoing
from processor.codec.select import codec_for
from processor.errors import LoadError
from processor.handlers.task import Content, Task
from processor.options.value_formats import ValueFormat
from tests.codec.record import GivenRecord, as_content


@pytest.mark.parametrize(
    ("value_format", "payload"), [("avro", {"amount": 5}), ("json", {"amount": 5}), ("bytes", b"\x00\x01")]
)
def test_every_format_encodes_and_decodes_a_task(value_format: ValueFormat, payload: Any) -> None:
    codec = codec_for(value_format)
    outgoing = Outgoing("s1", payload, "charge", "t-1")
    record = GivenRecord(codec.encode_task(outgoing), headers=codec.headers_for(outgoing))
    content = codec.decode(record)
    task = Task(record, content.payload, 1, 0.0, content)
    assert (task.payload, task.name, task.id, task.session_id) == (payload, "charge", "t-1", "s1")


def test_the_avro_codec_uses_the_schemas_of_the_folder(tmp_path: Path) -> None:
    """The record of no fields, and its fingerprint, are test case 019 of the Avro project."""
    (tmp_path / "foo.avsc").write_text(json.dumps({"fields": [], "type": "record", "name": "foo"}))
    value = b"\xc3\x01" + (-4824392279771201922).to_bytes(8, "little", signed=True)
    assert as_content(codec_for("avro", str(tmp_path)).decode(GivenRecord(value))) == Content({}, "foo")


def test_an_invalid_schema_is_reported_when_the_codec_is_created(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text("{")
    with pytest.raises(LoadError, match=r"order\.avsc"):
        codec_for("avro", str(tmp_path))

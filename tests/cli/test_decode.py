"""`processor decode`: shows the parts of a value, or where it cannot be decoded."""

from __future__ import annotations

import io
import json
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from processor.avro.schemas import load_schemas
from processor.cli.main import main
from processor.codec.messages import Outgoing
from processor.codec.select import codec_for
from tests.conftest import MakeTopic, Produce
from tests.support.broker import Broker

ORDER = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "seal", "type": "bytes"},
        {"name": "lines", "type": {"type": "array", "items": {"type": "map", "values": "string"}}},
    ],
}
# The bytes are a UUID as text, 04d2 = 1234, day 1, two bytes, one line {"sku": "A"}, and one that declares 9 letters.
DATUM = (
    b"\x4812345678-1234-5678-1234-567812345678" b"\x04\x04\xd2" b"\x02" b"\x04\xff\x00"
    b"\x04\x02\x06sku\x02A\x00"
)  # fmt: skip
TASK = codec_for("avro").encode_task(Outgoing("anna", {"cents": 5}, "charge", "t-1")) or b""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def order(tmp_path: Path) -> bytes:
    """The framing of an order; its schema is in the folder `avsc`."""
    (tmp_path / "avsc").mkdir()
    (tmp_path / "avsc" / "order.avsc").write_text(json.dumps(ORDER))
    return b"\xc3\x01" + load_schemas("avsc").by_name["shop.Order"].fingerprint


Capture = pytest.CaptureFixture[str]


def decoded(capsys: Capture, value: bytes, *options: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """The command's JSON output for a value in a file, and its line on stderr."""
    Path("value").write_bytes(value)
    assert main(["decode", "value", *options]) == code
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_a_task_is_shown_with_its_decoded_payload(capsys: Capture) -> None:
    shown, err = decoded(capsys, TASK)
    created = shown["value"].pop("created_at")
    assert created.endswith("Z")
    assert err == ""
    assert shown == {
        "framing": "single-object",
        "schema": "processor.Task",
        "fingerprint": "9cda608e494710c2",
        "value": {
            "id": "t-1",
            "session_id": "anna",
            "name": "charge",
            "payload": {"cents": 5},
            "content_type": "application/json",
            "headers": {},
        },
    }


def test_a_value_of_another_schema_is_shown_as_json(capsys: Capture, order: bytes) -> None:
    shown, _ = decoded(capsys, order + DATUM + b"\x00\x00", "--schemas", "avsc", code=0)
    assert shown["schema"] == "shop.Order"
    assert shown["value"] == {
        "id": "12345678-1234-5678-1234-567812345678",
        "price": "12.34",
        "day": "1970-01-02",
        "seal": "/wA=",
        "lines": [{"sku": "A"}, {}],
    }


def test_a_decode_error_is_shown_with_its_position_and_the_part_before_it(capsys: Capture, order: bytes) -> None:
    value = order + DATUM + b"\x02\x06sku\x12oops"
    shown, err = decoded(capsys, value, "--schemas", "avsc", code=1)
    assert shown["error"] == {
        "reason": "a string declares 9 bytes, but only 4 remain",
        "byte": len(value) - 5,
        "field": 'lines[1]["sku"]',
    }
    assert shown["partial"]["lines"] == [{"sku": "A"}, {}]
    assert "value" not in shown
    assert err == (
        f'processor: the value is not a valid shop.Order: byte {len(value) - 5}, field lines[1]["sku"]:'
        " a string declares 9 bytes, but only 4 remain\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"", {"framing": "none", "byte": 0, "reason": "the value is empty"}),
        (b'{"a": 1}', {"framing": "none", "byte": 0, "reason": "the value begins with 7b 22, which is neither"}),
        (
            b"\xc3\x01\x02",
            {"framing": "single-object", "byte": 2, "reason": "the value ends inside the schema fingerprint"},
        ),
        (b"\xc3\x01" + bytes(9), {"framing": "single-object", "byte": 2, "reason": "no schema has the fingerprint 00"}),
        (b"\x00\x00\x00\x01\x02ab", {"framing": "confluent", "byte": 1, "reason": "the value refers to schema 258"}),
        (
            TASK + b"\n",
            {"framing": "single-object", "byte": len(TASK), "reason": "1 byte follows the end of the datum"},
        ),
        (TASK.replace(b"{", b"["), {"framing": "single-object", "byte": None, "reason": "the payload is not JSON"}),
    ],
    ids=["empty", "json", "cut", "unknown", "confluent", "longer", "broken"],
)
def test_an_undecodable_value_is_exit_code_1_and_one_line(capsys: Capture, value: bytes, shown: dict[str, Any]) -> None:
    document, err = decoded(capsys, value, code=1)
    assert document["framing"] == shown["framing"]
    assert document["error"].get("byte") == shown["byte"]
    assert document["error"]["reason"].startswith(shown["reason"])
    assert err.count("\n") == 1
    assert shown["reason"] in err


def test_a_task_is_decodable_although_an_unused_field_is_out_of_range(capsys: Capture) -> None:
    """`created_at` may be out of range for Python's `datetime`."""
    ages = TASK[: TASK.index(b"application/json") + 17] + b"\xff" * 9 + b"\x01"
    shown, _ = decoded(capsys, ages)
    assert shown["value"]["payload"] == {"cents": 5}
    assert "created_at" not in shown["value"]


def test_a_registrys_schema_id_is_shown(capsys: Capture) -> None:
    assert decoded(capsys, b"\x00\x00\x00\x01\x02ab", code=1)[0]["schema_id"] == 258


@pytest.mark.parametrize(
    ("value_format", "value", "shown"),
    [
        ("json", b'{"a": [1]}', {"a": [1]}),
        ("json", b'{"payload": 1, "name": "charge"}', {"payload": 1, "name": "charge"}),
        ("bytes", "ä".encode(), "ä"),
        ("bytes", b"\xff", "/w=="),
    ],
)
def test_other_formats_are_shown(capsys: Capture, value_format: str, value: bytes, shown: Any) -> None:
    assert decoded(capsys, value, "--value-format", value_format)[0] == {"framing": "none", "value": shown}


def test_a_value_shows_no_character_on_which_a_terminal_acts(capsys: Capture) -> None:
    """Here: the start of a control sequence in one character, and one that reverses the order of the text."""
    Path("value").write_bytes('"a\u009b2J\u202eb"'.encode())
    assert main(["decode", "value", "--value-format", "json"]) == 0
    out = capsys.readouterr().out
    assert "a\\u009b2J\\u202eb" in out
    assert json.loads(out)["value"] == "a\u009b2J\u202eb"


def test_invalid_json_is_shown_with_its_byte(capsys: Capture) -> None:
    shown, _ = decoded(capsys, b'{"a": oops}', "--value-format", "json", code=1)
    assert shown == {"framing": "none", "error": {"reason": "the value is not JSON: invalid character (byte 6)"}}


def test_a_value_may_be_read_from_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(BytesIO(TASK)))
    assert main(["decode"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "processor.Task"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], 2, "SOURCE 'missing' cannot be read: No such file or directory"),
        (["a:b:c"], 2, "for a record, give TOPIC:PARTITION:OFFSET"),
        (["."], 2, "SOURCE '.' cannot be read: Is a directory"),
        (["a:0:1", "-X", "group.id=x"], 2, "-X group.id is refused"),
    ],
)
def test_an_unreadable_source_is_reported_in_one_line(
    capsys: Capture, arguments: list[str], code: int, message: str
) -> None:
    assert main(["decode", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_an_unloadable_schema_is_exit_code_5(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "bad.avsc").write_text("{")
    Path("value").write_bytes(TASK)
    assert main(["decode", "value", "--schemas", str(tmp_path)]) == 5
    assert "bad.avsc: not JSON" in capsys.readouterr().err


def test_a_record_is_shown_with_its_position_key_and_headers(
    capsys: Capture, broker: Broker, topic: MakeTopic, produce: Produce
) -> None:
    name = topic(2)
    produce(
        name,
        [("anna", b"first"), ("anna", TASK, [("trace", b"\xff"), ("via", b"a"), ("via", b"b"), ("via", None)])],
        partition=1,
    )
    assert main(["decode", f"{name}:1:1", "-b", broker.bootstrap_servers]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["record"].pop("timestamp") > 0
    assert shown["record"] == {
        "topic": name,
        "partition": 1,
        "offset": 1,
        "key": "anna",
        "headers": {"trace": "/w==", "via": ["a", "b", None]},
    }
    assert shown["value"]["payload"] == {"cents": 5}
    assert main(["decode", f"{name}:1:0", "-b", broker.bootstrap_servers]) == 1


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (":0:3", "[0] has no offset 3 yet: there are 0 to 0"),
        (":1:0", "[1] has no offset 0 yet: it is empty"),
        (":2:0", " has no partition 2: they are 0 to 1"),
        ("-missing:0:0", "-missing does not exist at "),
    ],
)
def test_a_missing_record_is_exit_code_5_with_the_offsets_that_exist(
    capsys: Capture, broker: Broker, topic: MakeTopic, produce: Produce, place: str, message: str
) -> None:
    name = topic(2)
    produce(name, [("anna", TASK)], partition=0)
    assert main(["decode", f"{name}{place}", "-b", broker.bootstrap_servers]) == 5
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_the_sample_value_is_what_fastavro_writes(order: bytes) -> None:
    """Verifies the bytes above."""
    schema = fastavro.parse_schema(ORDER)
    datum: Any = fastavro.schemaless_reader(BytesIO(DATUM + b"\x00\x00"), schema, None)
    assert datum["lines"] == [{"sku": "A"}, {}]


def test_a_place_in_a_topic_of_the_longest_name_is_no_file(capsys: Capture) -> None:
    place = f"{'t' * 249}:0:00000"
    assert main(["decode", place, "-b", "127.0.0.1:1"]) == 4
    assert capsys.readouterr().err.startswith("processor: no broker responds at 127.0.0.1:1")


@pytest.mark.parametrize("command", ["run a:b -t t -g g", "produce -t t", "schema list", "doctor -t t -g g", "decode"])
def test_a_folder_whose_name_is_too_long_is_none(capsys: Capture, command: str) -> None:
    assert main([*command.split(), "--schemas", "x" * 300]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_heartbeat_file_whose_name_is_too_long_cannot_be_written(capsys: Capture, tmp_path: Path) -> None:
    file = str(tmp_path / ("x" * 300))
    assert (
        main(["run", "examples.basic:greet", "-t", "t", "-g", "g", "-b", "127.0.0.1:1", "--heartbeat-file", file]) == 5
    )
    assert "cannot be written: File name too long" in capsys.readouterr().err

"""`processor schema` and `processor decode` with a real registry."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from processor.avro.schemas import load_schemas
from processor.cli.main import main
from tests.support.registry_server import RegistryServer

Capture = pytest.CaptureFixture[str]


def order(name: str, *fields: Any) -> dict[str, Any]:
    line = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}
    lines = {"name": "lines", "type": {"type": "array", "items": line}}
    return {"type": "record", "name": name, "namespace": "shop", "fields": [lines, *fields]}


COUNT = {"name": "count", "type": "int"}


class Team:
    """A folder with one record of a unique name, and its topic."""

    def __init__(self, folder: Path, url: str) -> None:
        self.name = f"Order{uuid.uuid4().hex[:8]}"
        self.topic = f"orders-{uuid.uuid4().hex[:8]}"
        self.access = ("--schema-registry", url)
        self._folder = folder

    def write(self, *fields: Any) -> None:
        (self._folder / "order.avsc").write_text(json.dumps(order(self.name, *fields)))

    def ask(self, capsys: Capture, *arguments: str, code: int = 0) -> tuple[str, str]:
        assert main([*arguments, "--schemas", str(self._folder), *self.access]) == code
        return capsys.readouterr()


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_server: RegistryServer) -> Team:
    monkeypatch.chdir(tmp_path)
    made = Team(tmp_path, registry_server.url)
    made.write()
    return made


@pytest.mark.parametrize("strategy", ["topic", "record", "topic-record"])
def test_check_compares_with_the_registered_version(capsys: Capture, team: Team, strategy: str) -> None:
    subjects = {"topic": f"{team.topic}-value", "record": f"shop.{team.name}"}
    subject = subjects.get(strategy, f"{team.topic}-shop.{team.name}")
    options = ("-t", team.topic, "--subject-name-strategy", strategy)
    out, _ = team.ask(capsys, "schema", "register", *options)
    assert out.startswith(f"shop.{team.name}: registered as {subject}, ID ")
    check = ("schema", "check", "--against", "registry", *options)
    out, _ = team.ask(capsys, *check)
    assert out.startswith("2 types valid; compared with the schema registry at http://")
    assert out.endswith(": 1 compatible, 1 new\n")
    team.write(COUNT)
    out, err = team.ask(capsys, *check, code=5)
    assert out == (
        f"shop.{team.name}: the new schema cannot read data written with {subject} version 1:"
        " field count: the writer lacks this field,"
        " and it has no default\n"
    )
    assert err == "processor: 1 of 2 types is incompatible with an earlier version (BACKWARD)\n"


def test_a_transitive_level_compares_with_every_version(capsys: Capture, team: Team) -> None:
    team.ask(capsys, "schema", "register", "-t", team.topic)
    team.write({**COUNT, "default": 1})
    team.ask(capsys, "schema", "register", "-t", team.topic)
    team.write(COUNT)
    check = ("schema", "check", "--against", "registry", "-t", team.topic, "--compatibility")
    team.ask(capsys, *check, "BACKWARD")
    assert "value version 1:" in team.ask(capsys, *check, "BACKWARD_TRANSITIVE", code=5)[0]


def test_subjects_are_listed_and_a_schema_is_shown_with_its_id(capsys: Capture, team: Team) -> None:
    show = ("schema", "show", f"shop.{team.name}", "-t", team.topic)
    assert json.loads(team.ask(capsys, *show)[0])["registered"] == []
    out, _ = team.ask(capsys, "schema", "register", "-t", team.topic)
    schema_id = int(out.split()[-1])
    subject = f"{team.topic}-value"
    assert json.loads(team.ask(capsys, *show)[0])["registered"] == [{"subject": subject, "version": 1, "id": schema_id}]
    (line,) = [line for line in team.ask(capsys, "schema", "list")[0].splitlines() if line.startswith(subject)]
    assert line.split() == [subject, "version", "1", "ID", str(schema_id), f"shop.{team.name}"]


def test_decode_shows_a_value_in_the_confluent_wire_format(capsys: Capture, team: Team, tmp_path: Path) -> None:
    out, _ = team.ask(capsys, "schema", "register", "-t", team.topic)
    schema_id = int(out.split()[-1])
    (tmp_path / "value").write_bytes(b"\x00" + schema_id.to_bytes(4, "big") + b"\x02\x02A\x00")
    shown = json.loads(team.ask(capsys, "decode", "value")[0])
    fingerprint = load_schemas(str(tmp_path)).by_name[f"shop.{team.name}"].fingerprint.hex()
    assert shown == {
        "framing": "confluent",
        "schema": f"shop.{team.name}",
        "fingerprint": fingerprint,
        "schema_id": schema_id,
        "value": {"lines": [{"sku": "A"}]},
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["register"], 2, "--topic is missing: --subject-name-strategy topic requires it"),
        (["check", "--against", "registry"], 2, "--topic is missing"),
        (["register", "-t", "a", "shop.Line", "order.avsc"], 2, "2 schemas would share one subject: name the one to"),
    ],
)
def test_an_impossible_request_is_reported_in_one_line(
    capsys: Capture, team: Team, arguments: list[str], code: int, message: str
) -> None:
    out, err = team.ask(capsys, "schema", *arguments, code=code)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err

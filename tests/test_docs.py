"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
from typer.main import get_command

from processor.cli.main import app
from processor.engine.ledger import TRANSITIONS
from tests.support import file_map, log_schema, option_table
from tests.support.log_catalogue import BEGIN, LOGS, catalogue
from tests.support.log_schema import SCHEMA

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DESIGN = (ROOT / "docs" / "DESIGN.md").read_text()


def test_the_readmes_table_of_options_is_that_of_the_code() -> None:
    assert option_table.readme() == README


def test_the_readmes_table_names_every_option_of_run_and_no_other() -> None:
    group: Any = get_command(app)
    known = {
        name
        for parameter in group.get_command(None, "run").params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--") and name != "--help"
    }
    table = README.split("## Options of", 1)[1].split("\nEvery option", 1)[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"--[a-z-]+", row)} == known


def test_the_lifecycle_in_the_design_is_the_one_in_the_code() -> None:
    drawn = re.findall(r"^\| ([A-Z]+) \| (\w+) \| ([A-Z]+) \|$", DESIGN, re.MULTILINE)
    assert drawn == [(before.name, event, after.name) for (before, event), after in TRANSITIONS.items()]


def test_the_file_map_is_that_of_the_tree() -> None:
    assert file_map.with_map(DESIGN) == DESIGN, "run: python -m tests.support.file_map"


def test_each_folder_documents_what_belongs_there_and_what_does_not() -> None:
    for section in DESIGN.split("\n### ")[1:]:
        _, purpose, _ = section.split("\n\n", 2)
        assert len(re.findall(r"[.](?:\s|$)", purpose)) >= (1 if "cli/" in section.split("\n")[0] else 2), purpose


def test_each_place_that_the_design_names_exists() -> None:
    named = re.findall(r"`(processor/[\w/]+(?:\.py|/))`", DESIGN)
    assert named
    assert [place for place in named if not (ROOT / place).exists()] == []


def test_the_log_catalogue_is_that_of_the_code() -> None:
    _, begin, written = LOGS.read_text().partition(BEGIN)
    assert begin + written == catalogue()


def test_the_log_schema_is_that_of_the_code_and_a_schema() -> None:
    assert SCHEMA.read_text() == log_schema.text()
    jsonschema.Draft202012Validator.check_schema(log_schema.schema())


def test_every_test_that_the_promises_name_exists() -> None:
    told = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", (ROOT / "docs" / "RELIABILITY.md").read_text())
    assert told
    assert [name for file, name in told if f"def {name}(" not in (ROOT / file).read_text()] == []

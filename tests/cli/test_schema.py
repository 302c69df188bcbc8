"""`processor schema`: checks in a team's CI, and output generated from schemas."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from processor.avro.schemas import load_schemas
from processor.cli.main import main
from processor.testing import run

Capture = pytest.CaptureFixture[str]

LINE = {"type": "record", "name": "shop.Line", "fields": [{"name": "sku", "type": "string"}]}


def order(*fields: Any) -> dict[str, Any]:
    lines = {"name": "lines", "type": {"type": "array", "items": "Line"}}
    return {"type": "record", "name": "shop.Order", "fields": [{"name": "id", "type": "string"}, lines, *fields]}


COUNT = {"name": "count", "type": "int"}
COUNT_BY_DEFAULT = {**COUNT, "default": 1}


class Team:
    """A repository with schemas."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, document: Any, file: str = "order.avsc") -> None:
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "a change")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self._folder, check=True, capture_output=True)


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Team:
    """A team in the current folder, with the schemas in the folder `avsc`, committed once."""
    for name in [name for name in os.environ if name.startswith(("PROCESSOR_", "GIT_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "repo" / "avsc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    made = Team(tmp_path / "repo" / "avsc")
    made.git("init", "-q", "..")
    made.write(LINE, "line.avsc")
    made.write(order())
    made.commit()
    return made


def asked(capsys: Capture, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["schema", *arguments]) == code
    return capsys.readouterr()


def checked(capsys: Capture, *options: str, code: int = 0) -> list[str]:
    """The lines that `check` prints to stdout and stderr."""
    out, err = asked(capsys, "check", "--schemas", "avsc", *options, code=code)
    assert err.count("\n") == (1 if code else 0)
    return [*out.splitlines(), *err.splitlines()]


def test_unchanged_schemas_are_compatible(capsys: Capture, team: Team) -> None:
    assert checked(capsys) == ["2 types valid; compared with git:HEAD (BACKWARD): 2 compatible"]


def test_an_incompatibility_is_reported_with_its_field_and_reason(capsys: Capture, team: Team) -> None:
    team.write(order(COUNT))
    assert checked(capsys, code=5) == [
        "shop.Order: the new schema cannot read data written with git:HEAD: field count: the writer lacks this field,"
        " and it has no default",
        "processor: 1 of 2 types is incompatible with an earlier version (BACKWARD)",
    ]


def test_an_incompatibility_affects_all_types_that_reference_it(capsys: Capture, team: Team) -> None:
    team.write({**LINE, "fields": [{"name": "sku", "type": "int"}]}, "line.avsc")
    assert checked(capsys, code=5) == [
        "shop.Line: the new schema cannot read data written with git:HEAD: field sku: written as string, read as int",
        "shop.Order: the new schema cannot read data written with git:HEAD: field lines[].sku: written as string,"
        " read as int",
        "processor: 2 of 2 types are incompatible with an earlier version (BACKWARD)",
    ]


def test_a_compatible_change_passes_and_the_removed_version_is_noted(capsys: Capture, team: Team) -> None:
    team.write(order(COUNT_BY_DEFAULT))
    note, summary = checked(capsys)
    assert note.startswith("shop.Order: note: without a registry, values written with git:HEAD (")
    assert note.endswith("keep its file in a subfolder")
    assert summary == "2 types valid; compared with git:HEAD (BACKWARD): 2 compatible"
    team.write(order(), "released/1/order.avsc")
    assert checked(capsys) == [summary]


@pytest.mark.parametrize(
    ("level", "code"),
    [("BACKWARD", 5), ("forward", 0), ("FULL", 5), ("NONE", 0), ("backward_transitive", 5), ("FORWARD_TRANSITIVE", 0)],
)
def test_the_level_determines_the_result(capsys: Capture, team: Team, level: str, code: int) -> None:
    team.write(order(COUNT))
    checked(capsys, "--compatibility", level, code=code)


def test_a_transitive_level_compares_with_every_commit(capsys: Capture, team: Team) -> None:
    team.write(order(COUNT_BY_DEFAULT))
    team.commit()
    team.write(order(COUNT))
    assert checked(capsys)[-1].startswith("2 types valid")
    problems = checked(capsys, "--compatibility", "BACKWARD_TRANSITIVE", code=5)
    assert "shop.Order: the new schema cannot read data written with git:" in problems[0]
    assert "git:HEAD" not in problems[0]


def test_a_committed_change_is_compared_with_the_version_before_it(capsys: Capture, team: Team) -> None:
    """In CI, HEAD is the version to check: comparing it with itself would never fail."""
    team.write(order(COUNT))
    team.commit()
    Path("unrelated").write_text("")
    team.git("add", "../unrelated")
    team.commit()
    (problem, summary) = checked(capsys, code=5)
    assert problem.startswith("shop.Order: the new schema cannot read data written with git:")
    assert not problem.startswith("shop.Order: the new schema cannot read data written with git:HEAD")
    assert summary == "processor: 1 of 2 types is incompatible with an earlier version (BACKWARD)"


def test_a_shallow_clone_is_not_compared_with_itself(
    capsys: Capture, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.write(order(COUNT))
    team.commit()
    team.git("clone", "-q", "--depth", "1", f"file://{tmp_path}/repo", str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    (problem,) = checked(capsys, code=2)
    assert "this is a shallow clone without an older commit to compare with: fetch more commits" in problem
    assert checked(capsys, "--against", "git:HEAD") == [
        "2 types valid; compared with git:HEAD (BACKWARD): 2 compatible"
    ]


def test_a_commit_with_invalid_schemas_is_skipped(capsys: Capture, team: Team) -> None:
    team.write("{")
    team.commit()
    team.write(order(COUNT_BY_DEFAULT))
    assert "in git:HEAD, avsc/order.avsc: not JSON" in checked(capsys, code=5)[0]
    team.commit()
    *_, summary = checked(capsys)
    assert summary.startswith("2 types valid; compared with git:")
    assert summary.endswith(": 2 compatible")
    assert checked(capsys, "--compatibility", "BACKWARD_TRANSITIVE")[-1].startswith("2 types valid")


def test_schemas_may_be_compared_with_a_revision_a_folder_or_nothing(capsys: Capture, team: Team) -> None:
    team.git("tag", "v1")
    team.write(order(COUNT))
    team.commit()
    assert checked(capsys, "--against", "git:HEAD")[-1].endswith("git:HEAD (BACKWARD): 2 compatible")
    assert "data written with git:v1" in checked(capsys, "--against", "git:v1", code=5)[0]
    assert checked(capsys, "--against", "none") == ["2 types valid; not compared with an earlier version"]
    team.write(LINE, "../old/line.avsc")
    team.write(order(), "../old/order.avsc")
    assert "data written with old:" in checked(capsys, "--against", "old", code=5)[0]


def test_new_and_removed_types_are_reported(capsys: Capture, team: Team) -> None:
    team.write({"type": "enum", "name": "shop.State", "symbols": ["OPEN"]}, "state.avsc")
    Path("avsc/order.avsc").unlink()
    assert checked(capsys) == [
        "shop.Order: note: removed since git:HEAD",
        "2 types valid; compared with git:HEAD (BACKWARD): 1 compatible, 1 new",
    ]


def test_all_types_of_an_untracked_folder_are_new(capsys: Capture, team: Team) -> None:
    team.write(LINE, "../more/line.avsc")
    assert (
        asked(capsys, "check", "--schemas", "more")[0]
        == "1 type valid; compared with git:HEAD (BACKWARD): 0 compatible, 1 new\n"
    )


def test_in_a_git_hook_the_folders_own_repository_is_used(
    capsys: Capture, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/index")
    team.write(order(COUNT))
    assert "data written with git:HEAD" in checked(capsys, code=5)[0]


def test_an_untrusted_repository_is_an_error(capsys: Capture, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a CI container whose user does not own the files: a skipped check must not pass."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (problem,) = checked(capsys, code=2)
    assert problem.startswith(
        "processor: --schemas is in a git repository that cannot be read: detected dubious ownership in repository at"
    )
    assert problem.endswith("; set --against none to skip the comparison")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "cannot be read: git is not installed" in checked(capsys, code=2)[0]


def test_a_repository_without_a_commit_has_no_earlier_version(capsys: Capture, team: Team, tmp_path: Path) -> None:
    team.write(LINE, "../../fresh/line.avsc")
    team.git("init", "-q", str(tmp_path / "fresh"))
    assert (
        asked(capsys, "check", "--schemas", str(tmp_path / "fresh"))[0]
        == "1 type valid; not compared with an earlier version\n"
    )


def test_without_a_repository_files_are_only_validated(
    capsys: Capture, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo" / "avsc").rename(tmp_path / "avsc")
    monkeypatch.chdir(tmp_path)
    assert checked(capsys) == ["2 types valid; not compared with an earlier version"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check"], 2, "--schemas is missing: give the folder of the .avsc files, or set PROCESSOR_SCHEMAS"),
        (["check", "--schemas", "nowhere"], 2, "--schemas 'nowhere' is not a folder"),
        (["check", "--schemas", "avsc", "--against", "git:nope"], 2, "--against git:nope: git has no such revision"),
        (["check", "--schemas", "avsc", "--against", "git:--all"], 2, "--against git:--all: "),
        (["check", "--schemas", "avsc", "--against", "zzz"], 2, "'zzz' must be git[:REV], a folder or none"),
        (
            ["check", "--schemas", "avsc", "--compatibility", "HALF"],
            2,
            "--compatibility must be NONE, BACKWARD, ",
        ),
        (["show", "shop.Ordr", "--schemas", "avsc"], 5, "did you mean 'shop.Order'?"),
        (["show", "missing.avsc"], 5, "'missing.avsc' is not in the current folder"),
        (
            ["diff", "shop.Order", "--schemas", "avsc", "--against", "none"],
            5,
            "there is no earlier version of shop.Order to compare with",
        ),
        (["sample", "shop.Line", "--schemas", "avsc", "-n", "0"], 2, "--count must be at least 1, not 0"),
        (["generate", "shop.Line", "--schemas", "avsc", "-o", "no/where"], 2, "'no/where' cannot be written: No such"),
        (["chek"], 2, "there is no command chek: did you mean check? See processor schema --help"),
    ],
)
def test_an_impossible_request_is_reported_in_one_line(
    capsys: Capture, team: Team, arguments: list[str], code: int, message: str
) -> None:
    out, err = asked(capsys, *arguments, code=code)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_an_invalid_schema_file_is_exit_code_5(capsys: Capture, team: Team) -> None:
    team.write(order({"name": "bad", "type": "Nothing"}))
    assert checked(capsys, code=5) == ["processor: avsc/order.avsc: the type shop.Nothing is not defined"]


def test_options_may_be_set_in_the_environment(capsys: Capture, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    team.write(order(COUNT))
    monkeypatch.setenv("PROCESSOR_SCHEMAS", "avsc")
    monkeypatch.setenv("PROCESSOR_COMPATIBILITY", "FORWARD")
    assert "(FORWARD)" in asked(capsys, "check")[0]


def test_the_list_has_one_line_per_type(capsys: Capture, team: Team) -> None:
    known = load_schemas("avsc")
    lines = asked(capsys, "list", "--schemas", "avsc")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["shop.Line", "shop.Order"]
    assert lines[0].split()[1:] == ["record", known.by_name["shop.Line"].fingerprint.hex(), "avsc/line.avsc"]
    assert asked(capsys, "list")[0].splitlines()[0].split()[:3] == ["processor.Task", "record", "9cda608e494710c2"]


@pytest.mark.parametrize("name", ["shop.Order", "order.avsc", "avsc/order.avsc"])
def test_a_schema_is_shown_with_all_referenced_types(capsys: Capture, team: Team, name: str) -> None:
    shown = json.loads(asked(capsys, "show", name, "--schemas", "avsc")[0])
    assert shown["name"] == "shop.Order"
    assert shown["canonical_form"] == (
        '{"name":"shop.Order","type":"record","fields":[{"name":"id","type":"string"},{"name":"lines","type":'
        '{"type":"array","items":{"name":"shop.Line","type":"record","fields":[{"name":"sku","type":"string"}]}}}]}'
    )
    assert shown["definition"]["fields"][1]["type"]["items"]["name"] == "shop.Line"


def test_differences_are_shown_with_the_levels_that_they_keep(capsys: Capture, team: Team) -> None:
    assert asked(capsys, "diff", "shop.Order", "--schemas", "avsc")[0] == (
        "no changes since git:HEAD\ncompatible with git:HEAD: BACKWARD, FORWARD, FULL\n"
    )
    team.write(order(COUNT))
    assert asked(capsys, "diff", "shop.Order", "--schemas", "avsc")[0] == (
        "+ count: int\ncompatible with git:HEAD: FORWARD\n"
    )


APP = """
from order_classes import Order
from processor import Processor, Task

app = Processor()
seen = []

@app.task("shop.Order")
def order(task: Task[Order]):
    seen.append(task.payload)
"""


def test_samples_are_tasks_for_the_generated_classes(
    capsys: Capture, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(capsys, "generate", "--schemas", "avsc", "-o", "order_classes.py") == ("", "")
    lines = asked(capsys, "sample", "--schemas", "avsc", "-n", "5", "--sessions", "2", "--seed", "7")[0].splitlines()
    assert (
        lines
        == asked(capsys, "sample", "--schemas", "avsc", "-n", "5", "--sessions", "2", "--seed", "7")[0].splitlines()
    )
    tasks = [json.loads(line) for line in lines]
    assert [(task["session_id"], task["name"]) for task in tasks] == [(f"s{n % 2 + 1}", "shop.Order") for n in range(5)]
    Path("order_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    app = importlib.import_module("order_app")
    assert run(app.app, tasks).dead_letters == []
    assert {type(payload).__name__ for payload in app.seen} == {"Order"}


def test_no_command_shows_help(capsys: Capture) -> None:
    out, err = asked(capsys)
    assert err == ""
    for command in ("check", "list", "show", "diff", "generate", "sample"):
        assert f" {command} " in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["register", "--schemas", "avsc"], 2, "--schema-registry is missing: give the URL of the registry"),
        (
            ["check", "--schemas", "avsc", "--against", "registry"],
            2,
            "--schema-registry is missing: --against registry",
        ),
        (["list", "--schema-registry", "nowhere"], 2, "--schema-registry 'nowhere' is not a valid address"),
        (["list", "--schema-registry-user", "me"], 2, "--schema-registry-user is given without --schema-registry"),
        (
            ["list", "--schema-registry", "http://127.0.0.1:1"],
            4,
            "no response from the schema registry at http://127.0",
        ),
    ],
)
def test_an_unusable_registry_is_reported_in_one_line(
    capsys: Capture, team: Team, arguments: list[str], code: int, message: str
) -> None:
    out, err = asked(capsys, *arguments, code=code)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err

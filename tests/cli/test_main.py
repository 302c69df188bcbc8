"""The command line: help, versions, completion, and wrong uses in one line."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from processor.cli.control.command import COMMANDS as CONTROL_COMMANDS
from processor.cli.dlq.command import COMMANDS as DLQ_COMMANDS
from processor.cli.main import COMMANDS, main
from processor.cli.offsets.command import COMMANDS as OFFSETS_COMMANDS
from processor.cli.schema.command import _COMMANDS
from tests.cli.refusal import refused

NEEDED = ("run", "tasks:handle", "-t", "orders", "-g", "shop")


pytestmark = pytest.mark.usefixtures("clean")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((*NEEDED, "--schema-registry", "h:8081"), "--schema-registry 'h:8081' is not a valid address"),
        ((*NEEDED, "--schema-registry", "http://h?x=1"), "is not a valid address"),
        ((*NEEDED, "--schema-registry", "http://h", "--value-format", "json"), "is for --value-format avro"),
        ((*NEEDED, "--schema-registry-user", "u"), "--schema-registry-user is given without --schema-registry"),
        ((*NEEDED, "--no-auto-register"), "--no-auto-register is given without --schema-registry"),
        ((*NEEDED, "--use-latest-version"), "--use-latest-version is given without --schema-registry"),
        ((*NEEDED, "-X", "enable.auto.commit=true"), "offsets are committed only when everything before them is done"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], part: str
) -> None:
    assert part in refused(capsys, *arguments)


def test_a_registry_password_appears_in_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--schema-registry", "http://user:hunter2@h")
    assert "hunter2" not in refused(capsys, *NEEDED, *url, "--value-format", "json")
    assert "hunter2" not in refused(capsys, *NEEDED, *url, "--schema-registry-token-file", "token")
    assert "hunter2" not in refused(capsys, *NEEDED, "--schema-registry", "http://user:hunter2/@h")


@pytest.mark.parametrize(
    ("text", "part"), [(None, "cannot be read"), ("group = [", "is not TOML"), ("grup = 'g'", "did you mean 'group'?")]
)
def test_a_configuration_file_that_cannot_be_used_is_exit_code_5(
    capsys: pytest.CaptureFixture[str], text: str | None, part: str
) -> None:
    if text is not None:
        Path("p.toml").write_text(text)
    assert part in refused(capsys, *NEEDED, "--config", "p.toml", code=5)


def test_control_characters_of_a_wrong_argument_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in refused(capsys, "run\x1b[2J")
    assert "\x1b" not in refused(capsys, *NEEDED, "--a\x1b[2J\nb")


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`processor` as a process of its own, for what depends on being one."""
    return subprocess.run(
        [sys.executable, "-m", "processor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_version_names_the_client_and_its_library() -> None:
    ended = program("--version")
    assert ended.returncode == 0
    words = ended.stdout.split()
    assert words[0] == "processor"
    assert words[2:6:2] == ["(confluent-kafka", "librdkafka"]
    assert words[6:] == ["engine", "pure)"] or words[6:] == ["engine", "compiled)"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_help_is_grouped_and_fits_the_terminal(columns: str) -> None:
    ended = program("run", "--help", COLUMNS=columns, TERMINAL_WIDTH=columns)
    assert ended.returncode == 0
    for panel in ("Kafka", "Work", "Values", "Failures", "Limits", "Logs and settings"):
        assert f"─ {panel} ─" in ended.stdout
    assert "PROCESSOR_" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= int(columns)
    for option in ("--max-in-flight-bytes", "--no-create-topics", "--bootstrap-servers"):
        assert option in ended.stdout


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_no_command_shows_help(arguments: tuple[str, ...]) -> None:
    ended = program(*arguments)
    assert ended.returncode == 0
    assert ended.stderr == ""
    for command in COMMANDS:
        assert f" {command} " in ended.stdout


def test_completion_of_commands_options_and_choices() -> None:
    def completed(line: str, index: int) -> list[str]:
        ended = program(COMP_WORDS=line, COMP_CWORD=str(index), _PROCESSOR_COMPLETE="complete_bash")
        return ended.stdout.split()

    assert completed("processor ru", 1) == ["run"]
    assert "--max-in-flight-bytes" in completed("processor run --max-", 2)
    assert completed("processor run --log-level w", 3) == ["warning"]


def test_completion_can_be_shown() -> None:
    # Typer asks which shell its parent is: under make that would be sh, for which there is no completion.
    shown = f"{shlex.quote(sys.executable)} -m processor --show-completion; exit $?"
    ended = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0
    assert "_PROCESSOR_COMPLETE=complete_bash" in ended.stdout


def test_the_start_of_run_loads_neither_the_kafka_client_nor_modules_of_other_commands() -> None:
    code = (
        "import sys; from processor.cli.main import main; main(['run']); import processor.fleet.supervisor;"
        "print(sorted({'confluent_kafka', 'fastavro', 'rich.progress', 'rich.live'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "[]\n"


def test_a_probe_loads_neither_the_kafka_client_nor_the_engine() -> None:
    code = (
        "import sys; from processor.cli.main import main; main(['health', '--heartbeat-file', '/nowhere']);"
        "print(sorted({'confluent_kafka', 'fastavro', 'structlog', 'processor.runtime', 'processor.engine'}"
        " & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_closed_output_pipe_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "processor", "run", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert ended.stderr == ""
    assert ended.returncode == 1


@pytest.mark.parametrize("arguments", [("--version",), ("run", "--help"), ("schema", "sample", "processor.Task")])
def test_a_full_disk_is_one_line_and_a_closed_standard_output_none(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "processor", *arguments]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "processor: nothing can be written: No space left on device\n")
    closed = ["sh", "-c", f"exec {shlex.join(command)} >&-"]
    ended = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_json_is_valid_also_where_the_locale_has_not_its_characters() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "processor", "decode", "--value-format", "json"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        input='"é – 😀"'.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout.decode("latin-1"))["value"] == "é – 😀"


GROUPED = [
    [group, name]
    for group, names in (
        ("schema", _COMMANDS),
        ("dlq", DLQ_COMMANDS),
        ("offsets", OFFSETS_COMMANDS),
        ("control", CONTROL_COMMANDS),
    )
    for name in names
]


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), *GROUPED])
def test_no_name_of_an_option_is_cut_in_the_help_of_a_narrow_terminal(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) == 80
    assert re.findall(r"--[a-z-]+…", shown) == []


def test_no_command_loads_pydantic() -> None:
    """Typer would read values with it, and its import takes longer than a probe may."""
    code = (
        "import sys; from processor.cli.main import main; main(['health', '--heartbeat-file', '/nowhere']);"
        "main(['run', 'nothing:here', '-t', 't', '-g', 'g', '-w', '0']); main(['run', '--help']); main(['--version']);"
        "print('pydantic' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "False"

"""The command line: help, versions, completion, and wrong uses in one line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from processor.cli.main import COMMANDS, main

NEEDED = ("run", "tasks:handle", "-t", "orders", "-g", "shop")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("processor: ")
    assert err.count("\n") == 1
    return err.removeprefix("processor: ").rstrip()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run",), "APP is missing: give it; see processor run --help"),
        (
            ("run", "a:b", "-g", "g"),
            "--topic is missing: give it, or set PROCESSOR_TOPIC; see processor run --help",
        ),
        (
            ("run", "a:b", "-t", "t"),
            "--group is missing: give it, or set PROCESSOR_GROUP; see processor run --help",
        ),
        ((*NEEDED, "--worker", "3"), "there is no option --worker: did you mean --workers? See processor run --help"),
        ((*NEEDED, "--zzz"), "there is no option --zzz; see processor run --help"),
        (("rnu",), "there is no command rnu: did you mean run? See processor --help"),
        (("--verson",), "there is no option --verson: did you mean --version? See processor --help"),
        ((*NEEDED, "-w", "0"), "--workers must be at least 1, not 0"),
        ((*NEEDED, "-p", "-1"), "--processes must be at least 1, not -1"),
        ((*NEEDED, "--timeout", "nan"), "--timeout must be a number of seconds, not 'nan'"),
        ((*NEEDED, "-X", "group.id=x"), "-X group.id is refused: use --group"),
    ],
)
def test_a_wrong_use_is_one_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused(capsys, *arguments) == sentence


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((*NEEDED, "-w", "many"), "--workers must be an integer, not 'many'"),
        ((*NEEDED, "--timeout", "soon"), "--timeout must be a number of seconds, not 'soon'"),
        ((*NEEDED, "--log-level", "loud"), "--log-level must be debug, info, warning or error, not 'loud'"),
        ((*NEEDED, "--value-format", "xml"), "--value-format must be avro, json or bytes, not 'xml'"),
        ((*NEEDED, "-w"), "-w needs a value: -w N; see processor run --help"),
        ((*NEEDED, "more"), "'more' is one argument too many: processor run takes only APP; see processor run --help"),
        ((*NEEDED, "--schema-registry", "h:8081"), "--schema-registry 'h:8081' is not a valid address"),
        ((*NEEDED, "--schema-registry", "http://h?x=1"), "is not a valid address"),
        ((*NEEDED, "--schema-registry", "http://h", "--value-format", "json"), "is for --value-format avro"),
        ((*NEEDED, "--schema-registry-user", "u"), "--schema-registry-user is given, and --schema-registry is not"),
        ((*NEEDED, "--no-auto-register"), "--no-auto-register is given, and --schema-registry is not"),
        ((*NEEDED, "--use-latest-version"), "--use-latest-version is given, and --schema-registry is not"),
        ((*NEEDED, "--schemas", "nowhere"), "--schemas 'nowhere' is not a folder"),
        ((*NEEDED, "-X", "enable.auto.commit=true"), "offsets are committed only when everything before them is done"),
    ],
)
def test_other_wrong_uses(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], part: str) -> None:
    assert part in refused(capsys, *arguments)


def test_a_registrys_password_is_in_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--schema-registry", "http://user:hunter2@h")
    assert "hunter2" not in refused(capsys, *NEEDED, *url, "--value-format", "json")
    assert "hunter2" not in refused(capsys, *NEEDED, *url, "--schema-registry-token-file", "token")
    assert "hunter2" not in refused(capsys, *NEEDED, "--schema-registry", "http://user:hunter2/@h")


def test_a_kafka_setting_without_a_key_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a password whose quotes went wrong."""
    assert "hunter2" not in refused(capsys, *NEEDED, "-X", "hunter2")


def test_a_wrong_value_is_told_with_where_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.toml").write_text("workers = 2.5\n")
    assert refused(capsys, *NEEDED, "--config", "p.toml") == "--workers (in p.toml) must be an integer, not '2.5'"
    monkeypatch.setenv("PROCESSOR_WORKERS", "many")
    assert refused(capsys, *NEEDED) == "--workers (in PROCESSOR_WORKERS) must be an integer, not 'many'"
    assert refused(capsys, *NEEDED, "-w", "x") == "--workers must be an integer, not 'x'"


@pytest.mark.parametrize(
    ("text", "part"), [(None, "cannot be read"), ("group = [", "is not TOML"), ("grup = 'g'", "did you mean 'group'?")]
)
def test_a_configuration_file_that_cannot_be_used_is_exit_code_5(
    capsys: pytest.CaptureFixture[str], text: str | None, part: str
) -> None:
    if text is not None:
        Path("p.toml").write_text(text)
    assert part in refused(capsys, *NEEDED, "--config", "p.toml", code=5)


def test_a_terminals_control_characters_in_a_wrong_use_do_not_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_no_command_is_a_call_for_help(arguments: tuple[str, ...]) -> None:
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


def test_starting_to_run_loads_neither_the_kafka_client_nor_what_only_others_need() -> None:
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


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "--heartbeat-file is missing: give it, or set PROCESSOR_HEARTBEAT_FILE"),
        (("--heartbeat-file", "h", "--check", "well"), "--check must be alive, ready or progressing, not 'well'"),
        (("--heartbeat-file", "h", "--max-age", "0"), "--max-age must be above 0 seconds"),
    ],
)
def test_a_probe_that_asks_wrongly_is_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], part: str
) -> None:
    assert part in refused(capsys, "health", *arguments)


def test_a_reader_that_leaves_is_no_traceback() -> None:
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

"""A wrong use is one plain sentence: the option, where it is set, and what it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.refusal import refused

NEEDED = ("run", "tasks:handle", "-t", "orders", "-g", "shop")


pytestmark = pytest.mark.usefixtures("clean")


LINES: list[tuple[tuple[str, ...], str]] = [
    # what is missing
    (("run",), "APP is missing: give it; see processor run --help"),
    (("run", "a:b", "-g", "g"), "--topic is missing: give it, or set PROCESSOR_TOPIC; see processor run --help"),
    (("run", "a:b", "-t", "t"), "--group is missing: give it, or set PROCESSOR_GROUP; see processor run --help"),
    (("health",), "--heartbeat-file is missing: give it, or set PROCESSOR_HEARTBEAT_FILE; see processor health --help"),
    (("schema", "show"), "SCHEMA is missing: give it; see processor schema show --help"),
    ((*NEEDED, "-w"), "-w needs a value: -w N|MIN..MAX; see processor run --help"),
    ((*NEEDED, "--timeout"), "--timeout needs a value: --timeout SECONDS; see processor run --help"),
    ((*NEEDED, "-X"), "-X needs a value: -X KEY=VALUE; see processor run --help"),
    ((*NEEDED, "--config"), "--config needs a value: --config FILE; see processor run --help"),
    # what there is not
    ((*NEEDED, "--worker", "3"), "there is no option --worker: did you mean --workers? See processor run --help"),
    ((*NEEDED, "--zzz"), "there is no option --zzz; see processor run --help"),
    ((*NEEDED, "--zzz=hunter2"), "there is no option --zzz; see processor run --help"),
    ((*NEEDED, "-Zw"), "there is no option -Z; see processor run --help"),
    (("--verson",), "there is no option --verson: did you mean --version? See processor --help"),
    (("rnu",), "there is no command rnu: did you mean run? See processor --help"),
    (("",), "there is no command ''; see processor --help"),
    (("schema", "chekc"), "there is no command chekc: did you mean check? See processor schema --help"),
    (("schema", "--zzz"), "there is no option --zzz; see processor schema --help"),
    # what is too much
    ((*NEEDED, "more"), "unexpected argument 'more': processor run takes only APP; see processor run --help"),
    ((*NEEDED, "a", "b"), "unexpected arguments 'a' and 'b': processor run takes only APP; see processor run --help"),
    ((*NEEDED, "--", "-w"), "unexpected argument '-w': processor run takes only APP; see processor run --help"),
    (
        (*NEEDED, "-X", "sasl.username=me", "sasl.password=hunter2"),
        "unexpected argument 'sasl.password=…': processor run takes only APP; see processor run --help",
    ),
    (
        ("health", "--heartbeat-file", "h", "x"),
        "unexpected argument 'x': processor health takes only options; see processor health --help",
    ),
    ((*NEEDED, "--stop-at-end=yes"), "--stop-at-end takes no value; see processor run --help"),
    (
        (*NEEDED, "--create-topics=false"),
        "--create-topics takes no value, and --no-create-topics is the opposite; see processor run --help",
    ),
    ((*NEEDED, "--no-create-topics=1"), "--no-create-topics takes no value; see processor run --help"),
    (("run", "--help=x"), "--help takes no value; see processor run --help"),
    (("--version=x",), "--version takes no value; see processor --help"),
    # what is no value of its type
    ((*NEEDED, "-w", "many"), "--workers must be an integer, or a range such as 8..64, not 'many'"),
    ((*NEEDED, "--workers="), "--workers must be an integer, or a range such as 8..64, not ''"),
    ((*NEEDED, "-w", "x"), "--workers must be an integer, or a range such as 8..64, not 'x'"),
    ((*NEEDED, "-w", "2..x"), "--workers must be an integer, or a range such as 8..64, not '2..x'"),
    ((*NEEDED, "-w", "9..3"), "--workers must have its minimum first, not 9..3"),
    ((*NEEDED, "-w", "0..3"), "--workers must be at least 1, not 0..3"),
    ((*NEEDED, "-p", "2.5"), "--processes must be an integer, or a range such as 8..64, not '2.5'"),
    ((*NEEDED, "--timeout", "soon"), "--timeout must be a number of seconds, not 'soon'"),
    ((*NEEDED, "--timeout", "nan"), "--timeout must be a number of seconds, not 'nan'"),
    ((*NEEDED, "--log-sample", "all"), "--log-sample must be a number, not 'all'"),
    ((*NEEDED, "--log-level", "loud"), "--log-level must be debug, info, warning or error, not 'loud'"),
    ((*NEEDED, "--value-format", "XML"), "--value-format must be avro, json or bytes, not 'XML'"),
    (("health", "--heartbeat-file", "h", "--check", "well"), "--check must be alive, ready or progressing, not 'well'"),
    (("monitor", "--every", "often"), "--every must be a number of seconds, not 'often'"),
    (("demo", "--tasks", "some"), "--tasks must be an integer, not 'some'"),
    (("schema", "sample", "x", "--seed", "me"), "--seed must be an integer, not 'me'"),
    # what is out of range
    ((*NEEDED, "-w", "0"), "--workers must be at least 1, not 0"),
    ((*NEEDED, "-p", "-1"), "--processes must be at least 1, not -1"),
    ((*NEEDED, "--timeout", "0"), "--timeout must be at least 0.001 seconds, not 0"),
    ((*NEEDED, "--metrics-port", "70000"), "--metrics-port must be from 1 to 65535, not 70000"),
    ((*NEEDED, "--log-sample", "1.5"), "--log-sample must be from 0 to 1, not 1.5"),
    (("health", "--heartbeat-file", "h", "--max-age", "0"), "--max-age must be above 0 seconds, not 0"),
    (("monitor", "--every", "0"), "--every must be at least 0.1 seconds, not 0"),
    (("report", "--window", "1"), "--window must be from 3 to 10000, not 1"),
    (("demo", "-p", "99"), "--processes must be from 1 to 4, not 99"),
    # what cannot be used
    ((*NEEDED, "-X", "group.id=x"), "-X group.id is refused: use --group"),
    ((*NEEDED, "-X", "hunter2"), "--kafka-config takes KEY=VALUE, but an argument has no key or no '='"),
    ((*NEEDED, "-X", "=hunter2"), "--kafka-config takes KEY=VALUE, but an argument has no key or no '='"),
    ((*NEEDED, "-X", "client.id=\udcff"), "--kafka-config must be valid UTF-8"),
    ((*NEEDED, "--schemas", "nowhere"), "--schemas 'nowhere' is not a folder"),
    (("run", "a:b", "-t", "t", "-g", ""), "--group must not be empty"),
    (("run", "a:b", "-t", "t", "-g", "\udcff"), "--group must be valid UTF-8"),
    ((*NEEDED, "--heartbeat-file", "/"), "--heartbeat-file '/' is not the name of a file"),
    ((*NEEDED, "--backoff", "5", "--backoff-max", "1"), "--backoff-max 1 is below --backoff 5"),
]


@pytest.mark.parametrize(("arguments", "sentence"), LINES)
def test_a_wrong_command_line_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused(capsys, *arguments) == sentence


ENVIRONMENT: list[tuple[str, str, str]] = [
    ("WORKERS", "many", "--workers (in PROCESSOR_WORKERS) must be an integer, or a range such as 8..64, not 'many'"),
    ("MAX_ATTEMPTS", "many", "--max-attempts (in PROCESSOR_MAX_ATTEMPTS) must be an integer, not 'many'"),
    ("WORKERS", "0", "--workers (in PROCESSOR_WORKERS) must be at least 1, not 0"),
    ("TIMEOUT", "soon", "--timeout (in PROCESSOR_TIMEOUT) must be a number of seconds, not 'soon'"),
    ("STOP_AT_END", "maybe", "--stop-at-end (in PROCESSOR_STOP_AT_END) must be true or false, not 'maybe'"),
    ("CREATE_TOPICS", "2", "--create-topics (in PROCESSOR_CREATE_TOPICS) must be true or false, not '2'"),
    ("LOG_LEVEL", "loud", "--log-level (in PROCESSOR_LOG_LEVEL) must be debug, info, warning or error, not 'loud'"),
    ("SCHEMAS", "nowhere", "--schemas (in PROCESSOR_SCHEMAS) 'nowhere' is not a folder"),
    (
        "KAFKA_CONFIG",
        "hunter2",
        "--kafka-config (in PROCESSOR_KAFKA_CONFIG) takes KEY=VALUE, but an argument has no key or no '='",
    ),
    ("KAFKA_CONFIG", "group.id=x", "-X group.id (in PROCESSOR_KAFKA_CONFIG) is refused: use --group"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), ENVIRONMENT)
def test_a_wrong_variable_is_one_sentence_that_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, text: str, sentence: str
) -> None:
    monkeypatch.setenv(f"PROCESSOR_{name}", text)
    assert refused(capsys, *NEEDED) == sentence


FILES: list[tuple[str, int, str]] = [
    ("workers = 2.5", 2, "--workers (in p.toml) must be an integer, or a range such as 8..64, not '2.5'"),
    ("workers = 0", 2, "--workers (in p.toml) must be at least 1, not 0"),
    ("workers = true", 2, "--workers (in p.toml) must be an integer, or a range such as 8..64, not 'true'"),
    ("workers = 'many'", 2, "--workers (in p.toml) must be an integer, or a range such as 8..64, not 'many'"),
    ("timeout = inf", 2, "--timeout (in p.toml) must be a number of seconds, not 'inf'"),
    ("stop-at-end = 2", 2, "--stop-at-end (in p.toml) must be true or false, not '2'"),
    ("stop-at-end = ''", 2, "--stop-at-end (in p.toml) must be true or false, not ''"),
    ("log-level = 'loud'", 2, "--log-level (in p.toml) must be debug, info, warning or error, not 'loud'"),
    ("heartbeat-file = 'a\\u0000b'".replace("'", '"'), 2, "--heartbeat-file must not contain a NUL character"),
    ("[kafka-config]\n'group.id' = 'x'", 2, "-X group.id (in p.toml) is refused: use --group"),
    (
        "kafka-config = ['hunter2']",
        2,
        "--kafka-config (in p.toml) takes KEY=VALUE, but an argument has no key or no '='",
    ),
    ("workers = [1, 2]", 5, "--config 'p.toml': workers must be one value, not a list of 2"),
    ("workers = []", 5, "--config 'p.toml': workers must be one value, not a list of 0"),
    ("[workers]\na = 1", 5, "--config 'p.toml': workers must be text, a number or a boolean, not a table"),
    ("workers = 2024-01-01", 5, "--config 'p.toml': workers must be text, a number or a boolean, not a date or time"),
    ("topic = [[1]]", 5, "--config 'p.toml': topic must be text, a number or a boolean, not a list in a list"),
    ("wrokers = 1", 5, "--config 'p.toml' has an unknown key 'wrokers'; did you mean 'workers'?"),
    ("workers = 1\nworkers = 2", 5, "--config 'p.toml' is not TOML: Cannot overwrite a value (at end of document)"),
    ("group = \udcff", 5, "--config 'p.toml' is not TOML: byte 8 is not valid UTF-8"),
    ("group = " + "[" * 100_000, 5, "--config 'p.toml' is not TOML that can be read: it is nested too deeply"),
]


@pytest.mark.parametrize(("text", "code", "sentence"), FILES, ids=[sentence for _, _, sentence in FILES])
def test_a_wrong_file_is_one_sentence_that_names_it(
    capsys: pytest.CaptureFixture[str], text: str, code: int, sentence: str
) -> None:
    Path("p.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert refused(capsys, *NEEDED, "--config", "p.toml", code=code) == sentence


def test_the_command_line_hides_invalid_values_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCESSOR_WORKERS", "many")
    assert refused(capsys, *NEEDED, "-w", "x") == "--workers must be an integer, or a range such as 8..64, not 'x'"
    assert (
        refused(capsys, *NEEDED, "-w", "1", "-p", "x")
        == "--processes must be an integer, or a range such as 8..64, not 'x'"
    )


def test_a_file_that_the_environment_names_is_named_in_the_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.toml").write_text("workers = 'x'")
    monkeypatch.setenv("PROCESSOR_CONFIG", "p.toml")
    assert refused(capsys, *NEEDED) == "--workers (in p.toml) must be an integer, or a range such as 8..64, not 'x'"

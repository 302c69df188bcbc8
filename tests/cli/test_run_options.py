"""`processor run`: its options, their defaults, and which source wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from processor.cli import run as run_command
from processor.cli.main import app, main
from processor.registry_settings import RegistrySettings
from processor.settings import Settings
from tests.support.run_options import OPTIONS, TRIED


def command() -> Any:
    group: Any = get_command(app)
    return group.get_command(None, "run")


def test_the_options_and_their_defaults_are_those_that_users_rely_on() -> None:
    found = {
        param.name: (
            (*param.opts, *param.secondary_opts),
            "required" if param.required else param.default,
        )
        for param in command().params
        if param.param_type_name == "option" and param.name not in ("help",)
    }
    assert found == {name: (option.flags, option.default) for name, option in OPTIONS.items()}


def test_the_command_lines_defaults_are_those_of_the_library() -> None:
    settings = Settings(topics=("t",), group="g")
    for name, option in OPTIONS.items():
        if name not in ("topic", "group", "kafka_config", "config"):
            assert getattr(settings, name) == option.default, name


def test_a_commit_interval_that_is_not_given_follows_from_the_delivery() -> None:
    settings = Settings(topics=("t",), group="g")
    once = Settings(topics=("t",), group="g", delivery="exactly-once")
    given = Settings(topics=("t",), group="g", delivery="exactly-once", commit_interval=1)
    assert [each.commit_seconds for each in (settings, once, given)] == [1, 0.1, 1]


class Ran:
    """What the fleet was started with."""

    settings: Settings
    app: str


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    ran = Ran()

    def run_fleet(settings: Settings, app: str) -> int:
        ran.settings, ran.app = settings, app
        return 0

    monkeypatch.setattr(run_command, "_run_fleet", run_fleet)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)
    return ran


def start(*options: str) -> None:
    assert main(["run", "tasks:handle", *options]) == 0


def test_nothing_but_the_required_options_gives_the_defaults(ran: Ran) -> None:
    start("-t", "orders", "-g", "shop")
    assert ran.app == "tasks:handle"
    assert ran.settings == Settings(topics=("orders",), group="shop")


def test_every_option_reaches_the_fleet(ran: Ran, tmp_path: Path) -> None:
    start(
        *("-b", "h:1", "-t", "a", "-t", "b", "-g", "g", "-p", "2", "-w", "3", "--value-format", "json"),
        *("--schemas", str(tmp_path), "--timeout", "1.5", "--max-attempts", "4", "--backoff", "0.1"),
        *("--backoff-max", "9", "--dead-letter-topic", "d", "--results-topic", "r", "--no-create-topics"),
        *("--delivery", "exactly-once"),
        *("--max-in-flight", "5", "--max-in-flight-bytes", "6", "--max-ahead", "0"),
        *("--commit-interval", "0.2", "--drain-timeout", "7"),
        *(
            "--group-protocol",
            "consumer",
            "--stop-at-end",
            "--reload",
            "--stats-interval",
            "8",
            "--log-format",
            "console",
        ),
        *(
            "--heartbeat-file",
            "h",
            "--log-level",
            "debug",
            "-X",
            "client.id=x=y",
            "-X",
            "fetch.min.bytes=1",
            "-X",
            "client.id= z ",
        ),
    )
    assert ran.settings == Settings(
        topics=("a", "b"),
        group="g",
        bootstrap_servers="h:1",
        processes=2,
        workers=3,
        value_format="json",
        schemas=str(tmp_path),
        timeout=1.5,
        max_attempts=4,
        backoff=0.1,
        backoff_max=9,
        dead_letter_topic="d",
        results_topic="r",
        create_topics=False,
        delivery="exactly-once",
        max_in_flight=5,
        max_in_flight_bytes=6,
        max_ahead=0,
        commit_interval=0.2,
        drain_timeout=7,
        group_protocol="consumer",
        stop_at_end=True,
        reload=True,
        stats_interval=8,
        heartbeat_file="h",
        log_format="console",
        log_level="debug",
        kafka_config={"client.id": "z", "fetch.min.bytes": "1"},
    )


REGISTRY = {
    "subject_name_strategy": "topic-record",
    "auto_register": "false",
    "use_latest_version": "true",
    "schema_registry_user": "u",
    "schema_registry_password_file": "p.txt",
    "schema_registry_ca": "ca.pem",
    "schema_registry_certificate": "c.pem",
    "schema_registry_key": "k.pem",
}
"""What only makes sense together, and with a registry."""


def test_every_option_has_a_value_to_try() -> None:
    assert set(TRIED) | set(REGISTRY) | {"oauth_callback"} == set(OPTIONS) - {
        "topic",
        "config",
        "schema_registry_token_file",
    }


def test_a_function_for_tokens_comes_from_each_source(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes sense with one mechanism only."""
    tokens = ("-t", "t", "-g", "g", "-X", "sasl.mechanism=OAUTHBEARER")
    start(*tokens, "--oauth-callback", "auth:token")
    assert ran.settings.oauth_callback == "auth:token"
    Path("p.toml").write_text('oauth-callback = "auth:other"\n')
    start(*tokens, "--config", "p.toml")
    assert ran.settings.oauth_callback == "auth:other"
    monkeypatch.setenv("PROCESSOR_OAUTH_CALLBACK", "auth:third")
    start(*tokens, "--config", "p.toml")
    assert ran.settings.oauth_callback == "auth:third"


def test_what_concerns_a_registry_comes_from_each_source(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    url = ("--schema-registry", "https://h")
    texts = [
        f"--{name.replace('_', '-')}={value}" for name, value in REGISTRY.items() if value not in ("true", "false")
    ]
    start("-t", "t", "-g", "g", *url, *texts, "--no-auto-register", "--use-latest-version")
    from_line = ran.settings
    Path("p.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in REGISTRY.items()))
    start("-t", "t", "-g", "g", *url, "--config", "p.toml")
    assert ran.settings == from_line
    for name, value in REGISTRY.items():
        monkeypatch.setenv(f"PROCESSOR_{name.upper()}", value)
    start("-t", "t", "-g", "g", *url)
    assert ran.settings == from_line
    assert ran.settings.registry == RegistrySettings(
        url="https://h",
        user="u",
        password_file="p.txt",
        ca="ca.pem",
        certificate="c.pem",
        key="k.pem",
        subject_name_strategy="topic-record",
        auto_register=False,
        use_latest_version=True,
    )


@pytest.mark.parametrize("name", TRIED)
def test_every_option_can_be_set_by_the_environment(ran: Ran, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, value = TRIED[name].text, TRIED[name].value
    assert text is not None
    monkeypatch.setenv("PROCESSOR_GROUP", "g")
    monkeypatch.setenv(f"PROCESSOR_{name.upper()}", text)
    start("-t", "t")
    assert getattr(ran.settings, name) == value


@pytest.mark.parametrize("name", TRIED)
def test_every_option_can_be_set_by_the_file(ran: Ran, name: str) -> None:
    text, value = TRIED[name].text, TRIED[name].value
    key = name.replace("_", "-")
    is_text = not isinstance(value, bool | int | float)
    Path("p.toml").write_text(f'{key} = "{text}"\n' if is_text else f"{key} = {text}\n")
    start("-t", "t", "--config", "p.toml", *(() if name == "group" else ("-g", "g")))
    assert getattr(ran.settings, name) == value


def test_topics_come_from_the_environment_and_the_file(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.toml").write_text('topic = ["a", "b"]\ngroup = "g"\n')
    monkeypatch.setenv("PROCESSOR_CONFIG", "p.toml")
    start()
    assert list(ran.settings.topics) == ["a", "b"]
    monkeypatch.setenv("PROCESSOR_TOPIC", "c,d e")
    start()
    assert list(ran.settings.topics) == ["c", "d", "e"]
    start("-t", "f")
    assert list(ran.settings.topics) == ["f"]


def test_the_command_line_wins_over_the_environment_and_the_environment_over_the_file(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.toml").write_text('group = "file"\nworkers = 1\nprocesses = 1\nmax-attempts = 9\n')
    monkeypatch.setenv("PROCESSOR_WORKERS", "2")
    monkeypatch.setenv("PROCESSOR_PROCESSES", "2")
    start("-t", "t", "--config", "p.toml", "-p", "3")
    settings = ran.settings
    assert (settings.group, settings.workers, settings.processes, settings.max_attempts) == ("file", 2, 3, 9)


def test_a_flag_of_the_command_line_wins_over_the_environment(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESSOR_CREATE_TOPICS", "false")
    start("-t", "t", "-g", "g", "--create-topics")
    assert ran.settings.create_topics is True


def test_kafka_settings_are_merged_key_by_key(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting on the command line must not drop the password that the environment gives."""
    Path("p.toml").write_text(
        '[kafka-config]\n"client.id" = "file"\n"sasl.username" = "file"\n"client.rack" = "file"\n'
    )
    monkeypatch.setenv("PROCESSOR_KAFKA_CONFIG", "client.id=environment\nsasl.username=environment")
    start("-t", "t", "-g", "g", "--config", "p.toml", "-X", "client.id=line")
    assert ran.settings.kafka_config == {
        "client.id": "line",
        "sasl.username": "environment",
        "client.rack": "file",
    }


def test_two_calls_in_one_process_do_not_mix(ran: Ran) -> None:
    start("-t", "t", "-g", "g", "-X", "client.id=a")
    start("-t", "t", "-g", "g")
    assert ran.settings.kafka_config == {}

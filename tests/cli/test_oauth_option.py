"""`--oauth-callback` on every command that connects to Kafka; whether it lets clients in: tests/chaos/test_oauth.py."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from processor.cli.main import COMMANDS, main
from processor.cli.parameters import signature_of
from processor.errors import SettingsError
from processor.kafka.dispatcher import Dispatcher
from processor.settings import Settings
from tests.support.run import environment

LOGIN = ("-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=OAUTHBEARER")
ARGUMENTS = {
    "run": ("tasks:handle", "-t", "t", "-g", "g"),
    "produce": ("-t", "t"),
    "decode": ("t:0:0",),
    "lag": ("-g", "g"),
    "tail": ("-t", "t"),
    "doctor": ("-t", "t", "-g", "g"),
}
BEARER = {"sasl.mechanism": "OAUTHBEARER"}


def ended(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and the last line on standard error."""
    (folder / "tasks.py").write_text("def handle(task): pass\n")
    command = [sys.executable, "-m", "processor", *arguments, "-b", "127.0.0.1:1"]
    env = environment(folder, {})
    done = subprocess.run(
        command, cwd=folder, env=env, input="", capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr.splitlines()[-1]


def token(config: object) -> Any:
    raise NotImplementedError


def test_every_command_that_connects_is_here() -> None:
    functions = {
        name: getattr(importlib.import_module(f"processor.cli.{module}"), name) for name, module in COMMANDS.items()
    }
    connecting = {
        name
        for name, function in functions.items()
        if callable(function) and hasattr(function, "__name__") and "oauth_callback" in signature_of(function).entries
    }
    assert connecting == ARGUMENTS.keys()


@pytest.mark.parametrize("command", [command for command in ARGUMENTS if command != "doctor"])
def test_a_function_that_cannot_be_loaded_is_one_line(tmp_path: Path, command: str) -> None:
    """Before a broker is looked for."""
    code, line = ended(tmp_path, command, *ARGUMENTS[command], *LOGIN, "--oauth-callback", "nowhere:token")
    told = "processor: --oauth-callback 'nowhere:token': there is no module 'nowhere' in the current folder"
    assert code == 5
    assert line.startswith(told)


def test_a_function_that_cannot_be_loaded_is_a_finding_of_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    at = ("-t", "t", "-g", "g", "-b", "127.0.0.1:1")
    assert main(["doctor", *at, *LOGIN, "--oauth-callback", "nowhere:token"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "\nfailure  login      --oauth-callback 'nowhere:token': there is no module 'nowhere' in the current" in out
    assert "\nok       files      " in out


@pytest.mark.parametrize("command", ARGUMENTS)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--oauth-callback", "m:f"), "--oauth-callback is for -X sasl.mechanism=OAUTHBEARER, which is not set"),
        (
            (*LOGIN, "-X", "oauth_cb=m:f"),
            "-X oauth_cb is refused: a callback cannot be given as text; use --oauth-callback",
        ),
    ],
)
def test_a_callback_that_would_never_be_called_is_refused(
    tmp_path: Path, command: str, options: tuple[str, ...], told: str
) -> None:
    assert ended(tmp_path, command, *ARGUMENTS[command], *options) == (2, f"processor: {told}")


def test_a_program_gives_the_function_itself() -> None:
    config = {**BEARER, "oauth_cb": token}
    assert Settings(topics=("t",), group="g", kafka_config=config).kafka_config["oauth_cb"] is token
    with pytest.raises(SettingsError, match=r"oauth_cb is for sasl\.mechanism=OAUTHBEARER"):
        Settings(topics=("t",), group="g", kafka_config={"oauth_cb": token})
    with pytest.raises(SettingsError, match=r"oauth_cb is for sasl\.mechanism=OAUTHBEARER"):
        Dispatcher("127.0.0.1:1", "t", kafka_config={"oauth_cb": token})
    with pytest.raises(SettingsError, match="give one of them"):
        Settings(topics=("t",), group="g", kafka_config=config, oauth_callback="m:f")

"""Clients that authenticate with tokens of eight seconds: long idle periods, and a token function that fails.

The broker accepts unsigned tokens, closes a connection when its token expires, and allows each principal only the
operations that it has permissions for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from processor.kafka.dispatcher import Dispatcher
from tests.conftest import without
from tests.support import cluster, kafka_jars
from tests.support.guarded_broker import BEARER, GuardedBroker, Right, guarded_broker, unsigned_token
from tests.support.run import Fleet, environment
from tests.support.scenario import Scenario
from tests.support.until import until

TOKEN_SECONDS = 8.0
IDLE_SECONDS = 30.0

AUTH = """
import os, pathlib, time
from tests.support.guarded_broker import unsigned_token

folder = pathlib.Path(__file__).parent

def how():
    found = folder / ("how-" + os.environ["TEST_PRINCIPAL"])
    return found.read_text() if found.exists() else "works"

def token(config):
    now = how()
    value = unsigned_token(os.environ["TEST_PRINCIPAL"], 8)
    with (folder / ("calls-" + os.environ["TEST_PRINCIPAL"])).open("a") as calls:
        print(now, value, file=calls, flush=True)
    if now == "raises":
        raise RuntimeError(f"no token today: {value}")
    while how() == "hangs":
        time.sleep(0.1)
    if now == "nonsense":
        return value
    if now == "for nobody":
        return unsigned_token("", 8), time.time() + 8
    return value, time.time() + 8

not_a_function = 7
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    """The module's broker; each test uses its own principal."""
    if not kafka_jars.available():
        without("no broker with SASL for this test: install Java 17+ and Maven")
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as running:
        yield running


class Visit(NamedTuple):
    """A principal on the guarded broker, with permissions for a topic, a group and dead letters of its name."""

    guarded: GuardedBroker
    work: Scenario
    folder: Path

    @property
    def options(self) -> list[str]:
        """The options with which a command authenticates."""
        login = [part for key, value in BEARER.items() for part in ("-X", f"{key}={value}")]
        return ["--oauth-callback", "auth:token", *login]

    @property
    def control(self) -> tuple[str, str]:
        """The option that names its control topic."""
        return "--control-topic", f"{self.work.group}.control"

    def run(self, handler: str, *options: str) -> Fleet:
        return self.work.run(handler, *self.options, *options, env={"TEST_PRINCIPAL": self.work.group})

    def command(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command that ends by itself."""
        return subprocess.run(
            [sys.executable, "-m", "processor", *arguments, "-b", self.guarded.sasl, *self.options],
            env=environment(self.folder, {"TEST_PRINCIPAL": self.work.group}),
            input=text,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def now_it(self, how: str) -> None:
        """Sets how the token function behaves from now on."""
        new = self.folder / "how.new"
        new.write_text(how)
        new.rename(self.folder / f"how-{self.work.group}")

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The behaviour of the function and its token, for each call."""
        found = self.folder / f"calls-{self.work.group}"
        lines = found.read_text().splitlines() if found.exists() else []
        return [(how, token) for how, _, token in (line.rpartition(" ") for line in lines)]

    def hides_tokens(self, *texts: str) -> bool:
        """Return whether the texts contain no token of any call."""
        return not any(token.rstrip(".") in text for _, token in self.calls for text in texts)


@pytest.fixture
def make_visit(guarded: GuardedBroker, tmp_path: Path, start_fleet: Callable[..., Fleet]) -> Callable[[str], Visit]:
    """Return a function that creates a visit for a principal of a given name."""
    (tmp_path / "auth.py").write_text(AUTH)

    def make(name: str) -> Visit:
        for topic in (name, f"{name}.dlq", f"{name}.control"):
            cluster.create_topic(guarded.broker.bootstrap_servers, topic, 1)
        guarded.grant(
            name,
            Right(AclOperation.READ, ResourceType.TOPIC, name),
            Right(AclOperation.WRITE, ResourceType.TOPIC, name),
            Right(AclOperation.READ, ResourceType.GROUP, name),
            Right(AclOperation.WRITE, ResourceType.TOPIC, f"{name}.dlq"),
            Right(AclOperation.READ, ResourceType.TOPIC, f"{name}.control"),
            Right(AclOperation.WRITE, ResourceType.TOPIC, f"{name}.control"),
        )
        (tmp_path / name).mkdir()
        work = Scenario(guarded.broker, name, name, tmp_path / name, start_fleet, servers_of_fleets=guarded.sasl)
        return Visit(guarded, work, tmp_path)

    return make


@pytest.fixture
def visit(make_visit: Callable[[str], Visit], group: str) -> Visit:
    return make_visit(group)


def test_fleets_idle_for_longer_than_three_token_lifetimes_continue_without_an_error(
    make_visit: Callable[[str], Visit], group: str
) -> None:
    """One fleet per protocol. Their producers are idle too: a dead letter is sent before and after the idle time.

    So are the clients of their control topics, which follow a command afterwards.
    """
    fleets: list[tuple[Visit, Fleet]] = []
    for protocol in ("classic", "consumer"):
        visit = make_visit(f"{group}-{protocol}")
        visit.work.produce([(b"bad", b"rejected"), (b"s", b"1")])
        options = ("--log-level", "debug", "-X", "debug=security", "--group-protocol", protocol, *visit.control)
        fleets.append((visit, visit.run("fail", *options)))
    for visit, _ in fleets:
        visit.work.wait_done(1)
        visit.work.wait_lag(0)
    before = [len(visit.calls) for visit, _ in fleets]
    time.sleep(IDLE_SECONDS)
    assert all(len(visit.calls) - calls >= 3 for (visit, _), calls in zip(fleets, before, strict=True))
    for visit, fleet in fleets:
        work = visit.work
        work.produce([(b"bad", b"rejected"), (b"s", b"2")])
        work.wait_done(2)
        work.wait_lag(0)
        paused = visit.command("control", "pause", "-g", work.group, *visit.control, "--session", "x")
        assert paused.returncode == 0, paused.stderr
        fleet.wait_for("control.paused")
        assert fleet.stop() == 0
        assert len(work.given_up()) == 2
        assert work.faults(work.given_up()) == {}
        for event in ("kafka.token_failed", "consumer.lost", "consumer.lease_lapsed", "task.delivery_failed"):
            assert not fleet.heard(event)
        assert len(fleet.heard("consumer.assigned")) == 1
        assert visit.hides_tokens(fleet.log.read_text())


def test_a_token_function_that_fails_for_longer_than_a_token_lifetime_only_delays_tasks(
    make_visit: Callable[[str], Visit], group: str
) -> None:
    """Connections end with their tokens, but the consumer process continues. Each failure has its own fleet."""
    fleets: list[tuple[str, Visit, Fleet]] = []
    for how in ("raises", "hangs", "nonsense"):
        visit = make_visit(f"{group}-{how}")
        fleets.append((how, visit, visit.run("fail", "--commit-interval", "0.1")))
        visit.work.produce_sessions(20, 5)
    for how, visit, _ in fleets:
        visit.work.wait_done(20)
        visit.now_it(how)
    for how, visit, fleet in fleets:
        failed = fleet.wait_for("kafka.token_failed")
        assert failed["error"].startswith("--oauth-callback auth:token "), how
        until(
            lambda: any(event["last_expires_in_seconds"] < 0 for event in fleet.heard("kafka.token_failed")),  # noqa: B023
            "the last token has expired",
            60,
        )
        visit.work.produce_sessions(20, 5)
        visit.now_it("works")
    for how, visit, fleet in fleets:
        fleet.wait_for("kafka.token_renewed")
        visit.work.wait_done(40)
        visit.work.wait_lag(0)
        assert fleet.stop() == 0, how
        assert visit.work.faults(replays_in_process=True) == {}, how
        assert [event["reason"] for event in fleet.heard("fleet.consumer_exited")] == [], how
        assert len(fleet.heard("consumer.started")) == 1, how
        assert visit.hides_tokens(fleet.log.read_text()), how


def test_a_failure_of_the_token_function_at_the_start_is_reported_in_one_line(
    make_visit: Callable[[str], Visit], group: str
) -> None:
    """Each case has its own fleet. They start in parallel, since one of them waits for ten seconds."""
    visits = [make_visit(f"{group}-{number}") for number in range(4)]
    cases = {
        "raises": (4, "--oauth-callback auth:token raised RuntimeError: no token today: ***"),
        "hangs": (4, "--oauth-callback auth:token has not returned for 10 s"),
        "nonsense": (4, "--oauth-callback auth:token must return (token, expiry in seconds since the epoch), not str"),
        "for nobody": (4, f"access denied by the broker at {visits[0].guarded.sasl}: SASL authentication error: "),
    }
    fleets = []
    for how, visit in zip(cases, visits, strict=True):
        visit.now_it(how)
        fleets.append(visit.run("note", "-p", "2", "--log-level", "debug"))
    for (how, (code, told)), visit, fleet in zip(cases.items(), visits, fleets, strict=True):
        assert fleet.wait(150) == code, how
        (line,) = [line for line in fleet.lines if line.startswith("processor: ")]
        assert line.startswith(f"processor: {told}"), how
        assert visit.hides_tokens(fleet.log.read_text(), *fleet.lines), how


def test_a_token_function_that_cannot_be_imported_is_reported_in_one_line(visit: Visit) -> None:
    """No request is sent to a broker."""
    for reference, told in {
        "auth:tokens": "--oauth-callback 'auth:tokens': auth has no 'tokens'; did you mean 'token'",
        "nowhere:token": "--oauth-callback 'nowhere:token': there is no module 'nowhere' in the current folder",
        "auth": "--oauth-callback 'auth' must be MODULE:ATTRIBUTE, such as tasks:token; for example auth:token",
        "auth:not_a_function": "--oauth-callback 'auth:not_a_function' is a int, and must be a function",
    }.items():
        fleet = visit.run("note", "--oauth-callback", reference)
        assert fleet.wait() == 5
        (line,) = [line for line in fleet.lines if line.startswith("processor: ")]
        assert line.startswith(f"processor: {told}")


def test_commands_authenticate_with_tokens(visit: Visit) -> None:
    task = json.dumps({"session_id": "s", "payload": {"n": 1}})
    produced = visit.command("produce", "-t", visit.work.topic, "--value-format", "json", text=task)
    assert (produced.returncode, produced.stderr) == (0, "")
    decoded = visit.command("decode", f"{visit.work.topic}:0:0", "--value-format", "json")
    assert decoded.returncode == 0
    assert json.loads(decoded.stdout)["value"]["payload"] == {"n": 1}
    visit.now_it("raises")
    for refused in (
        visit.command("produce", "-t", visit.work.topic, text=task),
        visit.command("decode", f"{visit.work.topic}:0:0"),
    ):
        assert (refused.returncode, refused.stdout) == (4, "")
        assert refused.stderr == "processor: --oauth-callback auth:token raised RuntimeError: no token today: ***\n"


def test_a_dispatcher_idle_for_longer_than_a_token_lifetime_continues_to_send(visit: Visit) -> None:
    calls = 0

    def token() -> tuple[str, float]:
        nonlocal calls
        calls += 1
        return unsigned_token(visit.work.group, TOKEN_SECONDS), time.time() + TOKEN_SECONDS

    config = {**BEARER, "oauth_cb": token}
    with Dispatcher(visit.guarded.sasl, visit.work.topic, value_format="bytes", kafka_config=config) as dispatcher:
        assert dispatcher.submit("s", b"1").result(30).offset == 0
        before = calls
        time.sleep(TOKEN_SECONDS * 1.5)
        assert calls > before
        assert dispatcher.submit("s", b"2").result(30).offset == 1


PROGRAM = """
import sys, threading, time
from processor import Processor
from tests.support.guarded_broker import BEARER, unsigned_token

app = Processor()

@app.default
def handle(task):
    print(task.payload, flush=True)

def token(config):
    return unsigned_token(sys.argv[2], 8), time.time() + 8

config = {**BEARER, "oauth_cb": token}
sys.exit(app.run(sys.argv[2], sys.argv[2], sys.argv[1], value_format="bytes", kafka_config=config, stop_at_end=True))
"""


def test_a_consumer_within_a_program_authenticates_with_tokens(visit: Visit) -> None:
    visit.work.produce_sessions(20, 5)
    command = [sys.executable, "-c", PROGRAM, visit.guarded.sasl, visit.work.topic]
    folder = environment(visit.folder, {})
    done = subprocess.run(command, env=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20
    visit.work.wait_lag(0)

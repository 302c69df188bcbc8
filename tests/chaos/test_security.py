"""A broker with authentication: a refused client reports the reason at the start, and no secret is logged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from processor.cli.main import main
from tests.cli.refusal import refused
from tests.conftest import without
from tests.support import cluster, kafka_jars
from tests.support.certificates import Authority
from tests.support.guarded_broker import GuardedBroker, Right, guarded_broker, mutual_tls, scram
from tests.support.operating_schema import checked
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.until import until

PASSWORD = "horse-battery-staple"
WRONG_PASSWORD = "incorrect-horse"
ACCESS_DENIED = "processor: access denied by the broker at {}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    """The module's broker; each test adds its own user."""
    if not kafka_jars.available():
        without("no broker with SASL and TLS for this test: install Java 17+ and Maven")
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as running:
        running.add_user("nobody", PASSWORD)
        yield running


class Visit(NamedTuple):
    """A topic on the guarded broker, a user of the same name, and the permissions that a consumer needs."""

    guarded: GuardedBroker
    work: Scenario
    password_file: Path

    @property
    def user(self) -> str:
        """The name of the user, which is also that of the topic and of the group."""
        return self.work.group

    @property
    def rights(self) -> dict[str, Right]:
        """All permissions that a consumer needs."""
        topic, letters, results = self.user, f"{self.user}.dlq", f"{self.user}.results"
        return {
            "read the topic": Right(AclOperation.READ, ResourceType.TOPIC, topic),
            "read the group": Right(AclOperation.READ, ResourceType.GROUP, topic),
            "write dead letters": Right(AclOperation.WRITE, ResourceType.TOPIC, letters),
            "create dead letters": Right(AclOperation.CREATE, ResourceType.TOPIC, letters),
            "write results": Right(AclOperation.WRITE, ResourceType.TOPIC, results),
        }

    def grant(self, *but: str) -> None:
        """Grants all permissions except these."""
        self.guarded.grant(self.user, *(right for name, right in self.rights.items() if name not in but))

    def run(self, handler: str, *options: str) -> Fleet:
        """Starts a fleet that authenticates with SCRAM, with its password in a file."""
        return self.work.run(handler, *_options(self.login), *options)

    @property
    def login(self) -> dict[str, str]:
        """The client configuration of the user, with the password in a file."""
        known = dict(scram(self.user, ""))
        del known["sasl.password"]
        return {**known, "sasl.password.file": str(self.password_file)}


@pytest.fixture
def visit(guarded: GuardedBroker, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]) -> Visit:
    servers = guarded.broker.bootstrap_servers
    for topic in (group, f"{group}.results"):
        cluster.create_topic(servers, topic, 2)
    guarded.add_user(group, PASSWORD)
    password_file = tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    work = Scenario(guarded.broker, group, group, tmp_path, start_fleet, servers_of_fleets=guarded.sasl)
    return Visit(guarded, work, password_file)


def _options(config: Mapping[str, str]) -> list[str]:
    return [part for key, value in config.items() for part in ("-X", f"{key}={value}")]


def _hides(fleet: Fleet, *secrets: str) -> bool:
    said = fleet.log.read_text() + fleet.stdout
    return not any(secret in said for secret in secrets)


def test_a_refused_client_reports_the_reason_in_one_line_without_a_secret(
    guarded: GuardedBroker, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> None:
    """All clients start at once: two are not refused but disconnected, which takes the ten seconds of no answer."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    tls = {**scram("nobody", PASSWORD), "security.protocol": "SASL_SSL"}
    trusted = {**tls, "ssl.ca.location": str(guarded.authority.certificate)}
    another = {**tls, "ssl.ca.location": str(Authority(stranger).certificate)}
    without = {"security.protocol": "SSL", "ssl.ca.location": str(guarded.authority.certificate)}
    by_name = guarded.sasl_tls.replace("127.0.0.1", "localhost")
    refused = "SASL authentication error: Authentication failed during authentication due to invalid credentials"
    cases = {
        "a wrong password": (
            guarded.sasl,
            scram("nobody", WRONG_PASSWORD),
            f"access denied by the broker at {{}}: {refused}",
        ),
        "an unknown user": (
            guarded.sasl,
            scram("somebody", PASSWORD),
            f"access denied by the broker at {{}}: {refused}",
        ),
        "an untrusted authority": (
            guarded.sasl_tls,
            another,
            "the TLS connection to the broker at {} failed: its certificate",
        ),
        "another host name": (by_name, trusted, "the TLS connection to the broker at {} failed: its certificate"),
        "no certificate": (guarded.tls, without, "no broker responds at {}: Receive failed"),
        "no TLS": (guarded.sasl_tls, scram("nobody", PASSWORD), "no broker responds at {}: every connection is closed"),
        "no login": (
            guarded.sasl,
            {},
            "no broker responds at {}: every connection is closed without a response; check that -X security.pro",
        ),
    }
    fleets = {}
    for number, (case, (servers, config, _)) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        options = ("-b", servers, "-t", "t", "-g", "g", "--log-level", "debug", *_options(config))
        fleets[case] = start_fleet("h:h", *options, folder=folder, modules={"h": "def h(task): pass"})
    codes = {case: fleet.wait(150) for case, fleet in fleets.items()}  # seven start at once
    assert codes == dict.fromkeys(cases, 4)
    for case, (servers, _, told) in cases.items():
        ours = [line for line in fleets[case].lines if line.startswith("processor: ")]
        assert len(ours) == 1, case
        assert ours[0].startswith("processor: " + told.format(servers)), case
        assert _hides(fleets[case], PASSWORD, WRONG_PASSWORD), case


def test_the_clients_own_debug_log_holds_no_secret(visit: Visit) -> None:
    visit.grant()
    login = _options(scram(visit.user, PASSWORD))
    fleet = visit.work.run("note", "--stop-at-end", "--log-level", "debug", "-X", "debug=all", *login)
    assert fleet.wait() == 0
    assert fleet.heard("kafka.client_log")
    assert _hides(fleet, PASSWORD)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("read the topic", " (topic {}): Topic authorization failed"),
        ("read the group", " (group {}): "),
        ("write dead letters", " (topic {}.dlq): Topic authorization failed"),
        ("create dead letters", " (topic {}.dlq is missing, and this client may not create it): "),
        ("write results", " (topic {}.results): Topic authorization failed"),
    ],
)
def test_each_missing_permission_is_reported_at_the_start(visit: Visit, missing: str, told: str) -> None:
    visit.grant(missing)
    fleet = visit.run("upper", "--results-topic", f"{visit.user}.results")
    assert fleet.wait() == 4
    (line,) = fleet.lines
    assert line.startswith(ACCESS_DENIED.format(visit.guarded.sasl) + told.format(visit.user))
    assert _hides(fleet, PASSWORD)


@pytest.mark.parametrize("missing", ["read the topic", "write dead letters", "write results"])
def test_the_describe_permission_of_a_topic_is_not_sufficient(visit: Visit, missing: str) -> None:
    """The topic exists and may be described: only a check of permissions detects the problem before a task is run."""
    visit.grant(missing)
    cluster.create_topic(visit.work.servers, f"{visit.user}.dlq", 2)
    right = visit.rights[missing]
    visit.guarded.grant(visit.user, right._replace(operation=AclOperation.DESCRIBE))
    fleet = visit.run("upper", "--results-topic", f"{visit.user}.results")
    assert fleet.wait() == 4
    needed = f" (topic {right.name}): this client needs the permission {right.operation.name}"
    assert fleet.lines == [ACCESS_DENIED.format(visit.guarded.sasl) + needed]
    assert not fleet.heard("consumer.started")


def test_exactly_once_requires_the_permission_for_its_transactions(visit: Visit) -> None:
    visit.grant()
    id_ = f"{visit.user}-place-0"
    once = ("--delivery", "exactly-once", "--results-topic", f"{visit.user}.results", "-X", "group.instance.id=place")
    fleet = visit.run("reply", *once)
    assert fleet.wait() == 4
    (line,) = fleet.lines
    assert line.startswith(ACCESS_DENIED.format(visit.guarded.sasl) + f" (transactional.id {id_}): ")
    assert not fleet.heard("consumer.started")
    visit.guarded.grant(visit.user, Right(AclOperation.WRITE, ResourceType.TRANSACTIONAL_ID, id_))
    visit.work.produce([(b"bad", b"rejected"), *((b"s%d" % (n % 5), b"%d" % n) for n in range(50))])
    assert visit.run("reply", *once, "--stop-at-end").wait() == 0
    # The coordinator confirms a transaction a moment before its outputs and offsets are visible.
    results = f"{visit.user}.results"
    until(lambda: len(cluster.read_all(visit.work.servers, results)) >= 50, "all results are shown", pause=0.2)
    until(visit.work.given_up, "the dead letter is shown", pause=0.2)
    visit.work.wait_lag(0)
    assert len(cluster.read_all(visit.work.servers, results)) == 50
    assert len(visit.work.given_up()) == 1


def test_a_consumer_with_only_the_documented_permissions_processes_all_tasks(visit: Visit) -> None:
    visit.grant()
    work = visit.work
    work.produce([(b"bad", b"rejected"), *((b"s%d" % (n % 5), b"%d" % n) for n in range(50))])
    fleet = visit.run("fail", "--results-topic", f"{visit.user}.results", "--stop-at-end")
    assert fleet.wait() == 0
    assert work.faults(work.given_up()) == {}
    assert len(work.given_up()) == 1
    work.wait_lag(0)
    assert _hides(fleet, PASSWORD)


def test_a_client_certificate_authenticates_a_consumer(visit: Visit, tmp_path: Path) -> None:
    pair = visit.guarded.authority.issue(f"{visit.user[:40]}")
    principal = f"CN={visit.user[:40]}"
    visit.guarded.grant(principal, *visit.rights.values())
    visit.work.produce_sessions(20, 4)
    login = _options(mutual_tls(visit.guarded.authority, pair))
    fleet = visit.work.run("note", "-b", visit.guarded.tls, *login, "--stop-at-end")
    assert fleet.wait() == 0
    visit.work.wait_lag(0)
    assert visit.work.faults() == {}


def test_a_revoked_topic_permission_stops_processing_and_loses_no_task(visit: Visit) -> None:
    """The consumer ends, reports the reason, and is restarted until it has the permission again."""
    visit.grant()
    work = visit.work
    work.produce_sessions(50, 5)
    fleet = visit.run("note", "--commit-interval", "0.1", "--drain-timeout", "1")
    work.wait_done(50)
    work.wait_lag(0)
    right = visit.rights["read the topic"]
    visit.guarded.take_away(visit.user, right)
    work.produce_sessions(50, 5)
    ended = fleet.wait_for("fleet.consumer_exited", exit_code=4)
    assert ended["reason"].startswith(f"access denied by the broker at {visit.guarded.sasl} (topic {visit.user}): ")
    visit.guarded.grant(visit.user, right)
    work.wait_done(100)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert _hides(fleet, PASSWORD)


def test_a_revoked_group_permission_is_reported_with_the_first_commit_and_loses_no_task(
    visit: Visit,
) -> None:
    """The consumer continues while its membership is valid, then ends, and is restarted until it has the permission.

    It considers itself a member for two thirds of a session, in which the tasks must arrive and begin.
    """
    visit.grant()
    work = visit.work
    session = ("-X", "session.timeout.ms=30000", "-X", "heartbeat.interval.ms=300")
    fleet = visit.run("note", "--commit-interval", "0.1", "--drain-timeout", "1", *session)
    work.produce_sessions(50, 5)
    work.wait_done(50)
    work.wait_lag(0)
    right = visit.rights["read the group"]
    visit.guarded.take_away(visit.user, right)
    work.produce_sessions(50, 5)
    work.wait_done(100)
    assert "Group authorization failed" in fleet.wait_for("consumer.commit_failed")["error"]
    ended = fleet.wait_for("fleet.consumer_exited", exit_code=4)
    assert ended["reason"].startswith(f"access denied by the broker at {visit.guarded.sasl} (group {visit.user}): ")
    visit.guarded.grant(visit.user, right)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert _hides(fleet, PASSWORD)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_stop_while_the_group_waits_repeats_nothing_with_and_without_the_transactions_permission(
    visit: Visit, allowed: bool
) -> None:
    """A consumer is killed and another one joins. Without the permission, the stop waits until the session expires.

    The session is longer than the other consumer takes to start on a busy machine.
    """
    visit.grant()
    if allowed:
        visit.guarded.grant(visit.user, Right(AclOperation.WRITE, ResourceType.TRANSACTIONAL_ID, "*"))
    work = visit.work
    session = ("-X", "session.timeout.ms=30000", "--drain-timeout", "60")
    dead, survivor = (visit.run("note", "-w", "4", *session) for _ in range(2))
    for fleet in (dead, survivor):
        fleet.wait_for_partitions()
    work.produce_sessions(200, 20)
    work.wait_done(200)
    work.wait_lag(0)
    work.kill(dead)
    late = visit.run("note", *session)
    late.wait_for("fleet.started")

    def is_rerouted() -> bool:
        work.produce_sessions(40, 20)  # so that there is always something to commit
        return bool(survivor.heard("consumer.commits_rerouted"))

    until(is_rerouted, lambda: f"no commit is rerouted; {survivor.last_words}", pause=0.5)
    if not allowed:
        assert "Transactional Id authorization failed" in survivor.wait_for("consumer.commits_held")["error"]
    assert survivor.stop(90) == 0
    work.wait_done(len(work.places))
    assert late.stop() == 0
    assert work.faults() == {}
    assert work.repeated() == []
    assert _hides(survivor, PASSWORD)


def test_a_revoked_permission_to_write_dead_letters_blocks_only_their_sessions(visit: Visit) -> None:
    visit.grant()
    work = visit.work
    fleet = visit.run("fail", "--max-attempts", "1", "--commit-interval", "0.1")
    fleet.wait_for("consumer.assigned")
    right = visit.rights["write dead letters"]
    visit.guarded.take_away(visit.user, right)
    work.produce([(b"bad", b"fails always"), (b"bad", b"after it")])
    work.produce_sessions(50, 5)
    told = fleet.wait_for("task.delivery_failed", target_topic=f"{visit.user}.dlq")
    assert "authorization failed" in told["error"].lower()
    done = work.wait_done(50)
    assert not any(entry.session == "bad" and entry.succeeded for entry in done)
    visit.guarded.grant(visit.user, right)
    work.wait_done(51)
    work.wait_lag(0)
    assert fleet.stop() == 0
    (letter,) = work.given_up()
    assert work.faults([letter]) == {}
    assert work.repeated() == []


def test_produce_reports_denied_access_in_one_line(visit: Visit) -> None:
    """The user may describe the topic but not write to it; then it may."""
    topic, task = visit.user, b'{"session_id": "s", "payload": 1}\n'
    right = Right(AclOperation.DESCRIBE, ResourceType.TOPIC, topic)
    visit.guarded.grant(visit.user, right)
    sent = [_produce(visit, PASSWORD, task), _produce(visit, WRONG_PASSWORD, task)]
    assert [done.returncode for done in sent] == [4, 4]
    refused = f"processor: access denied by the broker at {visit.guarded.sasl}"
    assert sent[0].stderr.decode() == (f"{refused} (topic {topic}): this client needs the permission WRITE\n")
    assert sent[1].stderr.decode().startswith(f"{refused}: SASL authentication error: ")
    visit.guarded.grant(visit.user, right._replace(operation=AclOperation.WRITE))
    sent.append(_produce(visit, PASSWORD, task))
    assert sent[2].returncode == 0
    assert cluster.end_offsets(visit.work.servers, topic) != {0: 0, 1: 0}
    assert not any(secret in done.stdout + done.stderr for done in sent for secret in (b"horse",))


def _produce(visit: Visit, password: str, task: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "processor", "produce", "-b", visit.guarded.sasl, "-t", visit.user]
    command += ["--value-format", "json", *_options(scram(visit.user, password))]
    return subprocess.run(command, input=task, capture_output=True, timeout=60, check=False)


def test_a_changed_password_is_read_again_when_the_old_one_is_refused(visit: Visit) -> None:
    """Open connections stay open. New ones, here after a restart of the broker, need the new password."""
    visit.grant()
    work = visit.work
    noticed_soon = ("-X", "session.timeout.ms=3000", "-X", "reconnect.backoff.max.ms=500")
    fleet = visit.run("note", "--commit-interval", "0.1", "--drain-timeout", "1", *noticed_soon)
    work.produce_sessions(20, 5)
    work.wait_done(20)
    work.wait_lag(0)
    visit.guarded.add_user(visit.user, WRONG_PASSWORD)
    visit.guarded.broker.restart()
    ended = fleet.wait_for("fleet.consumer_exited")
    assert ended["exit_code"] == 4
    assert "SASL authentication error" in ended["reason"]
    visit.password_file.write_text(WRONG_PASSWORD)
    work.produce_sessions(20, 5)
    work.wait_done(40)
    work.wait_lag(0)
    assert fleet.stop() == 0
    assert work.faults() == {}
    assert _hides(fleet, PASSWORD, WRONG_PASSWORD)


def test_consumers_read_and_operators_write_the_control_topic_and_a_missing_permission_is_named(
    visit: Visit, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss of a permission is logged, and commands that were read stay in force until it is restored."""
    control, group = f"{visit.user}.control", visit.user
    cluster.create_topic(visit.work.servers, control, 1, **{"cleanup.policy": "compact"})
    visit.grant()
    of_group = ("-g", group, "--control-topic", control)
    login = ("-b", visit.guarded.sasl, *_options(visit.login))
    refusal = f"access denied by the broker at {visit.guarded.sasl} (topic {control})"
    read = Right(AclOperation.READ, ResourceType.TOPIC, control)
    visit.guarded.grant(visit.user, read._replace(operation=AclOperation.DESCRIBE))
    fleet = visit.run("note", "--control-topic", control)
    assert fleet.wait() == 4
    assert f"{refusal}: this client needs the permission READ" in fleet.last_words
    assert refused(capsys, "control", "pause", *login, *of_group, "--all", code=4) == (
        f"{refusal}: this client needs the permission WRITE"
    )
    assert main(["doctor", *login, "-t", visit.user, *of_group, "-o", "json"]) == 1
    failed = [one for one in checked("doctor", capsys.readouterr().out)["findings"] if one["level"] == "failure"]
    assert [one["found"] for one in failed] == [f"{refusal}: this client needs the permission READ"]
    visit.guarded.grant(visit.user, read)
    fleet = visit.run("note", "--control-topic", control)
    own_door = ("-b", visit.work.servers, *of_group)
    assert main(["control", "pause", *own_door, "--session", "s"]) == 0
    fleet.wait_for("control.paused")
    visit.guarded.take_away(visit.user, read)
    fleet.wait_for("control.failed", topic=control)  # the request that waited for records meanwhile was permitted
    assert main(["control", "resume", *own_door, "--session", "s"]) == 0
    assert not fleet.heard("control.resumed")
    visit.guarded.grant(visit.user, read)
    fleet.wait_for("control.resumed")
    assert fleet.stop() == 0


def test_an_operating_command_names_the_missing_permission_and_does_nothing(
    visit: Visit, capsys: pytest.CaptureFixture[str]
) -> None:
    topic, dead, notes = visit.user, f"{visit.user}.dlq", f"{visit.user}-notes"
    cluster.create_topic(visit.work.servers, dead, 1)
    cluster.produce(visit.work.servers, dead, [(b"a", b"1", [("dlq-topic", topic.encode())])])
    login = ("-b", visit.guarded.sasl, *_options(visit.login))
    lag = ("lag", *login, "-g", visit.user, "-t", topic)
    letters = ("--progress-group", notes, "-t", dead, "--value-format", "bytes", "--execute")
    replay = ("dlq", "replay", *login, *letters)

    def denied(command: tuple[str, ...], about: str) -> None:
        told = refused(capsys, *command, code=4)
        assert told.startswith(f"access denied by the broker at {visit.guarded.sasl} ({about}"), told

    def grant(operation: AclOperation, kind: ResourceType, *names: str) -> None:
        visit.guarded.grant(visit.user, *(Right(operation, kind, name) for name in names))

    denied(lag, f"topic {topic})")
    denied(replay, f"topic {dead})")
    grant(AclOperation.DESCRIBE, ResourceType.TOPIC, topic, dead)
    denied(lag, f"group {visit.user}, topic {topic})")
    denied(replay, f"topic {dead}): this client needs the permission READ")
    grant(AclOperation.READ, ResourceType.TOPIC, dead)
    denied(replay, f"group {notes})")
    grant(AclOperation.DESCRIBE, ResourceType.GROUP, visit.user, notes)
    assert main([*lag]) == 5, "the group has committed nothing yet"
    capsys.readouterr()
    told = refused(capsys, *replay, code=4)
    assert f"could not be noted: access denied by the broker at {visit.guarded.sasl} (group {notes})" in told
    grant(AclOperation.READ, ResourceType.GROUP, visit.user, notes)
    told = refused(capsys, *replay, code=4)
    assert told.startswith("letter 0:0 cannot be replayed: access denied by the broker")
    assert told.endswith(f"(topic {topic}): this client needs the permission WRITE")
    assert cluster.read_all(visit.work.servers, topic) == []
    grant(AclOperation.WRITE, ResourceType.TOPIC, topic)
    assert main([*replay]) == 0
    assert len(cluster.read_all(visit.work.servers, topic)) == 1
    reset = ("offsets", "reset", *login, "-g", visit.user, "-t", topic, "--to", "latest", "--execute")
    capsys.readouterr()
    denied(reset, f"group {visit.user}, topic {topic})")
    grant(AclOperation.READ, ResourceType.TOPIC, topic)
    assert main([*reset]) == 0
    capsys.readouterr()
    assert main([*lag]) == 0
    out, err = capsys.readouterr()
    assert (err, ", empty, 0 members: nothing behind" in out) == ("", True)


def _doctor(visit: Visit, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, list[tuple[str, str]]]:
    """Return the findings of `processor doctor` by check: the level and the text of each."""
    topic = visit.user
    own = ("-t", topic, "-g", topic, "--results-topic", f"{topic}.results", "-o", "json")
    code = main(["doctor", "-b", visit.guarded.sasl, *own, *options])
    out, err = capsys.readouterr()
    assert "horse" not in out + err
    document = checked("doctor", out)
    assert code == (1 if document["failures"] else 0)
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in document["findings"]:
        found.setdefault(finding["check"], []).append((finding["level"], finding["found"]))
    return found


def test_doctor_names_each_missing_permission(visit: Visit, capsys: pytest.CaptureFixture[str]) -> None:
    visit.grant()
    login = _options(visit.login)
    topic, refused = visit.user, ACCESS_DENIED.format(visit.guarded.sasl).removeprefix("processor: ")
    whole = _doctor(visit, capsys, *login)
    assert whole["rights"] == [("ok", f"READ on {topic}; WRITE on {topic}.results")]
    assert whole["login"] == [("ok", "accepted, with SASL_PLAINTEXT and SCRAM-SHA-512")]
    assert ("ok", f"{topic}.dlq does not exist: run creates it") in whole["topics"]
    assert whole["group"] == [("ok", f"{topic}: new, 0 members")]
    for name, right in visit.rights.items():
        visit.guarded.take_away(topic, right)
        ((level, text),) = [found for found in _doctor(visit, capsys, *login)["rights"] if found[0] != "ok"]
        assert level == "failure", name
        assert refused in text, name
        assert f"{right.kind.name.lower()} {right.name}" in text, name
        visit.guarded.grant(topic, right)
    assert f"{topic}.dlq" not in visit.guarded.admin.list_topics(timeout=10).topics


def test_doctor_reports_a_wrong_password_and_a_rejected_certificate(
    visit: Visit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    wrong = _doctor(visit, capsys, *_options(scram(visit.user, WRONG_PASSWORD)))
    ((level, text),) = wrong["login"]
    assert level == "failure"
    assert text.startswith(f"access denied by the broker at {visit.guarded.sasl}: SASL authentication error")
    assert "topics" not in wrong
    assert "files" in wrong
    tls = {**visit.login, "security.protocol": "SASL_SSL"}
    by_tls = ("-b", visit.guarded.sasl_tls)
    visit.grant()
    trusted = _options({**tls, "ssl.ca.location": str(visit.guarded.authority.certificate)})
    found = _doctor(visit, capsys, *by_tls, *trusted)
    assert [level for level, _ in found["tls"]] == ["warning"], "the certificate is valid for a day"
    assert found["login"] == [("ok", "accepted, with SASL_SSL and SCRAM-SHA-512")]
    another = _options({**tls, "ssl.ca.location": str(Authority(stranger).certificate)})
    refused = _doctor(visit, capsys, *by_tls, *another)
    ((level, text),) = refused["tls"]
    assert level == "failure"
    assert text.startswith(f"a certificate is refused: {visit.guarded.sasl_tls}: ")
    assert [level for level, _ in refused["login"]] == ["failure"]

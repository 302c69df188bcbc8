"""`processor dlq`: letters listed, shown, replayed byte for byte and in order, and discarded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from processor.cli.main import main
from tests.cli.refusal import refused
from tests.conftest import MakeTopic, Produce
from tests.operate.dead_letter import Headers
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.lifeline import die_with_parent
from tests.support.operating_schema import checked
from tests.support.run import environment
from tests.support.scenario import MakeScenario
from tests.support.until import until

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)


def added(topic: str, offset: int, error: str = "builtins.ValueError", failed_at: int = 1_795_946_400_000) -> Headers:
    """The headers of a failure."""
    texts = {
        "dlq-topic": topic,
        "dlq-partition": 0,
        "dlq-offset": offset,
        "dlq-timestamp": 1_795_946_000_000,
        "dlq-group": "shop",
        "dlq-attempts": 3,
        "dlq-error-type": error,
        "dlq-error-message": f"{offset} was declined",
        "dlq-failed-at": failed_at,
    }
    return [(name, str(text).encode()) for name, text in texts.items()]


class Shop:
    """A topic, the topic of its dead letters, and a group of the test's own for the notes."""

    def __init__(self, servers: str, topic: str, dead: str, group: str, capsys: Capture) -> None:
        self.servers, self.topic, self.dead = servers, topic, dead
        self.options = ("-b", servers, "-t", dead, "--value-format", "bytes")
        self.notes = ("--progress-group", group)
        self._capsys = capsys

    def bury(self, letters: int, *, sessions: int = 5, error: str = "builtins.ValueError", first: int = 0) -> None:
        """Produces letters with the values `first`, `first + 1` and so on, the sessions in turn."""
        rows: list[cluster.Row] = []
        for n in range(first, first + letters):
            headers: Headers = [("task-name", b"charge"), ("raw", b"\xff\x00"), *added(self.topic, n, error)]
            rows.append((b"s%d" % (n % sessions), b"%d" % n, headers))
        cluster.produce(self.servers, self.dead, rows)

    def run(self, command: str, *options: str, code: int = 0) -> dict[str, Any]:
        """The document that a command prints, checked against its schema."""
        notes = self.notes
        assert main(["dlq", command, *self.options, *notes, "-o", "json", *options]) == code
        schema = "replay" if command == "discard" else command
        document: dict[str, Any] = checked(f"dlq {schema}", self._capsys.readouterr().out)
        return document

    def replayed(self) -> list[Message]:
        return cluster.read_all(self.servers, self.topic)

    def values(self) -> list[int]:
        return sorted(int(message.value() or b"") for message in self.replayed())

    def left(self) -> int:
        count: int = self.run("list")["letters"]
        return count


@pytest.fixture
def shop(broker: Broker, topic: MakeTopic, group: str, capsys: Capture) -> Shop:
    name = topic(partitions=4)
    dead = cluster.create_topic(broker.bootstrap_servers, f"{name}.dlq", 3)
    return Shop(broker.bootstrap_servers, name, dead, group, capsys)


def by_session(messages: Sequence[Message]) -> dict[bytes, list[int]]:
    found = defaultdict(list)
    for message in messages:
        found[message.key() or b""].append(int(message.value() or b""))
    return found


def test_dead_letters_are_listed_in_groups(shop: Shop, capsys: Capture) -> None:
    shop.bury(20)
    shop.bury(5, error="shop.Declined", first=20)
    found = shop.run("list")
    groups = [(one["value"], one["letters"]) for one in found["groups"]]
    assert groups == [("builtins.ValueError", 20), ("shop.Declined", 5)]
    assert found["groups"][1]["error"].endswith(" was declined")
    assert [(one["value"], one["letters"]) for one in shop.run("list", "--by", "name")["groups"]] == [("charge", 25)]
    assert len(shop.run("list", "--by", "session")["groups"]) == 5
    assert shop.run("list", "--where", "error-type=Declined", "--where", "session=s1")["letters"] == 1
    assert main(["dlq", "list", *shop.options, *shop.notes]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["letters", "error-type", "first", "last", "letter", "latest", "error"]
    assert err == f"processor: {shop.dead} has 25 letters\n"


def test_one_dead_letter_is_shown_in_full(shop: Shop, capsys: Capture) -> None:
    shop.bury(1)
    place = shop.run("list")["groups"][0]["letter"]
    found = shop.run("show", place)
    assert (found["topic"], found["offset"], found["session"], found["name"]) == (shop.topic, 0, "s0", "charge")
    assert (found["id"], found["attempts"], found["replays"]) == (f"{shop.topic}-0-0", 3, 0)
    assert found["headers"] == [["task-name", "charge"], ["raw", "\\xff\x00"]]
    assert (found["value"], found["decode_error"], found["dealt_with"]) == ("0", None, False)
    assert main(["dlq", "show", "-b", shop.servers, "-t", shop.dead, *shop.notes, place]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not decoded ")]
    assert "the value begins with 30, which is neither" in line


def test_a_replay_sends_key_value_and_headers_byte_for_byte(shop: Shop) -> None:
    headers: Headers = [("b", b"\xff\x00"), ("a", b""), ("a", None), ("dlq-replays", b"1")]
    rows: list[cluster.Row] = [
        (b"\xfe\x00", b"\x00\xff", [*headers, *added(shop.topic, 0)]),
        (b"anna", None, [*headers, *added(shop.topic, 1)]),
        (None, b"", added(shop.topic, 2)),
    ]
    cluster.produce(shop.servers, shop.dead, rows)
    assert shop.run("replay")["letters"] == 3
    assert shop.replayed() == []
    found = shop.run("replay", "--execute")
    assert (found["executed"], found["letters"], found["targets"]) == (True, 3, {shop.topic: 3})
    sent = {(message.key(), message.value()): message.headers() for message in shop.replayed()}
    again = [("b", b"\xff\x00"), ("a", b""), ("a", None), ("dlq-replays", b"2")]
    assert sent == {(b"\xfe\x00", b"\x00\xff"): again, (b"anna", None): again, (None, b""): [("dlq-replays", b"1")]}


def test_a_session_goes_to_its_partition_of_the_topic_as_it_is_now(shop: Shop) -> None:
    """The topic has grown since: murmur2 over eight partitions, as a producer of any language has it."""
    shop.bury(40, sessions=20)
    cluster.grow(shop.servers, shop.topic, 8)
    shop.run("replay", "--execute")
    sent = {message.key(): message.partition() for message in shop.replayed()}
    twin = cluster.create_topic(shop.servers, f"{shop.topic}-twin", 8)
    cluster.produce(shop.servers, twin, [(key, b"") for key in sent])
    assert sent == {message.key(): message.partition() for message in cluster.read_all(shop.servers, twin)}
    assert len(set(sent.values())) > 4


def test_a_replayed_dead_letter_is_not_replayed_again_under_any_selection(shop: Shop) -> None:
    shop.bury(30)
    shop.bury(10, error="shop.Declined", first=30)
    assert shop.run("replay", "--where", "error-type=Declined", "--limit", "4", "--execute")["letters"] == 4
    assert shop.left() == 36
    assert shop.run("replay", "--where", "session=s2", "--execute")["letters"] >= 6
    found = shop.run("replay", "--execute")
    assert found["letters"] + found["dealt_with"] == 40
    assert shop.values() == list(range(40))
    assert shop.run("replay", "--execute")["letters"] == 0
    assert shop.left() == 0
    assert shop.run("list", "--all")["letters"] == 40
    shop.bury(3, first=40)
    assert shop.run("replay", "--execute")["letters"] == 3
    assert all(sent == sorted(sent) for sent in by_session(shop.replayed()[-3:]).values())


def test_each_session_keeps_its_order(shop: Shop) -> None:
    shop.bury(1000, sessions=7)
    shop.run("replay", "--execute")
    assert shop.values() == list(range(1000))
    assert all(sent == sorted(sent) for sent in by_session(shop.replayed()).values())


def test_a_short_queue_of_the_client_does_not_end_a_replay(shop: Shop) -> None:
    shop.bury(300, sessions=300)
    limits = ("-X", "queue.buffering.max.messages=5", "-X", "queue.buffering.max.kbytes=1")
    assert shop.run("replay", "--execute", *limits)["letters"] == 300
    assert shop.values() == list(range(300))


def test_times_choose_letters_by_their_failure(shop: Shop) -> None:
    """2026-11-29T10:00Z and an hour later."""
    rows: list[cluster.Row] = [
        (b"a", b"0", added(shop.topic, 0, failed_at=1_795_946_400_000)),
        (b"a", b"1", added(shop.topic, 1, failed_at=1_795_950_000_000)),
    ]
    cluster.produce(shop.servers, shop.dead, rows)
    assert shop.run("list", "--since", "2026-11-29T10:30")["letters"] == 1
    assert shop.run("list", "--until", "2026-11-29T10:00:00Z")["letters"] == 0
    shop.run("replay", "--until", "2026-11-29T11:30+01:00", "--execute")
    assert shop.values() == [0]


def test_a_dead_letter_that_was_replayed_too_often_is_not_replayed(shop: Shop) -> None:
    rows: list[cluster.Row] = [
        (b"a", b"%d" % n, [("dlq-replays", b"%d" % n), *added(shop.topic, n)]) for n in range(1, 5)
    ]
    cluster.produce(shop.servers, shop.dead, rows)
    found = shop.run("replay", "--execute")
    assert (found["letters"], found["guarded"]) == (2, 2)
    assert shop.values() == [1, 2]
    assert shop.left() == 2
    assert shop.run("replay", "--max-replays", "9", "--execute")["letters"] == 2
    assert shop.values() == [1, 2, 3, 4]


def test_discarded_dead_letters_count_as_handled_and_are_not_sent(shop: Shop) -> None:
    shop.bury(20)
    assert shop.run("discard", "--where", "session=s1")["letters"] == 4
    assert shop.left() == 20
    assert shop.run("discard", "--where", "session=s1", "--execute")["letters"] == 4
    assert shop.left() == 16
    assert shop.run("discard", "--limit", "6", "--execute")["letters"] == 6
    assert shop.run("replay", "--execute")["letters"] == 10
    assert len(shop.values()) == 10


def test_a_killed_replay_continues_where_it_stopped(shop: Shop, tmp_path: Path) -> None:
    """Only what was sent since the last note is sent twice, and each session keeps its order."""
    letters, rate = 5000, 100  # the rest takes far longer than a list of what is left
    shop.bury(letters, sessions=50)
    options = [*shop.options, *shop.notes, "--execute", "--rate", str(rate)]
    replay = subprocess.Popen(
        [sys.executable, "-m", "processor", "dlq", "replay", *options],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent(),
    )
    until(lambda: shop.left() < letters - 400, "some letters are replayed and noted", 60, pause=0.1)
    replay.send_signal(signal.SIGKILL)
    replay.communicate()
    left = shop.left()
    sent = len(shop.values())
    assert 0 < left < letters
    assert sent - (letters - left) <= 1000, "no more may be unnoted than may be in flight"
    assert shop.run("replay", "--execute")["letters"] == left
    values = shop.values()
    assert sorted(set(values)) == list(range(letters))
    assert len(values) == sent + left
    firsts = {key: list(dict.fromkeys(sent)) for key, sent in by_session(shop.replayed()).items()}
    assert all(sent == sorted(sent) for sent in firsts.values())


def test_one_of_two_concurrent_replays_stops_and_no_progress_is_lost(
    shop: Shop, tmp_path: Path, capsys: Capture
) -> None:
    shop.bury(300, sessions=20)
    shop.bury(300, sessions=20, error="shop.Declined", first=300)
    options = [*shop.options, *shop.notes, "--execute", "--rate", "15"]  # each takes twenty seconds
    other = subprocess.Popen(
        [sys.executable, "-m", "processor", "dlq", "replay", *options, "--where", "error-type=Declined"],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    until(lambda: shop.left() < 600, "the other one notes letters", 60, pause=0.05)
    found = main(["dlq", "replay", *options, "--where", "error-type=ValueError"])
    _, err = other.communicate(timeout=120)
    told = [*err.splitlines(), *capsys.readouterr().err.splitlines()]
    stopped = (
        f"processor: another replay or discard of {shop.dead} is under way; this one stops, and what it did is noted"
    )
    assert 1 in (found, other.returncode)
    assert told.count(stopped) == (found == 1) + (other.returncode == 1)
    sent = len(shop.values())
    assert shop.left() == 600 - sent
    shop.run("replay", "--execute")
    assert shop.values() == list(range(600))


def test_a_replay_that_is_interrupted_notes_what_it_sent(shop: Shop, tmp_path: Path) -> None:
    letters = 2000  # at this rate they would take a hundred seconds
    shop.bury(letters)
    options = [*shop.options, *shop.notes, "--execute", "--rate", "20", "-o", "json"]
    replay = subprocess.Popen(
        [sys.executable, "-m", "processor", "dlq", "replay", *options],
        cwd=tmp_path,
        env=environment(tmp_path, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    until(lambda: len(shop.replayed()) > 5, "some letters are replayed", 60, pause=0.1)
    replay.send_signal(signal.SIGINT)
    out, err = replay.communicate(timeout=60)
    assert replay.returncode == 130
    assert err.splitlines()[-1] == "processor: interrupted; the same command continues with the rest"
    sent = checked("dlq replay", out)["letters"]
    assert 5 < sent < letters
    assert (len(shop.values()), shop.left()) == (sent, letters - sent)


def test_a_fleets_dead_letters_succeed_once_they_are_replayed(scenario: MakeScenario, capsys: Capture) -> None:
    work = scenario(partitions=2)
    work.produce([(b"s%d" % (n % 3), b"fails always", [("n", b"%d" % n)]) for n in range(30)])
    assert work.run("fail", "--stop-at-end", "--max-attempts", "1").wait() == 0
    replay = ["dlq", "replay", "-b", work.servers, "-t", f"{work.topic}.dlq", "--progress-group", f"{work.group}-notes"]
    assert main([*replay, "--execute", "-o", "json"]) == 0
    found = checked("dlq replay", capsys.readouterr().out)
    assert (found["letters"], found["targets"]) == (30, {work.topic: 30})
    assert work.run("note", "--stop-at-end").wait() == 0
    again = cluster.read_all(work.servers, work.topic)[-60:]
    numbers: dict[bytes, list[int]] = defaultdict(list)
    for message in again:
        headers = cluster.headers_of(message)
        if "dlq-replays" in headers:
            numbers[message.key() or b""].append(int(headers["n"]))
    assert sum(map(len, numbers.values())) == 30
    assert all(sent == sorted(sent) for sent in numbers.values())
    assert sum(entry.succeeded for entry in work.ledger.entries()) == 30
    work.wait_lag(0)


def test_a_topic_that_has_no_dead_letters_is_one_error_line(
    shop: Shop, topic: MakeTopic, produce: Produce, capsys: Capture
) -> None:
    produce(shop.topic, [(b"a", b"1")] * 3)
    base = ("dlq", "list", "-b", shop.servers, "-t")
    told = f"{shop.topic} has no dead letters, and {shop.dead} exists: give -t {shop.dead}"
    assert refused(capsys, *base, shop.topic) == told
    plain = topic(partitions=1)
    assert shop.left() == 0
    produce(plain, [(b"a", b"1")] * 3)
    assert refused(capsys, *base, plain) == f"{plain} has no dead letters: its records have no header dlq-topic"
    assert "topic no-such.dlq does not exist" in refused(capsys, *base, "no-such.dlq", code=5)
    assert refused(capsys, *base, plain, "--where", "colour=red").startswith("--where has an unknown field 'colour'")
    assert refused(capsys, *base, plain, "--since", "soon").startswith("--since must be a time such as")
    assert refused(capsys, "dlq", "show", "-t", plain, "3").startswith("LETTER must be PARTITION:OFFSET")


def test_records_that_are_not_dead_letters_are_not_replayed(shop: Shop) -> None:
    shop.bury(5)
    cluster.produce(shop.servers, shop.dead, [(b"a", b"foreign")] * 2)
    found = shop.run("replay", "--execute")
    assert (found["letters"], found["foreign"]) == (5, 2)
    assert shop.values() == list(range(5))


def test_a_deleted_topic_is_named_and_earlier_sends_are_recorded(shop: Shop, capsys: Capture) -> None:
    shop.bury(3, sessions=1)
    headers = added("no-such-topic", 9)
    cluster.produce(shop.servers, shop.dead, [(b"s0", b"9", headers)])
    shop.bury(1, sessions=1, first=3)
    message = refused(capsys, "dlq", "replay", *shop.options, *shop.notes, "--execute", code=5)
    assert "cannot be replayed: topic no-such-topic does not exist" in message
    assert message.endswith("; 3 were sent before it")
    assert shop.values() == [0, 1, 2]
    assert shop.left() == 2
    assert shop.run("discard", "--where", "topic=no-such-topic", "--execute")["letters"] == 1
    assert shop.run("replay", "--execute")["letters"] == 1


def test_the_documents_are_json_for_programs(shop: Shop, capsys: Capture) -> None:
    shop.bury(2)
    assert main(["dlq", "list", *shop.options, *shop.notes, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["letters"] == 2
    assert err == ""

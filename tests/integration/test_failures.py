"""Tasks that fail: retries, dead letters, results, handlers that do not end; against a real broker."""

from __future__ import annotations

import time
from typing import cast

from confluent_kafka import Message

from processor.telemetry.redaction import hashed
from tests.support import cluster
from tests.support.ledger import Place
from tests.support.scenario import MakeScenario

QUICK = ("--backoff", "0.05", "--stop-at-end", "-w", "8")


def dead_letters(servers: str, topic: str) -> dict[bytes | None, Message]:
    return {letter.key(): letter for letter in cluster.read_all(servers, f"{topic}.dlq")}


def header_pairs(message: Message) -> list[tuple[str, bytes | None]]:
    return cast(list[tuple[str, bytes | None]], message.headers() or [])


def header_texts(message: Message) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in header_pairs(message)}


def test_a_failed_task_is_retried_and_then_dead_lettered(scenario: MakeScenario) -> None:
    work = scenario()
    headers = [("x", b"1"), ("x", None), ("y", b"\xff\x00")]
    work.produce(
        [
            (b"good", b"works"),
            (b"twice", b"fails twice"),
            (b"always", b"fails always", headers),
            (b"never", b"rejected"),
            (b"exit", b"exits"),
            (b"always", b"works"),
        ]
    )
    assert work.run("fail", *QUICK).wait() == 0
    letters = dead_letters(work.servers, work.topic)
    assert set(letters) == {b"always", b"never", b"exit"}
    always, never = letters[b"always"], letters[b"never"]
    assert always.value() == b"fails always"
    assert header_pairs(always)[:3] == headers
    told = header_texts(always)
    assert told["dlq-attempts"] == "3"
    assert told["dlq-error-type"] == "builtins.ValueError"
    assert told["dlq-error-message"] == "no use"
    assert (told["dlq-topic"], told["dlq-group"]) == (work.topic, work.group)
    assert (int(told["dlq-partition"]), int(told["dlq-offset"])) == work.places[2][1:]
    assert abs(int(told["dlq-failed-at"]) / 1000 - time.time()) < 60
    assert int(told["dlq-timestamp"]) <= int(told["dlq-failed-at"])
    assert header_texts(never)["dlq-attempts"] == "1"
    assert header_texts(never)["dlq-error-type"] == "processor.Reject"
    assert header_texts(letters[b"exit"])["dlq-error-type"] == "builtins.SystemExit"
    given_up = [place for place, entry in zip(work.places, range(6), strict=True) if entry in (2, 3, 4)]
    assert work.faults(given_up) == {}
    work.wait_lag(0)


def test_undecodable_bytes_are_dead_lettered_unchanged(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"bad", b"{no json"), (b"bad", b'{"payload": 1}'), (b"empty", b""), (b"gone", None)])
    assert work.run("note", "--stop-at-end", "--value-format", "json").wait() == 0
    letters = dead_letters(work.servers, work.topic)
    assert {key: letter.value() for key, letter in letters.items()} == {b"bad": b"{no json", b"empty": b""}
    assert header_texts(letters[b"bad"])["dlq-attempts"] == "0"
    assert work.faults([work.places[0], work.places[2]]) == {}
    work.wait_lag(0)


def test_a_result_is_written_before_its_task_settles(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"s%d" % (n % 7), b"v%d" % n) for n in range(200)])
    results = f"{work.topic}-results"
    assert work.run("upper", "--stop-at-end", "--results-topic", results).wait() == 0
    found = cluster.read_all(work.servers, results)
    assert sorted(message.value() or b"" for message in found) == sorted(b"V%d" % n for n in range(200))
    assert {message.key() for message in found} == {b"s%d" % n for n in range(7)}
    assert work.faults() == {}
    work.wait_lag(0)


def test_a_dead_letter_that_cannot_be_written_blocks_only_its_session(scenario: MakeScenario) -> None:
    """The topic accepts no record of that size: the task stays unsettled, is reported, and is not lost."""
    work = scenario(partitions=1)
    small = cluster.create_topic(work.servers, f"{work.topic}-small", 1, max_message_bytes=100)
    work.produce([(b"bad", b"fails always"), (b"bad", b"works")])
    work.produce_sessions(100, 10)
    options = ("--backoff", "0.05", "-w", "8", "--dead-letter-topic", small, "--drain-timeout", "2")
    fleet = work.run("fail", *options)
    work.wait_done(100)
    fleet.wait_for("task.delivery_failed", target_topic=small)
    assert fleet.stop(90) == 3
    first = cluster.committed(work.servers, work.group, work.topic)[0]
    assert first.offset == 0
    assert work.run("note", *options, "--stop-at-end").wait() == 0
    entries = work.ledger.entries()
    assert {entry.place for entry in entries if entry.succeeded} == set(work.places)
    work.wait_lag(0)


def test_a_handler_that_cannot_be_stopped_is_dead_lettered_and_its_process_replaced(scenario: MakeScenario) -> None:
    work = scenario(partitions=2)
    work.produce([(b"stuck", b"first"), (b"stuck", b"second")])
    work.produce_sessions(100, 10)
    fleet = work.run("stick_once", "-w", "4", "--timeout", "1")
    fleet.wait_for("task.stuck", session_id=hashed("stuck"))
    work.wait_done(101)
    work.wait_lag(0)
    assert fleet.stop() == 0
    letter = dead_letters(work.servers, work.topic)[b"stuck"]
    assert header_texts(letter)["dlq-error-type"] == "processor.HandlerStuck"
    entries = [entry for entry in work.ledger.entries() if entry.session == "stuck"]
    assert len({entry.pid for entry in entries}) == 2, "the second task ran in the process of the stuck first one"
    work.wait_lag(0)


def test_a_python_handler_is_interrupted_at_its_deadline(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"loop", b""), (b"other", b"")])
    fleet = work.run("loop", *QUICK, "--timeout", "0.5", "--max-attempts", "2")
    assert fleet.wait() == 0
    letter = dead_letters(work.servers, work.topic)[b"loop"]
    assert header_texts(letter)["dlq-error-type"] == "processor.TaskTimeout"
    assert header_texts(letter)["dlq-attempts"] == "2"
    assert not fleet.heard("task.stuck")
    work.wait_lag(0)


def test_an_async_handler_is_cancelled_at_its_deadline(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"loop", b""), (b"other", b"")])
    # A second attempt is for the other task, which a machine that stands still may keep over its time, too.
    assert work.run("loop_async", *QUICK, "--timeout", "0.5", "--max-attempts", "2").wait() == 0
    letter = dead_letters(work.servers, work.topic)[b"loop"]
    assert header_texts(letter)["dlq-error-type"] == "processor.TaskTimeout"
    assert {entry.place for entry in work.ledger.entries() if entry.succeeded} == {
        Place(*place) for place in work.places[1:]
    }
    work.wait_lag(0)


def test_an_unknown_task_name_is_dead_lettered_with_the_known_names(scenario: MakeScenario) -> None:
    work = scenario()
    work.produce([(b"a", b"", [("task-name", b"charge")]), (b"b", b"", [("task-name", b"chrage")])])
    assert work.run("named", *QUICK).wait() == 0
    (letter,) = dead_letters(work.servers, work.topic).values()
    told = header_texts(letter)
    assert told["dlq-error-type"] == "processor.UnknownTask"
    assert "'chrage'" in told["dlq-error-message"]
    assert "'charge'" in told["dlq-error-message"]
    work.wait_lag(0)

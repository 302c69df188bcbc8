from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.cli.output import NotesConsole, SendProgress
from processor.cli.produce import task_lines
from processor.cli.produce.command import Sending, Signals
from processor.cli.produce.tally import Tally
from processor.cli.produce.task_lines import BadLine, TaskLine, TaskLines, step_of
from processor.codec.select import codec_for
from processor.handlers.links import read_plan
from processor.handlers.steps import Group, Step, group
from processor.kafka.config import producer_config
from processor.kafka.delivery_future import DeliveryFuture
from processor.kafka.polled_producer import PolledProducer
from tests.conftest import MakeBroker, MakeTopic, Wired
from tests.support import cluster
from tests.support.broker import Broker
from tests.support.kafka_jars import PROJECT
from tests.support.lifeline import die_with_parent
from tests.support.until import until

SECONDS = 60.0


def line(number: int, **more: Any) -> str:
    return json.dumps({"session_id": f"s{number % 10}", "name": "charge", "payload": {"n": number}, **more}) + "\n"


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PROCESSOR_")}
    return subprocess.Popen(
        [sys.executable, "-m", "processor", "produce", *arguments],
        env={**environment, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"},
        preexec_fn=die_with_parent(),
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, **options},
    )


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    child = start(*arguments)
    out, err = child.communicate(text, timeout=SECONDS)
    assert "Traceback" not in err
    return child.returncode, out, err


def to(broker: Broker, topic: str, *more: str) -> tuple[str, ...]:
    return ("-b", broker.bootstrap_servers, "-t", topic, *more)


@pytest.mark.parametrize("value_format", ["avro", "json"])
def test_a_file_is_sent_whole_and_each_session_in_order(
    broker: Broker, topic: MakeTopic, tmp_path: Path, value_format: Any
) -> None:
    name, file = topic(4), tmp_path / "tasks.jsonl"
    file.write_text("".join(line(number) for number in range(3_000)))
    code, out, err = run(str(file), *to(broker, name, "--value-format", value_format))
    assert (code, err) == (0, "")
    assert f"3,000 tasks to {name}" in out
    assert "each session's order as sent: kept" in out
    codec, by_session = codec_for(value_format), dict[bytes | None, list[int]]()
    for record in cluster.read_all(broker.bootstrap_servers, name):
        content = codec.decode(record)  # type: ignore[arg-type]
        assert content.name == "charge"
        by_session.setdefault(record.key(), []).append(content.payload["n"])
    assert by_session == {f"s{n}".encode(): list(range(n, 3_000, 10)) for n in range(10)}


def test_standard_input_is_sent_with_ids_and_headers(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    text = line(1, id="one", headers={"source": "till", "none": None}) + "\n  \n" + line(2)
    code, out, err = run("-", *to(broker, name, "--value-format", "json"), text=text)
    assert (code, err) == (0, "")
    assert "sent        2 tasks" in out
    first, second = cluster.read_all(broker.bootstrap_servers, name)
    assert first.headers() == [("source", b"till"), ("none", None)]
    assert json.loads(first.value() or b"") == {
        "id": "one",
        "session_id": "s1",
        "name": "charge",
        "payload": {"n": 1},
    }
    assert second.headers() is None


def test_terms_become_headers_and_those_that_cannot_be_used_are_a_bad_line(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    text = line(0, priority=9, not_before="2026-12-01T08:00:00+01:00", expires=1_796_108_400_001, headers={"a": "b"})
    text += line(1, priority=10) + line(2, delay=60, not_before=1) + line(3, delay=60, expires_in=90.5)
    began = time.time()
    code, _, err = run(*to(broker, name, "--value-format", "json"), text=text)
    assert code == 1
    assert err.splitlines() == [
        "line 2: priority must be an integer from 0 to 9, not 10",
        "line 3: either not_before or delay, not both",
    ]
    first, second = (dict(record.headers() or ()) for record in cluster.read_all(broker.bootstrap_servers, name))
    assert first == {
        "a": b"b", "task-priority": b"9", "task-not-before": b"1796108400000", "task-expires": b"1796108400001",
    }  # fmt: skip
    begin, end = (int(second[header] or 0) / 1000 for header in ("task-not-before", "task-expires"))
    assert began + 60 - 1 <= begin <= time.time() + 60 + 1
    assert end - begin == pytest.approx(30.5, abs=1)


def test_bytes_are_the_payloads_text_with_name_and_id_in_headers(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    lines = [
        json.dumps({"session_id": "s", "payload": "ä\u0000", "name": "n", "id": "i"}),
        json.dumps({"session_id": "s", "payload": None}),
        json.dumps({"session_id": "s", "payload": {"no": "text"}}),
    ]
    code, _, err = run(*to(broker, name, "--value-format", "bytes"), text="\n".join(lines))
    assert code == 1
    assert err.startswith("line 3: ")
    told, empty = cluster.read_all(broker.bootstrap_servers, name)
    assert told.value() == "ä\u0000".encode()
    assert dict(told.headers() or ()) == {"task-id": b"i", "task-name": b"n"}
    assert empty.value() is None


def test_bad_lines_are_reported_by_number_and_the_others_are_sent(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    text = line(0) + "nonsense\n" + line(1) + '{"session_id": "s", "payload": 1, "colour": 2}\n' + line(2)
    code, out, err = run(*to(broker, name), text=text)
    assert code == 1
    assert [told.split(":")[0] for told in err.splitlines()] == ["line 2", "line 4"]
    assert "colour" in err
    assert "sent        3 tasks" in out
    assert "bad lines   2, not sent" in out
    assert len(cluster.read_all(broker.bootstrap_servers, name)) == 3


@pytest.mark.parametrize(("lines", "rest"), [(1_025, "and 1,005 more bad lines"), (21, "and 1 more bad line")])
def test_only_the_first_twenty_bad_lines_are_reported(broker: Broker, topic: MakeTopic, lines: int, rest: str) -> None:
    code, _, err = run(*to(broker, topic(1)), text="x\n" * lines)
    assert code == 1
    assert err.splitlines()[19].startswith("line 20:")
    assert err.splitlines()[20:] == [rest]


def test_nothing_to_send_is_a_success(broker: Broker, topic: MakeTopic) -> None:
    code, out, err = run(*to(broker, topic(1)))
    assert (code, err) == (0, "")
    assert "sent        0 tasks" in out


def test_a_task_that_the_broker_refuses_is_counted_with_the_reason(broker: Broker, topic: MakeTopic) -> None:
    text = line(0) + line(1, payload="x" * 2_000_000) + line(2)
    code, out, err = run(*to(broker, topic(1)), text=text)
    assert code == 1
    assert "not delivered: 1 task; the first:" in err
    assert "too large" in err
    assert "sent        2 tasks" in out


@pytest.mark.parametrize("limit", [20_000, 1_000])
def test_a_burst_of_tasks_is_sent_in_batches_that_the_topic_takes(broker: Broker, topic: MakeTopic, limit: int) -> None:
    name = topic(1, max_message_bytes=limit)
    code, _, err = run(*to(broker, name, "--value-format", "json"), text="".join(line(n) for n in range(2_000)))
    assert (code, err) == (0, "")
    assert len(cluster.read_all(broker.bootstrap_servers, name)) == 2_000


def test_a_missing_broker_is_reported_within_about_ten_seconds_in_one_line() -> None:
    began = time.monotonic()
    assert run("-t", "t", "-X", "no.such.key=1")[0] == 2
    start_seconds = time.monotonic() - began  # of the program alone
    started = time.monotonic()
    code, out, err = run("-b", "127.0.0.1:1", "-t", "t")
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "no broker responds at 127.0.0.1:1" in err
    assert time.monotonic() - started < 15 + 3 * start_seconds


def test_a_topic_that_the_broker_does_not_create_is_named(own_broker: MakeBroker) -> None:
    broker = own_broker({"auto.create.topics.enable": "false"})
    missing = f"missing-{uuid.uuid4().hex[:8]}"
    code, out, err = run(*to(broker, missing))
    assert (code, out, len(err.splitlines())) == (5, "", 1)
    assert missing in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/no/such/file", "-t", "t"], "/no/such/file"),
        (["/", "-t", "t"], "directory"),
        (["-t", "no topic"], "no topic"),
        (["-t", "t", "-X", "acks=1"], "acks"),
        (["-t", "t", "-X", "no.such.key=1"], "no.such.key"),
        (["-t", "t", "-b", ""], "--bootstrap-servers"),
        ([], "--topic"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert said in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_reading_and_submitted_tasks_arrive(
    broker: Broker, topic: MakeTopic, number: signal.Signals, code: int
) -> None:
    name = topic(1)
    child = start(*to(broker, name))
    assert child.stdin is not None
    child.stdin.write(line(0) + line(1))
    child.stdin.flush()
    until(lambda: len(cluster.read_all(broker.bootstrap_servers, name)) == 2)
    child.send_signal(number)
    assert child.wait(SECONDS) == code
    assert child.stdout is not None
    assert child.stderr is not None
    assert "sent        2 tasks" in child.stdout.read()
    assert child.stderr.read() == ""
    for stream in (child.stdin, child.stdout, child.stderr):
        stream.close()


def test_a_reader_of_the_summary_that_has_left_causes_no_failure(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    reading, writing = os.pipe()
    child = start(*to(broker, name), stdout=writing)
    os.close(writing)
    os.close(reading)
    _, err = child.communicate(line(0), timeout=SECONDS)
    assert (child.returncode, err) == (0, "")
    assert len(cluster.read_all(broker.bootstrap_servers, name)) == 1


@pytest.mark.parametrize("stderr", ["a pipe whose reader has left", "a full disk"])
def test_bad_lines_that_cannot_be_reported_do_not_stop_the_others(
    broker: Broker, topic: MakeTopic, stderr: str
) -> None:
    name = topic(1)
    reading, writing = os.pipe()
    if stderr == "a full disk":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writing)
    child = start(*to(broker, name), stderr=writing)
    os.close(reading)
    os.close(writing)
    out, _ = child.communicate("".join("not JSON\n" + line(number) for number in range(300)), timeout=SECONDS)
    assert f"sent        300 tasks to {name}" in out
    assert "bad lines   300, not sent" in out
    assert child.returncode == 1
    assert len(cluster.read_all(broker.bootstrap_servers, name)) == 300


def test_a_summary_that_cannot_be_written_after_bad_lines_leaves_the_exit_code(
    broker: Broker, topic: MakeTopic
) -> None:
    """As in `processor produce … 2>&1 | head -1`."""
    name = topic(1)
    reading, writing = os.pipe()
    child = start(*to(broker, name), stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    child.communicate("not JSON\n" + line(0), timeout=SECONDS)
    assert child.returncode == 1
    assert len(cluster.read_all(broker.bootstrap_servers, name)) == 1


def test_a_writer_that_dies_within_a_line_leaves_that_line_bad_and_the_others_sent(
    broker: Broker, topic: MakeTopic
) -> None:
    name = topic(1)
    code, out, err = run(*to(broker, name), text=line(0) + line(1) + line(2)[:20])
    assert code == 1
    assert err.startswith("line 3: JSON that ends too early")
    assert "sent        2 tasks" in out


def test_progress_is_for_terminals_only(broker: Broker, topic: MakeTopic, tmp_path: Path) -> None:
    name, file = topic(1), tmp_path / "tasks.jsonl"
    file.write_text("".join(line(number) for number in range(20_000)))
    ours, theirs = pty.openpty()
    child = start(str(file), *to(broker, name), stderr=theirs)
    os.close(theirs)
    shown = b"".join(_pieces(ours))
    out, _ = child.communicate(timeout=SECONDS)
    os.close(ours)
    assert b"tasks," in shown
    assert "tasks," not in out
    assert child.returncode == 0


def _pieces(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # as Linux tells that the other side of a terminal is closed
            return
        if not piece:
            return
        yield piece


def read(text: bytes, value_format: Any = "json") -> list[TaskLine | BadLine]:
    return list(TaskLines(io.BytesIO(text), value_format))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"payload": 1}', "session_id is missing"),
        (b'{"session_id": "s"}', "payload is missing"),
        (b'{"session_id": "", "payload": 1}', "session_id must not be empty"),
        (b'{"session_id": 1, "payload": 1}', "session_id must be text, not an integer"),
        (b'{"session_id": "s", "payload": 1, "name": null}', "name must be text, not null"),
        (b'{"session_id": "s", "payload": 1, "headers": {"a": 1}}', "headers[…] must be text or null, not an integer"),
        (b'{"session_id": "s", "payload": 1, "then": {"payload": 1}}', "then.session_id is missing"),
        (b'{"session_id": "s", "payload": 1, "then": {"session_id": "s", "payload": 1, "id": "x"}}', "member then.id"),
        (b'{"group": []}', "group must not be empty"),
        (b'{"group": {"session_id": "s", "payload": 1}}', "group must be an array or null, not an object"),
        (b'{"group": [{"session_id": "s"}]}', "group[0].payload is missing"),
        (b'{"group": [{"group": [{"payload": 1}]}]}', "group[0].group[0].session_id is missing"),
        (
            b'{"group": [{"session_id": "s", "payload": 1}], "name": "n"}',
            "name is for a task, and beside group there is",
        ),
        (b'{"group": [{"session_id": "s", "payload": 1}], "payload": 1}', "payload is for a task"),
        (
            b'{"session_id": "s", "payload": 1, "then": {"group": [{"payload": 1}]}}',
            "then.group[0].session_id is missing",
        ),
        (b'{"session_id": "s", "payload": 1, "headers": []}', "headers must be an object or null, not an array"),
        (b'{"session_id": "s", "payload": 1, "nmae": "n"}', "unknown member nmae"),
        (b'{"session_id": "s", "payload": 1, "priority": "high"}', "priority must be an integer, not text"),
        (b'{"session_id": "s", "payload": 1, "delay": "1h"}', "delay must be a number or null, not text"),
        (b'{"session_id": "s", "payload": 1e999}', "payload: number out of range"),
        (b'{"session_id": "s", "payload": NaN}', "not valid JSON: invalid character at byte 31"),
        (b'{"session_id": "s",}', "not valid JSON: trailing comma in object at byte 19"),
        (b'{"session_id": "s", "payload": 1', "ends too early"),
        (b'{"session_id": "s", "payload": "\xff"}', "UTF-8"),
        (b'{"session_id": "\\ud800", "payload": 1}', "surrogate"),
        (b'{"session_id": "s", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b"[]", "the line must be an object, not an array"),
        (b'{"session_id": "s", "payload": 1} {}', "not valid JSON: trailing characters at byte 35"),
    ],
)
def test_the_fault_of_a_line_is_reported(text: bytes, said: str) -> None:
    (bad,) = read(text)
    assert isinstance(bad, BadLine)
    assert said in bad.reason


def follows(text: str, value_format: Any = "json") -> Step | Group:
    (task,) = TaskLines(io.BytesIO(text.encode()), value_format)
    assert isinstance(task, TaskLine)
    return step_of(task)


def test_a_line_may_contain_a_chain_of_follow_up_tasks() -> None:
    last = {"session_id": "c", "payload": 3, "delay": 5, "headers": {"x": "1"}}
    then = {"session_id": "b", "payload": 2, "name": "pack", "topic": "other", "priority": 2, "then": last}
    assert follows(line(7, id="o-7", expires_in=9, then=then)) == Step(
        "s7", {"n": 7}, "charge", id="o-7", expires_in=9.0
    ).then(Step("b", 2, "pack", topic="other", priority=2)).then(Step("c", 3, delay=5.0, headers={"x": "1"}))


def test_a_line_may_be_a_group_and_what_follows_from_it() -> None:
    last = {"group": [{"session_id": "d", "payload": 4}], "then": {"session_id": "e", "payload": 5}}
    chain = {"session_id": "b", "payload": 2, "topic": "other", "then": {"session_id": "c", "payload": 3}}
    text = json.dumps({"group": [{"session_id": "a", "payload": 1}, chain], "id": "g", "expires_in": 9, "then": last})
    branches = [Step("a", 1), Step("b", 2, topic="other").then(Step("c", 3))]
    assert follows(text) == group(branches, id="g", expires_in=9.0).then(group([Step("d", 4)])).then(Step("e", 5))


def test_a_group_may_follow_a_task_in_a_line() -> None:
    text = '{"session_id": "a", "payload": "x", "then": {"group": [{"session_id": "b", "payload": null}]}}'
    assert follows(text, "bytes") == Step("a", "x").then(group([Step("b", None)]))


def test_what_follows_has_text_as_its_payload_where_values_are_bytes() -> None:
    text = '{"session_id": "a", "payload": "x", "then": {"session_id": "b", "payload": %s}}'
    assert follows(text % '"y"', "bytes") == Step("a", "x").then(Step("b", "y"))
    (bad,) = TaskLines(io.BytesIO((text % "{}").encode()), "bytes")
    assert isinstance(bad, BadLine)
    assert "then.payload must be text" in bad.reason


def test_lines_with_what_follows_are_sent_and_bad_ones_reported(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)
    then = {"session_id": "b", "payload": 2}
    lines = [line(1, then=then), line(2, then={**then, "delay": -1}), line(3, then={**then, "payload": "x" * 300_000})]
    code, out, err = run(*to(broker, name, "--value-format", "json"), text="".join(lines))
    assert code == 1
    assert "sent        1 task" in out
    assert [told.split(":")[0] for told in err.splitlines()] == ["line 2", "line 3"]
    assert "delay must be" in err
    assert "what follows from the task is too large" in err
    (record,) = cluster.read_all(broker.bootstrap_servers, name)
    headers: dict[str, Any] = dict(record.headers() or ())
    assert [planned.key for planned in read_plan(headers["task-then"])] == ["b"]


def test_groups_of_several_lines_are_in_order_in_whatever_partitions_they_are(broker: Broker, topic: MakeTopic) -> None:
    name = topic(4)
    lines = [json.dumps({"group": [{"session_id": f"s{n}", "payload": n}], "id": f"g{n}"}) for n in range(8)]
    code, out, err = run(*to(broker, name, "--value-format", "json"), text="\n".join(lines))
    assert (code, err) == (0, "")
    assert "sent        8 tasks" in out
    assert len({record.partition() for record in cluster.read_all(broker.bootstrap_servers, name)}) > 1


def test_groups_that_are_nested_too_deeply_are_bad_lines_and_the_others_are_sent(
    broker: Broker, topic: MakeTopic
) -> None:
    name, depths = topic(1), (*range(150, 500, 50), 5_000)
    deep = ['{"group": [' * depth + '{"session_id": "s", "payload": 1}' + "]}" * depth for depth in depths]
    code, out, err = run(*to(broker, name, "--value-format", "json"), text="\n".join([*deep, line(1)]))
    assert code == 1
    bad = err.splitlines()
    assert bad[-1].startswith(f"line {len(deep)}: ")
    assert all("nested too deeply" in reason for reason in bad)
    assert f"sent        {1 + len(deep) - len(bad)} task" in out


def test_a_hostile_member_neither_moves_the_cursor_nor_fills_the_screen() -> None:
    (bad,) = read(json.dumps({"\x1b[2J" + "x" * 10_000: 1}).encode())
    assert isinstance(bad, BadLine)
    assert bad.reason.isprintable()
    assert len(bad.reason) < 300


def test_line_ends_blank_lines_and_a_byte_order_mark_are_no_content() -> None:
    good = b'{"session_id": "s", "payload": 1}'
    lines = TaskLines(io.BytesIO(b"\xef\xbb\xbf" + good + b"\r\n\r\n \n" + good), "json")
    assert list(lines) == [TaskLine("s", 1), TaskLine("s", 1)]
    assert lines.number == 4


def test_a_line_too_long_for_memory_is_bad_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_lines, "LINE_BYTES", 64)
    good = b'{"session_id": "s", "payload": 1}\n'
    text = good + b"x" * 1_000 + b"\n" + good
    lines = TaskLines(io.BytesIO(text), "json")
    first, long, last = lines
    assert isinstance(long, BadLine)
    assert first == last == TaskLine("s", 1)
    assert (lines.number, lines.bytes_read) == (3, len(text))


def test_numbers_of_any_size_stay_what_they_are() -> None:
    (task,) = read(b'{"session_id": "s", "payload": 123456789012345678901234567890}')
    assert isinstance(task, TaskLine)
    assert task.payload == 123456789012345678901234567890


@pytest.mark.parametrize("code", [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.DUPLICATE_SEQUENCE_NUMBER])
def test_a_client_ended_by_a_broker_fails_only_the_tasks_that_it_had(wired: Wired, group: str, code: int) -> None:
    """What the wire takes for a repeat was never sent to the broker, which makes the next one out of order."""
    servers = wired.broker.bootstrap_servers
    name = cluster.create_topic(servers, group, 1)
    before = wired.wire.refused_records
    child = start("-b", wired.wire.address, "-t", name, "--value-format", "json", "-")
    assert child.stdin is not None
    try:
        for part in range(3):
            child.stdin.write("".join(line(part * 10 + number) for number in range(10)))
            child.stdin.flush()
            if part == 0:
                until(lambda: cluster.end_offsets(servers, name) == {0: 10}, "the first part is sent")
                wired.wire.refused_topics[name] = code
            if part == 1:
                until(lambda: wired.wire.refused_records > before, "the second part is refused")
                wired.wire.refused_topics.clear()
    finally:
        wired.wire.refused_topics.clear()
    out, err = child.communicate(timeout=SECONDS)
    numbers = [json.loads(r.value() or b"")["payload"]["n"] for r in cluster.read_all(servers, name)]
    assert numbers[:10] == list(range(10))
    assert "Traceback" not in err
    assert "the Kafka client failed" in err
    assert child.returncode == 1
    assert "out of order sequence number" in err
    if code != KafkaError.DUPLICATE_SEQUENCE_NUMBER:  # the client makes offsets up for those
        assert "order       each session's order as sent: kept" in out


class Full:
    """A dispatcher without room for a task, since no broker responds. Meanwhile two signals arrive."""

    flushes = 0

    def submit(self, *_: Any, **__: Any) -> DeliveryFuture:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the second signal ends the wait for room")

    def flush(self, _seconds: float) -> int:
        self.flushes += 1
        return 1 if self.flushes < 100 else 0


def test_after_a_second_signal_nothing_is_waited_for() -> None:
    dispatcher = Full()
    with Signals() as signals, SendProgress(NotesConsole(), None) as progress:
        sending = Sending(TaskLines(io.BytesIO(line(1).encode()), "json"), dispatcher, signals)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            sending.run(progress)
    assert (dispatcher.flushes, sending.exit_code) == (0, 143)


class Report:
    """A delivery report's message."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


def future() -> DeliveryFuture:
    return DeliveryFuture(PolledProducer(producer_config("127.0.0.1:1", {}), print, "unopened", "it was closed"))


def tallied(*places: tuple[str | None, int, int]) -> Tally:
    tally = Tally()
    for session, partition, offset in places:
        sent = future()
        tally.sent(session, sent)
        sent.on_delivery(None, Report(partition, offset))  # type: ignore[arg-type]
    tally.settle()
    return tally


def test_the_tally_counts_tasks_sessions_and_partitions() -> None:
    tally = tallied(("a", 0, 5), ("b", 1, 2), ("a", 0, 6), ("c", 0, 9))
    assert (tally.delivered, tally.sessions, tally.partitions) == (4, 3, 2)
    assert tally.disorder is None


def test_the_tally_detects_an_order_that_was_not_kept() -> None:
    assert "offset 4 after 5" in str(tallied(("a", 0, 5), ("a", 0, 4)).disorder)


def test_the_tally_detects_a_session_that_changed_its_partition() -> None:
    assert "session 'a'" in str(tallied(("a", 0, 5), ("a", 1, 6)).disorder)


def test_the_records_of_groups_belong_to_no_session() -> None:
    tally = tallied((None, 0, 5), (None, 1, 6), ("a", 1, 7))
    assert (tally.delivered, tally.sessions, tally.partitions, tally.disorder) == (3, 1, 2, None)
    assert "offset 4 after 5" in str(tallied((None, 0, 5), (None, 0, 4)).disorder)


def test_the_tally_detects_failures_that_make_continuing_useless() -> None:
    for codes, expected in (
        ([KafkaError.MSG_SIZE_TOO_LARGE], False),
        ([KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._MSG_TIMED_OUT], True),
        ([KafkaError.TOPIC_AUTHORIZATION_FAILED], True),
    ):
        tally = Tally()
        for code in codes:
            sent = future()
            sent.on_delivery(KafkaError(code), Report(0, -1))  # type: ignore[arg-type]
            tally.sent("a", sent)
        assert (tally.shut_out, tally.undelivered) == (expected, len(codes))

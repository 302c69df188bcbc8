"""Tasks that follow from tasks, in a real consumer: when they are sent, what they carry, and what a failure does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from processor import BatchError, Processor
from processor.engine.record import Headers, Record
from processor.handlers.exceptions import Reject
from processor.handlers.links import Planned, read_inputs, read_plan, write_plan
from processor.handlers.task import Task
from processor.runtime import outbox
from processor.runtime.ports import Content
from processor.telemetry.events import ConsumerStats, TaskDeadLettered, TaskDeliveryFailed
from processor.testing.memory.cluster import MemoryRecord
from tests.runtime.fakes import PARTITION, POISON, FakeCodec
from tests.runtime.gate import KINDS
from tests.runtime.running import RunningConsumer
from tests.support.scripted_kafka import Sent
from tests.support.until import until

SHIP = Planned("parcels", b"ship it", [("task-name", b"ship")], "next")
NOTIFY = Planned("mail", b"tell", [("task-name", b"notify")], "next")


def record(offset: int, *plan: Planned, key: bytes | None = b"s", headers: Sequence[tuple[str, bytes]] = ()) -> Any:
    """A record whose task is followed by these."""
    links: Headers = [("task-then", write_plan(plan))] if plan else []
    return MemoryRecord(PARTITION, offset, key, b"charge", [*headers, *links])


def of_kind(kind: str, function: Callable[[Task], Any]) -> Callable[[Task], Any]:
    async def as_coroutine(task: Task) -> Any:
        await asyncio.sleep(0)
        return function(task)

    return function if kind == "plain" else as_coroutine


def noting(ran: list[int]) -> Callable[[Task], bytes]:
    def note(task: Task) -> bytes:
        ran.append(task.offset)
        return b"r"

    return note


def reject(task: Task) -> None:
    raise Reject("the card has expired")


def sent_by(handler: Any, *records: MemoryRecord, **options: Any) -> list[Sent]:
    """Return what a consumer has sent once these records are settled."""
    with RunningConsumer(handler, **options) as run:
        run.push(*records)
        until(lambda: run.commit_point() == len(records))
        assert run.stop().exit_code == 0
    return run.sink.sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [{"cents": 5}, None, b"\xff"])
def test_the_next_task_is_sent_with_what_its_predecessor_returned(kind: str, value: Any) -> None:
    (sent,) = sent_by(of_kind(kind, lambda task: value), record(0, SHIP))
    assert (sent.topic, sent.key, sent.value) == ("next", b"parcels", b"ship it")
    assert read_inputs(sent.headers.pop("task-inputs")) == [value]
    assert sent.headers == {"task-name": b"ship", "task-id": b"t-0-0/1"}


def test_what_is_left_of_a_chain_goes_with_its_next_task() -> None:
    (sent,) = sent_by(lambda task: 1, record(0, SHIP, NOTIFY, Planned("z")))
    assert read_plan(sent.headers["task-then"]) == [NOTIFY, Planned("z")]


def test_a_chain_stays_in_its_topic_and_runs_to_its_end() -> None:
    seen: list[tuple[str, str, list[Any]]] = []

    def note(task: Task) -> int:
        seen.append((task.id, task.session_id, task.inputs))
        return len(seen)

    with RunningConsumer(note) as run:
        run.push(record(0, Planned("a"), Planned("b"), Planned("s")))
        until(lambda: run.commit_point() == 4)
    assert seen == [
        ("t-0-0", "s", []), ("t-0-0/1", "a", [1]), ("t-0-0/1/1", "b", [2]), ("t-0-0/1/1/1", "s", [3])
    ]  # fmt: skip


def test_the_id_of_a_task_that_follows_derives_from_that_of_its_predecessor() -> None:
    sent = sent_by(lambda task: 1, record(0, SHIP, headers=[("task-id", b"order-7")]), record(1, SHIP))
    assert {each.headers["task-id"] for each in sent} == {b"order-7/1", b"t-0-1/1"}


def test_delays_count_from_when_the_task_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.handlers.terms.time.time_ns", lambda: 1_000_000_000_000)
    later = Planned("s", None, [("task-priority", b"7")], "next", delay=60, expires_in=90)
    (sent,) = sent_by(lambda task: 1, record(0, later))
    terms = {name: sent.headers[f"task-{name}"] for name in ("priority", "not-before", "expires")}
    assert terms == {"priority": b"7", "not-before": b"1060000", "expires": b"1090000"}


def test_a_task_that_follows_is_of_its_predecessors_trace_unless_it_has_its_own() -> None:
    trace = [("traceparent", b"parent"), ("tracestate", b"state"), ("other", b"1")]
    own = Planned("s", None, [("traceparent", b"own")], "next")
    first, second = sent_by(lambda task: 1, record(0, SHIP, headers=trace), record(1, own, headers=trace))
    assert (first.headers["traceparent"], first.headers["tracestate"]) == (b"parent", b"state")
    assert second.headers["traceparent"] == b"own"
    assert "tracestate" not in second.headers
    assert "other" not in first.headers


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_sees_what_its_predecessors_returned(kind: str) -> None:
    seen: list[list[Any]] = []
    inputs = ("task-inputs", b'[{"json": {"cents": 5}}, {"base64": "/w=="}, {"json": null}]')
    assert sent_by(of_kind(kind, lambda task: seen.append(task.inputs)), record(0, headers=[inputs]), record(1)) == []
    assert seen == [[{"cents": 5}, b"\xff", None], []]


def test_a_session_waits_until_its_task_and_what_follows_are_acknowledged() -> None:
    """Otherwise a crash in between would lose the task that follows."""
    ran: list[int] = []

    with RunningConsumer(noting(ran), results_topic="r") as run:
        run.sink.holding = True
        run.push(record(0, SHIP), record(1))
        until(lambda: len(run.sink.held) == 2)
        assert [each.topic for each in run.sink.sent] == ["r", "next"]
        run.sink.held.pop(0)(None)
        run.push(record(2, key=b"other"))
        until(lambda: len(run.sink.held) == 2)  # what follows, and the result of the other session
        assert ran == [0, 2]
        assert run.commit_point() in (None, 0)
        run.sink.acknowledge()
        until(lambda: run.commit_point() == 3)
        run.stop()
    assert ran[-1] == 1
    stats = run.of(ConsumerStats)[-1]
    assert (stats.results, stats.succeeded) == (3, 3)


def test_a_task_that_follows_does_not_count_as_a_result_in_the_statistics() -> None:
    with RunningConsumer(lambda task: 1) as run:
        run.push(record(0, SHIP))
        until(lambda: run.commit_point() == 1)
        run.stop()
    stats = run.of(ConsumerStats)[-1]
    assert (stats.results, stats.succeeded, stats.dead_lettered) == (0, 1, 0)


def test_a_refused_follow_up_task_is_sent_again_without_running_its_predecessor_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "FIRST_RESEND_SECONDS", 0.02)
    ran: list[int] = []
    with RunningConsumer(noting(ran), results_topic="r") as run:
        run.sink.refusals, run.sink.refused_topic = 2, "next"
        run.push(record(0, SHIP))
        until(lambda: run.commit_point() == 1)
        run.stop()
    assert ran == [0]
    assert [each.topic for each in run.sink.sent] == ["r", "next"]
    assert [event.target_topic for event in run.of(TaskDeliveryFailed)] == ["next", "next"]


@pytest.mark.parametrize("value", [object(), "x" * 300_000])
def test_a_value_that_cannot_be_an_input_makes_a_dead_letter_with_all_that_was_to_follow(value: Any) -> None:
    letter, unmet = sent_by(lambda task: value, record(0, SHIP))
    assert letter.headers["dlq-error-type"] == b"processor.errors.EncodeError"
    assert unmet.headers["dlq-error-type"] == b"processor.DependencyFailed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_letter_keeps_what_follows_and_each_of_those_is_a_dead_letter_that_names_it(kind: str) -> None:
    elsewhere = Planned("z", b"z", topic="other")
    given = record(0, SHIP, elsewhere, headers=[("task-id", b"order-7")])
    letter, ship, last = sent_by(of_kind(kind, reject), given, group="g")
    assert {each.topic for each in (letter, ship, last)} == {"t.dlq"}
    assert (letter.headers["dlq-error-type"], letter.headers["task-then"]) == (
        b"processor.Reject",
        given.headers()[1][1],
    )
    failed_at = ship.headers["dlq-failed-at"]
    assert ship[1:] == (
        b"parcels",
        b"ship it",
        {
            "task-name": b"ship",
            "task-id": b"order-7/1",
            "task-after": b"order-7",
            "dlq-topic": b"next",
            "dlq-partition": b"-1",
            "dlq-offset": b"-1",
            "dlq-timestamp": b"-1",
            "dlq-group": b"g",
            "dlq-attempts": b"0",
            "dlq-error-type": b"processor.DependencyFailed",
            "dlq-error-message": b"the task 'order-7', from which it follows, is a dead letter: "
            b"replay that one, and this one follows",
            "dlq-failed-at": failed_at,
        },
    )
    assert (last.key, last.headers["dlq-topic"], last.headers["task-id"]) == (b"z", b"other", b"order-7/1/1")


def test_a_task_settles_when_all_its_dead_letters_are_acknowledged() -> None:
    with RunningConsumer(reject) as run:
        run.sink.holding = True
        run.push(record(0, SHIP, NOTIFY))
        until(lambda: len(run.sink.held) == 3)
        while run.sink.held:
            assert run.commit_point() in (None, 0)
            run.sink.held.pop()(None)
        until(lambda: run.commit_point() == 1)
        run.stop()
    stats = run.of(ConsumerStats)[-1]
    assert (stats.dead_lettered, stats.succeeded) == (1, 0)


def test_a_replayed_letter_of_a_task_that_was_to_follow_is_a_dead_letter_again_and_does_not_run() -> None:
    """So a replay of all letters runs each task once, after its predecessor."""
    ran: list[int] = []
    with RunningConsumer(lambda task: ran.append(task.offset)) as run:
        run.push(record(0, headers=[("task-after", b"order-7")]))
        letter = run.until_event(TaskDeadLettered)
        until(lambda: run.commit_point() == 1)
    assert not ran
    assert (letter.error_type, letter.attempt) == ("processor.DependencyFailed", 0)
    assert "'order-7'" in letter.error


@pytest.mark.parametrize("name", ["task-then", "task-inputs"])
def test_a_link_that_cannot_be_read_is_a_dead_letter_without_an_attempt(name: str) -> None:
    ran: list[int] = []
    given = MemoryRecord(PARTITION, 0, b"s", b"", [(name, b"nonsense")])
    (letter,) = sent_by(lambda task: ran.append(task.offset), given)
    assert not ran
    assert letter.headers["dlq-error-type"] == b"processor.InvalidHeader"
    assert letter.headers["dlq-attempts"] == b"0"
    assert name.encode() in (letter.headers["dlq-error-message"] or b"")


def test_tasks_without_links_settle_beside_those_that_have_some() -> None:
    given = [record(0), record(1, SHIP), record(2), record(3, SHIP, key=b"other"), record(4)]
    sent = sent_by(lambda task: None, *given)
    assert sorted(each.headers["task-id"] or b"" for each in sent) == [b"t-0-1/1", b"t-0-3/1"]


# --- exactly once -----------------------------------------------------------------------------------


def committed_by(handler: Any, *records: MemoryRecord, **options: Any) -> tuple[RunningConsumer, ConsumerStats]:
    """Return a consumer with exactly-once delivery, once these records are settled and committed."""
    with RunningConsumer(handler, delivery="exactly-once", **options) as run:
        run.push(*records)
        until(lambda: run.commit_point() == len(records))
        assert run.stop().exit_code == 0
    return run, run.of(ConsumerStats)[-1]


def test_a_task_that_follows_is_committed_together_with_its_predecessor_and_its_result() -> None:
    run, stats = committed_by(lambda task: b"r", record(0, SHIP), record(1), results_topic="r")
    (sent,) = run.cluster.records("next")
    headers = dict(sent.headers() or ())
    assert (sent.key(), headers["task-id"], read_inputs(headers["task-inputs"])) == (b"parcels", b"t-0-0/1", [b"r"])
    assert [each.value() for each in run.cluster.records("r")] == [b"r", b"r"]
    assert (stats.results, stats.succeeded) == (2, 2)
    assert run.sink.sent == []


def test_what_was_to_follow_is_committed_as_dead_letters_together_with_that_of_its_predecessor() -> None:
    run, stats = committed_by(reject, record(0, SHIP, NOTIFY), record(1, SHIP, key=b"x"))
    letters = [dict(each.headers() or ())["dlq-error-type"] for each in run.cluster.records("t.dlq")]
    assert (
        sorted(letter or b"" for letter in letters) == [b"processor.DependencyFailed"] * 3 + [b"processor.Reject"] * 2
    )
    assert (stats.dead_lettered, stats.results, stats.succeeded) == (2, 0, 0)


def test_a_refused_task_that_follows_withholds_its_own_session_only() -> None:
    """An output has several records: a refusal of its second record is not one of the next output."""
    with RunningConsumer(noting([]), delivery="exactly-once", results_topic="r") as run:
        run.source.refuses_output = lambda output: "too large" if output.key == b"parcels" else None
        run.push(record(0, SHIP), record(1, key=b"x"), record(2, NOTIFY, key=b"y"))
        until(lambda: [each.key() for each in run.cluster.records("next")] == [b"mail"])
        refused = run.until_event(TaskDeliveryFailed)
        assert (refused.offset, refused.target_topic) == (0, "next")
        until(lambda: sorted(each.key() or b"" for each in run.cluster.records("r")) == [b"x", b"y"])
        run.source.refuses_output = lambda output: None
        until(lambda: run.commit_point() == 3)
        run.stop()
    assert sorted(each.key() or b"" for each in run.cluster.records("r")) == [b"s", b"x", b"y"]


# --- batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_each_task_of_a_batch_is_followed_by_its_own(delivery: str) -> None:
    app = Processor()

    @app.batch("", size=4, wait=0.05)
    def work(tasks: list[Task]) -> list[int]:
        return [task.offset for task in tasks]

    given = [record(0, SHIP), record(1), record(2, NOTIFY), record(3, SHIP, key=b"other")]
    with RunningConsumer(app, delivery=delivery) as run:
        run.push(*given)
        until(lambda: run.commit_point() == 4)
        run.stop()
    sent = [dict(each.headers() or ()) for each in run.cluster.records("next")]
    assert sorted((each["task-id"] or b"", read_inputs(each["task-inputs"])) for each in sent) == [
        (b"t-0-0/1", [0]), (b"t-0-2/1", [2]), (b"t-0-3/1", [3])
    ]  # fmt: skip


def test_of_a_batch_only_what_was_to_follow_from_a_failed_task_is_a_dead_letter() -> None:
    app = Processor()

    @app.batch("", size=2, wait=60.0)
    def work(tasks: list[Task]) -> None:
        raise BatchError({n: Reject("no") for n, task in enumerate(tasks) if task.offset == 0})

    sent = sent_by(app, record(0, SHIP, key=b"x"), record(1, NOTIFY, key=b"y"))
    topics = sorted((each.topic, each.key or b"") for each in sent)
    assert topics == [("next", b"mail"), ("t.dlq", b"parcels"), ("t.dlq", b"x")]


@pytest.mark.parametrize("header", [("task-priority", b"high"), ("task-inputs", b"no json")])
def test_a_task_with_an_unreadable_header_takes_what_follows_with_it(header: tuple[str, bytes]) -> None:
    sent = sent_by(lambda task: None, record(0, SHIP, headers=[header]))
    assert [each.headers["dlq-error-type"] for each in sent] == [
        b"processor.InvalidHeader",
        b"processor.DependencyFailed",
    ]


class NamedInValue(FakeCodec):
    """The value, and no header, has the ID and the name of a task."""

    def decode(self, record: Record) -> Content:
        super().decode(record)
        return Content(record.value(), "charge", "o-7", None)


@pytest.mark.parametrize(
    ("header", "name", "error"),
    [
        (("task-expires", b"1"), "charge", "processor.Expired"),
        (("task-inputs", b"no json"), "charge", "processor.InvalidHeader"),
        (("task-priority", b"0"), "ship", "processor.UnknownTask"),
    ],
)
def test_a_task_that_failed_before_it_began_is_named_by_its_value(
    header: tuple[str, bytes], name: str, error: str
) -> None:
    app = Processor()
    app.task(name)(lambda task: None)
    run = RunningConsumer(app, codec=NamedInValue())
    with run:
        run.push(record(0, SHIP, headers=[header]))
        run.settled(1)
    event = run.until_event(TaskDeadLettered)
    assert (event.error_type, event.task_id, event.task_name) == (error, "o-7", "charge")
    (unmet,) = [sent for sent in run.sink.sent if sent.headers["dlq-error-type"] == b"processor.DependencyFailed"]
    assert (unmet.headers["task-after"], unmet.headers["task-id"]) == (b"o-7", b"o-7/1")


def test_a_value_that_cannot_be_decoded_names_no_task() -> None:
    run = RunningConsumer(lambda task: None, codec=NamedInValue())
    with run:
        run.push(MemoryRecord(PARTITION, 0, b"s", POISON, []))
        run.settled(1)
    event = run.until_event(TaskDeadLettered)
    assert (event.task_id, event.task_name) == ("t-0-0", "")

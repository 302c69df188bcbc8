"""`processor.testing`: the real consumer without Kafka."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from processor import BatchError, Processor, Reject, Step, Task, TaskCancelled
from processor.errors import EncodeError, LoadError, ProcessorError, SettingsError
from processor.options.value_formats import ValueFormat
from processor.testing import run, task


def nothing(task: Task) -> None:
    """Succeeds."""


def test_every_task_is_done_and_each_session_in_order() -> None:
    given = [(f"s{n % 7}", n) for n in range(700)]
    report = run(nothing, given)
    assert report.exit_code == 0
    assert sorted(done.payload for done in report.done) == list(range(700))
    for session in range(7):
        assert report.order_of(f"s{session}") == list(range(session, 700, 7))


def test_sessions_run_beside_each_other() -> None:
    together = threading.Barrier(4, timeout=20)
    report = run(lambda task: together.wait() and None, [(f"s{n}", n) for n in range(4)], workers=4)
    assert len(report.done) == 4
    assert not report.dead_letters


def test_a_session_never_overlaps_itself() -> None:
    running: list[int] = []
    most: list[int] = []

    def handle(task: Task) -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()

    run(handle, [("s", n) for n in range(50)])
    assert max(most) == 1


def test_results_are_what_handlers_returned() -> None:
    report = run(lambda task: task.payload["n"] * 2 or None, [("s", {"n": n}) for n in range(4)])
    assert report.results == [2, 4, 6]


def test_a_failed_attempt_is_retried_in_place() -> None:
    def handle(task: Task) -> None:
        if task.payload == "b" and task.attempt < 3:
            raise ConnectionError("not yet")

    report = run(handle, [("s", "a"), ("s", "b"), ("s", "c")])
    assert report.order_of("s") == ["a", "b", "c"]
    assert [done.attempts for done in report.done] == [1, 3, 1]
    assert report.retried == 2


def test_a_task_whose_attempts_are_used_up_is_a_dead_letter_and_its_session_goes_on() -> None:
    def handle(task: Task) -> None:
        if task.payload == "bad":
            raise ValueError("no use")

    report = run(handle, [("s", "bad"), ("s", "good")], max_attempts=2)
    (letter,) = report.dead_letters
    assert (letter.session_id, letter.payload, letter.attempts) == ("s", "bad", 2)
    assert (letter.error_type, letter.error) == ("builtins.ValueError", "no use")
    assert letter.headers["dlq-topic"] == b"test"
    assert report.order_of("s") == ["good"]


def test_a_rejected_task_gets_no_second_attempt() -> None:
    def handle(task: Task) -> None:
        raise Reject("never")

    (letter,) = run(handle, [("s", 1)]).dead_letters
    assert (letter.error_type, letter.attempts) == ("processor.Reject", 1)


def test_a_value_that_cannot_be_read_is_a_dead_letter_with_its_bytes() -> None:
    (letter,) = run(nothing, [{"session_id": "s", "value": b"\x00nonsense"}]).dead_letters
    assert (letter.payload, letter.attempts) == (b"\x00nonsense", 0)


@dataclass
class Price:
    cents: int

    def __post_init__(self) -> None:
        assert self.cents > 0, "a price is above 0"
        _ = {1200: "known"}[self.cents]


@pytest.mark.parametrize(("cents", "reason"), [(-5, "builtins.AssertionError: a price is above 0"), (7, "KeyError: 7")])
def test_a_payload_that_its_type_refuses_with_any_exception_is_a_dead_letter_without_an_attempt(
    cents: int, reason: str
) -> None:
    def handle(task: Task[Price]) -> None:
        """Succeeds."""

    report = run(handle, [("s", {"cents": cents}), ("s", {"cents": 1200})])
    (letter,) = report.dead_letters
    assert (letter.error_type, letter.attempts) == ("processor.errors.DecodeError", 0)
    assert letter.error.startswith("the payload is not a valid Price: ")
    assert reason in letter.error
    assert len(report.done) == 1


def test_handlers_are_found_by_name_and_an_unknown_name_is_reported() -> None:
    app, seen = Processor(), list[object]()

    @app.task("charge")
    def charge(task: Task) -> None:
        seen.append((task.name, task.id, task.headers.get("trace")))

    report = run(
        app,
        [
            {"session_id": "s", "name": "charge", "payload": 1, "id": "c1", "headers": {"trace": "t"}},
            task(2, "s", "charge", id="c2", headers={"trace": b"u"}),
            task(3, "s", "refund"),
        ],
    )
    assert seen == [("charge", "c1", b"t"), ("charge", "c2", b"u")]
    assert [done.name for done in report.done] == ["charge", "charge"]
    assert "'charge'" in report.dead_letters[0].error


def test_the_terms_of_tasks_are_obeyed() -> None:
    begun: list[tuple[str, float]] = []

    def handle(task: Task) -> None:
        begun.append((task.session_id, time.time()))

    given = time.time()
    tasks: list[dict[str, Any]] = [
        {"session_id": "late", "delay": 3},
        {"session_id": "plain"},
        {"session_id": "over", "expires": 1},
        {"session_id": "urgent", "priority": 9},
    ]
    report = run(handle, tasks, workers=1, partitions=1)
    assert [session for session, _ in begun] == ["urgent", "plain", "late"]
    assert begun[-1][1] >= given + 3
    assert [(letter.session_id, letter.error_type) for letter in report.dead_letters] == [("over", "processor.Expired")]


@pytest.mark.parametrize("dead_letter_topic", [None, "letters"])
def test_a_task_may_be_followed_by_one_of_another_topic_of_the_run(dead_letter_topic: str | None) -> None:
    """Both have the same partition and offset."""

    def handle(task: Task) -> None:
        if task.payload == "bad":
            raise Reject("never")

    steps = [Step("s", n).then(Step("t", payload, topic="parcels")) for n, payload in enumerate(["good", "bad"])]
    options: dict[str, Any] = {"topics": ("orders", "parcels"), "dead_letter_topic": dead_letter_topic}
    report = run(handle, steps, partitions=1, seconds=20, **options)
    assert report.order_of("s") == [0, 1]
    assert report.order_of("t") == ["good"]
    (letter,) = report.dead_letters
    assert (letter.session_id, letter.payload, letter.headers["dlq-topic"]) == ("t", "bad", b"parcels")


def test_async_handlers_run_too() -> None:
    async def handle(task: Task) -> int:
        await asyncio.sleep(0)
        return int(task.payload)

    report = run(handle, [(f"s{n}", n) for n in range(20)])
    assert sorted(report.results) == list(range(20))


class Doubling:
    async def __call__(self, task: Task) -> int:
        return 2 * int(task.payload)


@pytest.mark.parametrize(
    "handler", [Doubling(), Doubling().__call__, functools.partial(Doubling()), functools.partial(Doubling().__call__)]
)
def test_an_async_handler_may_be_an_object_a_method_or_a_partial(handler: Any) -> None:
    report = run(handler, [("s", 4)])
    assert report.dead_letters == []
    assert report.results == [8]


@pytest.mark.parametrize("value_format", ["avro", "json"])
def test_payloads_and_results_travel_in_the_value_format(value_format: str) -> None:
    report = run(lambda task: task.payload, [("s", {"a": [1, None, "é"]})], value_format=value_format)  # type: ignore[arg-type]
    assert report.results == [{"a": [1, None, "é"]}]


@pytest.mark.parametrize("value_format", ["avro", "json", "bytes"])
def test_a_result_whose_memory_was_released_is_a_dead_letter_after_one_attempt(value_format: ValueFormat) -> None:
    """Without an `EncodeError`, the task would run again and again."""

    def handle(task: Task) -> memoryview:
        with memoryview(b"result") as view:
            return view

    (letter,) = run(handle, [("s", b"1")], value_format=value_format, seconds=5).dead_letters
    assert (letter.error_type, letter.attempts) == ("processor.errors.EncodeError", 1)
    assert "the handler's return value" in letter.error


def test_bytes_are_the_payload_with_the_bytes_format() -> None:
    assert run(lambda task: task.payload, [("s", b"\xff")], value_format="bytes").results == [b"\xff"]


def test_a_result_that_cannot_be_written_is_a_dead_letter_and_not_done() -> None:
    report = run(lambda task: object(), [("s", 1)])
    assert not report.done
    assert not report.results
    assert report.dead_letters[0].error_type == "processor.errors.EncodeError"


def test_a_task_without_a_session_is_a_session_of_its_own() -> None:
    together = threading.Barrier(3, timeout=20)
    report = run(lambda task: together.wait() and None, [task(n) for n in range(3)], workers=3)
    assert len(report.done) == 3


def test_no_tasks_are_an_empty_report() -> None:
    report = run(nothing, [])
    assert (report.done, report.results, report.dead_letters, report.retried) == ([], [], [], 0)


def test_an_attempt_that_takes_too_long_times_out() -> None:
    def handle(task: Task) -> None:
        while True:
            time.sleep(0.001)

    (letter,) = run(handle, [("s", 1)], timeout=0.05, max_attempts=1).dead_letters
    assert letter.error_type == "processor.TaskTimeout"


def test_a_task_that_is_not_done_in_time_is_reported() -> None:
    def handle(task: Task) -> None:
        raise ConnectionError("not yet")

    with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
        run(handle, [("s", 1)], backoff=60, backoff_max=60, seconds=0.2)


@pytest.mark.parametrize(
    ("error", "app", "tasks", "options"),
    [
        (LoadError, 5, [], {}),
        (LoadError, Processor(), [], {}),
        (SettingsError, nothing, [], {"workers": 0}),
        (SettingsError, nothing, [], {"partitions": 0}),
        (SettingsError, nothing, [{"session": "s"}], {}),
        (SettingsError, nothing, [("s", 1, 2)], {}),
        (SettingsError, nothing, [{"session_id": "s", "priority": 10}], {}),
        (SettingsError, nothing, [{"session_id": "s", "delay": 1, "not_before": 1}], {}),
        (EncodeError, nothing, [("s", object())], {}),
    ],
)
def test_invalid_arguments_are_refused(
    error: type[Exception], app: object, tasks: list[object], options: dict[str, int]
) -> None:
    with pytest.raises(error):
        run(app, tasks, **options)  # type: ignore[arg-type]


def test_a_task_is_made_to_call_a_handler_with() -> None:
    made = task({"a": 1}, "s", "charge", headers={"h": "é"}, attempt=2, timeout=5)
    assert (made.payload, made.session_id, made.name, made.attempt) == ({"a": 1}, "s", "charge", 2)
    assert (made.id, made.headers) == ("test-0-0", {"h": "é".encode()})
    assert 4 < made.remaining() <= 5


def test_a_plain_task_has_no_session_and_no_name() -> None:
    made = task()
    assert (made.payload, made.session_id, made.name) == (None, "", "")
    assert made.timestamp > 0


def test_a_handler_that_cannot_be_stopped_is_reported() -> None:
    def handle(task: Task) -> None:
        time.sleep(9)

    with pytest.raises(ProcessorError, match="before the last task"):
        run(handle, [("s", 1), ("s", 2)], timeout=0.05, seconds=30, drain_timeout=0.1)


# --- tasks that follow from tasks ---------------------------------------------------------------------


@pytest.mark.parametrize("value_format", ["avro", "json", "bytes"])
def test_a_chain_runs_to_its_end_and_each_task_has_what_the_one_before_returned(value_format: ValueFormat) -> None:
    app = Processor()
    inputs: dict[str, list[object]] = {}

    @app.default
    def note(task: Task) -> str:
        inputs[task.id] = [task.session_id, task.name, task.payload, *task.inputs]
        return f"{task.name} done"

    payload = b"what" if value_format == "bytes" else {"what": 1}
    chain = Step("anna", payload, "charge", id="o-1").then(
        Step("store", payload, "pack").then(Step("anna", payload, "x"))
    )
    report = run(app, [chain], value_format=value_format)
    assert inputs == {
        "o-1": ["anna", "charge", payload],
        "o-1/1": ["store", "pack", payload, "charge done"],
        "o-1/1/1": ["anna", "x", payload, "pack done"],
    }
    assert [(done.session_id, done.name, done.payload) for done in report.done] == [
        ("anna", "charge", payload),
        ("store", "pack", payload),
        ("anna", "x", payload),
    ]
    assert len(report.results) == 3
    assert not report.dead_letters


def test_what_was_to_follow_from_a_dead_letter_is_a_dead_letter_too() -> None:
    def refuse(task: Task) -> None:
        raise Reject("no")

    report = run(refuse, [Step("anna", 1, "charge", id="o-1").then(Step("store", 2, "pack")).then(Step("ben", 3))])
    assert not report.done
    assert [(letter.session_id, letter.payload, letter.error_type) for letter in report.dead_letters] == [
        ("anna", 1, "processor.Reject"),
        ("store", 2, "processor.DependencyFailed"),
        ("ben", 3, "processor.DependencyFailed"),
    ]
    assert "'o-1'" in report.dead_letters[2].error


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_that_raises_task_cancelled_by_itself_has_failed(kind: str) -> None:
    def plain(task: Task) -> None:
        raise TaskCancelled("by itself")

    async def asynchronous(task: Task) -> None:
        plain(task)

    report = run(plain if kind == "plain" else asynchronous, [("anna", 1)], max_attempts=2, seconds=5)
    (letter,) = report.dead_letters
    assert (letter.attempts, letter.error_type, letter.error) == (2, "processor.TaskCancelled", "by itself")


def test_a_task_has_failed_if_a_batch_error_names_it_with_task_cancelled() -> None:
    app = Processor()

    @app.batch("charge", size=2)
    def charge(tasks: list[Task]) -> None:
        raise BatchError({0: TaskCancelled("by itself")})

    tasks = [{"session_id": session, "name": "charge", "payload": session} for session in ("anna", "ben")]
    report = run(app, tasks, max_attempts=2, seconds=5, partitions=1)
    assert [(letter.payload, letter.attempts) for letter in report.dead_letters] == [("anna", 2)]
    assert report.order_of("ben") == ["ben"]


def test_a_handler_may_be_called_with_inputs() -> None:
    assert task(1, inputs=[{"cents": 5}, b"\xff", None]).inputs == [{"cents": 5}, b"\xff", None]
    assert task(1).inputs == []


def test_a_step_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(SettingsError, match="takes no id"):
        run(nothing, [Step("a", 1).then(Step("b", 2, id="x"))])
    with pytest.raises(EncodeError, match="what follows from the task is too large"):
        run(nothing, [Step("a", 1).then(Step("b", "x" * 300_000))])

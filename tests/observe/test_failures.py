"""Failures, grouped by error."""

from __future__ import annotations

from typing import Any

import pytest

from processor.observe.failures import GROUPS, RECENT, Failure, Failures, failure_of
from processor.telemetry import events
from processor.telemetry.events import Event
from processor.telemetry.reading import with_defaults
from tests.observe.building import line, watching


def failure(kind: type[Event], **fields: Any) -> Failure:
    return failure_of(with_defaults(kind, **fields), 5.0)


def failed(error: str, error_type: str = "x.Refused", at: float = 1.0) -> Failure:
    return Failure(at=at, outcome="dead-lettered", error_type=error_type, error=error)


@pytest.mark.parametrize(
    ("kind", "fields", "outcome", "summary"),
    [
        (events.TaskDeferred, {"error_type": "a.NoSchema", "error": "id 7"}, "deferred", "NoSchema: id 7"),
        (events.TaskRetrying, {"error_type": "OSError", "error": "no"}, "retried", "OSError: no"),
        (events.TaskDeadLettered, {"error_type": "OSError", "error": "no"}, "dead-lettered", "OSError: no"),
        (events.TaskTimedOut, {"timeout_seconds": 2.0}, "timed out", "TaskTimeout: ran longer than 2 s"),
        (events.TaskStuck, {"stack": ""}, "stuck", "cannot be interrupted"),
        (events.TaskAbandoned, {}, "abandoned", "was still running when the drain timed out"),
        (events.TaskDeliveryFailed, {"target_topic": "t.dlq", "error": "no"}, "not delivered", "to t.dlq: no"),
        (events.KafkaClientError, {"code": "_TRANSPORT", "message": "x"}, "Kafka client error", "_TRANSPORT: x"),
        (events.ConsumerCommitFailed, {"error": "fenced"}, "commit refused", "fenced"),
        (events.ConsumerWorkerError, {"error": "KeyError"}, "worker error", "KeyError"),
        (events.RegistryUnavailable, {"error": "503"}, "schema registry unavailable", "503"),
        (events.ConsumerFailed, {"error": "no broker"}, "consumer failed", "no broker"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_event_of_a_failure_has_an_outcome_and_an_error(
    kind: type[Event], fields: dict[str, Any], outcome: str, summary: str
) -> None:
    found = failure(kind, **fields)
    assert (found.outcome, found.summary, found.at) == (outcome, summary, 5.0)


def test_a_stuck_handler_has_its_innermost_frame() -> None:
    stack = 'File "a.py", line 3, in outer\n  inner()\nFile "b.py", line 9, in inner\n  sock.recv(1)\n'
    assert failure(events.TaskStuck, stack=stack).summary == (
        'cannot be interrupted at File "b.py", line 9, in inner sock.recv(1)'
    )


def test_the_failure_of_a_task_has_its_place_and_its_session() -> None:
    fields = {"task_id": "t-1", "session_id": "anna", "topic": "orders", "partition": 3, "offset": 7, "attempt": 2}
    found = failure(events.TaskRetrying, **fields)
    assert (found.task_id, found.session_id, found.place, found.attempt) == ("t-1", "anna", "orders[3]@7", 2)


def test_a_failure_that_is_not_of_a_task_has_no_place() -> None:
    assert failure(events.ConsumerCommitFailed, error="fenced").place == ""


def test_texts_from_the_log_cannot_control_a_terminal() -> None:
    found = failure(events.TaskRetrying, error="\x1b[2J", error_type="\u202e", session_id="\x07", topic="\n")
    assert all(text.isprintable() for text in (found.error, found.error_type, found.session_id, found.place))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("card 17 was declined", "card 4111 was declined"),
        ("at 0x7f00 <Lock>", "at 0xdead <Lock>"),
        ("no order 6fa459ea-ee8a-3ca4-894e-db77e160355e", "no order 16fd2706-8baf-433b-82eb-8c7fada847da"),
        ("'anna' is unknown", "'ben' is unknown"),
        ('"anna" is unknown', '"ben" is unknown'),
        ("took 1.25 s", "took 30 s"),
    ],
)
def test_errors_that_differ_in_a_value_are_one_group(one: str, other: str) -> None:
    failures = Failures()
    failures.note(failed(one))
    failures.note(failed(other))
    (group,) = failures.groups
    assert (group.count, group.example.error) == (2, other)


def test_errors_of_other_words_or_types_are_groups_of_their_own() -> None:
    failures = Failures()
    for one in (failed("declined"), failed("expired"), failed("declined", "x.Other")):
        failures.note(one)
    assert len(failures.groups) == 3


def test_a_group_has_its_times_and_its_outcomes() -> None:
    failures = Failures()
    for at, outcome in ((1.0, "retried"), (2.0, "retried"), (9.0, "dead-lettered")):
        failures.note(Failure(at=at, outcome=outcome, error_type="x", error="no"))
    (group,) = failures.groups
    assert (group.first, group.last, group.count) == (1.0, 9.0, 3)
    assert group.outcomes == {"retried": 2, "dead-lettered": 1}


def test_the_most_frequent_group_is_first() -> None:
    failures = Failures()
    for error in ("a", "b", "b", "c", "c", "c"):
        failures.note(failed(error))
    assert [group.example.error for group in failures.groups] == ["c", "b", "a"]


def test_groups_are_bounded_and_all_failures_are_counted() -> None:
    failures = Failures(groups=3)
    for letter in "abcdefabc":
        failures.note(failed(letter, letter))
    *kinds, rest = failures.groups
    assert [group.example.error for group in kinds] == ["a", "b", "c"]
    assert (rest.is_rest, rest.count, failures.count) == (True, 3, 9)


def test_a_million_kinds_of_error_take_no_more_memory_than_the_limit() -> None:
    failures = Failures()
    for n in range(5 * GROUPS):
        failures.note(failed("x", f"Error{'a' * n}"))
    assert len(failures.groups) == GROUPS + 1
    assert len(failures.recent) == RECENT


@pytest.mark.parametrize(
    ("found", "summary"),
    [
        (Failure(at=0, outcome="x", error_type="a.b.C", error="d"), "C: d"),
        (Failure(at=0, outcome="x", error_type="a.b.C", error=""), "C"),
        (Failure(at=0, outcome="x", error_type="", error="d"), "d"),
        (Failure(at=0, outcome="x", error_type="", error=""), ""),
    ],
)
def test_the_summary_is_the_last_line_of_a_traceback(found: Failure, summary: str) -> None:
    assert found.summary == summary


def test_a_log_of_failures_becomes_groups() -> None:
    dead = [
        line("task.dead_lettered", n, error_type="x.Refused", error=f"card {n} at 0x{n:x} of '{n}'", session_id=f"s{n}")
        for n in range(3)
    ]
    first, second = watching(*dead, line("task.timed_out", 9, timeout_seconds=2.0)).failures.groups
    assert (first.count, first.outcomes, first.example.session_id) == (3, {"dead-lettered": 3}, "s2")
    assert second.example.summary == "TaskTimeout: ran longer than 2 s"

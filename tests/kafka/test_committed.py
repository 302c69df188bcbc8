"""Offsets of a group that a client reads and writes without joining it, while its coordinator comes up."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processor.kafka.committed import NO_COORDINATOR_YET, commit_offsets, committed_offsets

PLACE = TopicPartition("t", 0, 5)
STARTING = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
LATE = KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Delivered:
    """What the client delivers instead of a record."""

    def __init__(self, code: int) -> None:
        self._code = code

    def error(self) -> KafkaError:
        return KafkaError(self._code)


class ScriptedClient:
    """Gives the scripted answers in turn, and repeats the last one."""

    def __init__(self, *answers: Any, delivers: Delivered | None = None) -> None:
        self._answers = list(answers)
        self._delivers = delivers
        self.calls = 0

    def _next(self) -> Any:
        self.calls += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def committed(self, places: object, timeout: float) -> Any:
        return self._next()

    def commit(self, offsets: object, asynchronous: bool) -> Any:
        return self._next()

    def poll(self, seconds: float) -> Delivered | None:
        return self._delivers


def client(*answers: Any, delivers: Delivered | None = None) -> Consumer:
    return cast(Consumer, ScriptedClient(*answers, delivers=delivers))


def refused(code: int) -> list[Any]:
    """A place with an error: the client's own class does not let a test set one."""
    return [type("Refused", (), {"error": KafkaError(code)})()]


def test_a_query_waits_for_a_coordinator_that_is_starting() -> None:
    assert committed_offsets(client(STARTING, refused(KafkaError.COORDINATOR_LOAD_IN_PROGRESS), [PLACE]), [], 30) == [
        PLACE
    ]
    commit_offsets(client(STARTING, refused(KafkaError.NOT_COORDINATOR), [PLACE]), [PLACE], 30)


@pytest.mark.parametrize("code", sorted(NO_COORDINATOR_YET))
def test_a_coordinator_that_does_not_start_in_time_is_an_error(code: int) -> None:
    with pytest.raises(KafkaException) as caught:
        committed_offsets(client(refused(code)), [], 0.2)
    assert caught.value.args[0].code() == code


def test_the_reason_for_a_denied_group_is_the_error_that_the_client_delivers() -> None:
    denied = client(LATE, delivers=Delivered(KafkaError.GROUP_AUTHORIZATION_FAILED))
    with pytest.raises(KafkaException) as caught:
        committed_offsets(denied, [], 30)
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_query_waits_for_a_late_answer_until_the_timeout() -> None:
    assert committed_offsets(client(LATE, LATE, [PLACE]), [], 30) == [PLACE]
    with pytest.raises(KafkaException) as caught:
        committed_offsets(client(LATE, delivers=Delivered(KafkaError._ALL_BROKERS_DOWN)), [], 0.5)
    assert caught.value.args[0].code() == KafkaError._TIMED_OUT


@pytest.mark.parametrize(
    "answer", [refused(KafkaError.UNKNOWN_MEMBER_ID), refused(KafkaError.TOPIC_AUTHORIZATION_FAILED)]
)
def test_a_refusal_is_not_repeated(answer: Any) -> None:
    asked = ScriptedClient(answer)
    with pytest.raises(KafkaException):
        commit_offsets(cast(Consumer, asked), [PLACE], 30)
    assert asked.calls == 1

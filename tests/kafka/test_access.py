"""When a denial of access shuts a consumer out, and what follows from its client's other errors."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from processor.errors import AccessDenied, LoadError, ProcessorError
from processor.kafka import client_errors as module
from processor.kafka.access import Access
from processor.kafka.client_errors import ClientErrors
from processor.kafka.config import CLIENT_SESSION_MS, consumer_config
from processor.kafka.joining import Joining
from processor.kafka.refusals import TEMPORARY
from processor.options.connection import OAUTH_CB
from processor.settings import Settings
from processor.telemetry.events import ConsumerJoining, Event, KafkaClientError

DENIED = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
LOGIN = KafkaError(KafkaError._AUTHENTICATION)
ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)
OTHER = KafkaError(KafkaError._TRANSPORT)


class Member:
    """A member's `Access` and `ClientErrors`, and the errors that its client reports."""

    def __init__(self, **kafka_config: object) -> None:
        settings = Settings(topics=("t",), group="g", kafka_config=kafka_config)
        self.config = consumer_config(settings, 0)
        self.events: list[Event] = []
        self.access = Access(settings, self.config)
        self.joining = Joining(self.events.append)
        self.errors = ClientErrors(settings, self.config, self.access, self.joining, self.events.append)


@pytest.fixture
def member() -> Member:
    return Member()


def test_a_denial_shuts_out_once_no_broker_is_left(member: Member) -> None:
    member.access.on_error(DENIED)
    assert member.access.shut_out_by is None
    member.access.on_error(ALL_DOWN)
    assert member.access.shut_out_by is DENIED


def test_a_denial_does_not_shut_out_while_another_broker_is_only_down(member: Member) -> None:
    for error in (DENIED, OTHER, ALL_DOWN):
        member.access.on_error(error)
    assert member.access.shut_out_by is None


def test_a_denial_shuts_out_at_once_a_member_that_the_group_has_evicted(member: Member) -> None:
    member.access.on_lose()
    member.access.on_error(DENIED)
    assert member.access.shut_out_by is DENIED


def test_a_denial_does_not_shut_out_a_member_that_the_group_has_admitted_again(member: Member) -> None:
    member.access.on_lose()
    member.access.on_assign()
    member.access.on_error(DENIED)
    assert member.access.shut_out_by is None


def test_the_error_that_shuts_out_is_taken_once_and_names_the_group(member: Member) -> None:
    member.access.on_lose()
    member.access.on_error(DENIED)
    error = member.access.take_error()
    assert isinstance(error, AccessDenied)
    assert "(group g)" in str(error)
    assert member.access.shut_out_by is None


def test_a_client_with_tokens_gets_a_new_one_after_its_login_is_refused() -> None:
    assert Member().access.is_denied(LOGIN.code())
    with_tokens = Member(**{"sasl.mechanism": "OAUTHBEARER", OAUTH_CB: lambda _: ("token", 0.0)})
    assert not with_tokens.access.is_denied(LOGIN.code())
    assert with_tokens.access.is_denied(DENIED.code())


def test_a_denial_in_place_of_a_record_is_raised_and_names_its_topic(member: Member) -> None:
    with pytest.raises(AccessDenied, match=r"\(topic t\)"):
        member.errors.follow(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "t")


def test_an_error_from_which_nothing_follows_is_reported(member: Member) -> None:
    member.errors.follow(OTHER, None)
    assert member.events == [KafkaClientError(code="_TRANSPORT", message="Broker transport failure")]


def test_a_client_that_cannot_continue_raises_the_error_of_the_commit_that_was_refused_for_good(member: Member) -> None:
    member.errors.on_answer(OTHER)
    assert member.errors.final is None
    member.errors.on_answer(KafkaError(KafkaError.FENCED_INSTANCE_ID))
    with pytest.raises(ProcessorError, match=r"^fenced: another consumer"):
        member.errors.follow(KafkaError(KafkaError._FATAL, "ended", fatal=True), None)


def test_a_temporary_refusal_is_waited_out_by_a_client_that_is_opened_again_if_it_has_ended(member: Member) -> None:
    full = KafkaError(KafkaError.GROUP_MAX_SIZE_REACHED)
    member.joining.begin()
    reopen_at = []
    for error in (full, KafkaError(full.code(), fatal=True)):
        member.errors.follow(error, None)
        reopen_at.append(member.errors.reopen_at)
    assert reopen_at[0] is None
    assert reopen_at[1] is not None
    member.joining.remind()
    assert [event.reason for event in member.events if isinstance(event, ConsumerJoining)] == [TEMPORARY[full.code()]]


def test_a_session_that_is_too_short_for_the_brokers_is_lengthened_once(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "broker_settings", lambda config, names: {})
    refusal = KafkaError(KafkaError.INVALID_SESSION_TIMEOUT)
    member.errors.follow(refusal, None)
    assert member.config["session.timeout.ms"] == str(CLIENT_SESSION_MS)
    assert member.errors.reopen_at is not None
    with pytest.raises(LoadError, match=r"session\.timeout\.ms"):
        member.errors.follow(refusal, None)


def test_a_session_that_the_user_has_set_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "broker_settings", lambda config, names: {})
    member = Member(**{"session.timeout.ms": "1000"})
    with pytest.raises(LoadError, match=r"session\.timeout\.ms=1000"):
        member.errors.follow(KafkaError(KafkaError.INVALID_SESSION_TIMEOUT), None)

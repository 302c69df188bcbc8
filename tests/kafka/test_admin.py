from __future__ import annotations

import gc
import re
import socket
import time
import uuid
from weakref import ref

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from processor.errors import BrokerError, LoadError
from processor.kafka.admin import TopicAdmin, await_topic, check_topics, ensure_topics
from processor.kafka.config import admin_config
from tests.conftest import MakeTopic
from tests.support import cluster
from tests.support.broker import Broker


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def test_partitions_of_existing_topics_are_counted(broker: Broker, topic: MakeTopic) -> None:
    one, three = topic(1), topic(3)
    assert check_topics(TopicAdmin(admin_config(broker.bootstrap_servers, {})), [one, three]) == {one: 1, three: 3}


def test_an_admin_client_ends_with_its_last_reference() -> None:
    """An idle consumer collects no garbage for hours: meanwhile the client's threads would keep waking it up."""
    admin = TopicAdmin(admin_config("127.0.0.1:1", {}))
    still = ref(admin)
    gc.disable()
    try:
        del admin
        assert still() is None
    finally:
        gc.enable()


def test_every_missing_topic_is_named_and_the_request_creates_none(
    broker: Broker, topic: MakeTopic, admin: AdminClient
) -> None:
    there, missing = topic(1), [unique("missing"), unique("missing")]
    with pytest.raises(LoadError) as caught:
        check_topics(TopicAdmin(admin_config(broker.bootstrap_servers, {})), [missing[0], there, missing[1]])
    assert all(name in str(caught.value) for name in missing)
    assert there not in str(caught.value)
    assert not set(missing) & admin.list_topics(timeout=10).topics.keys()


def test_a_broker_that_does_not_respond_is_an_error_after_the_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerError, match=r"no broker responds at 127\.0\.0\.1:1: .*refused"):
        check_topics(TopicAdmin(admin_config("127.0.0.1:1", {})), ["t"], timeout=2)
    assert 1 < time.monotonic() - started < 6


def test_a_connection_that_is_closed_while_a_request_is_sent_is_explained_as_one_that_is_closed_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        admin = TopicAdmin(admin_config(servers, {}))
        text = f"{servers}/bootstrap: Send failed: Broken pipe (after 0ms in state APIVERSION_QUERY)"
        admin._on_error(KafkaError(KafkaError._TRANSPORT, text))
        expected = f"no broker responds at {servers}: every connection is closed without a response"
        with pytest.raises(BrokerError, match=re.escape(expected)):
            check_topics(admin, ["t"], timeout=1)


def test_a_host_without_an_address_is_an_error_that_names_it() -> None:
    with pytest.raises(BrokerError, match=r"no broker responds at nowhere\.invalid:9092: Failed to resolve"):
        check_topics(TopicAdmin(admin_config("nowhere.invalid:9092", {})), ["t"], timeout=2)


def test_denied_access_is_an_error_at_once_without_the_password(broker: Broker) -> None:
    """If the client's error reports were ignored, this would take all ten seconds, and blame the network."""
    login = {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "s3cr3t",
    }
    started = time.monotonic()
    with pytest.raises(BrokerError, match="access denied") as caught:
        check_topics(TopicAdmin(admin_config(broker.bootstrap_servers, login)), ["t"])
    assert time.monotonic() - started < 6
    assert "s3cr3t" not in str(caught.value)


def test_missing_topics_are_created_with_the_requested_partitions(
    broker: Broker, topic: MakeTopic, admin: AdminClient
) -> None:
    there, missing = topic(2), unique("made")
    own = TopicAdmin(admin_config(broker.bootstrap_servers, {}))
    assert ensure_topics(own, {there: 9, missing: 3}, create=True) == ((missing,), {})
    cluster.wait_for_leaders(admin, missing, 3)  # the controller answers before the broker's metadata follow
    assert check_topics(own, [there, missing]) == {there: 2, missing: 3}
    assert ensure_topics(own, {there: 9, missing: 3}, create=True) == ((), {})


def test_missing_topics_are_only_reported_if_none_may_be_created(broker: Broker, admin: AdminClient) -> None:
    missing = unique("missing")
    ensured = ensure_topics(TopicAdmin(admin_config(broker.bootstrap_servers, {})), {missing: 3}, create=False)
    assert ensured.created == ()
    assert list(ensured.missing) == [missing]
    assert missing not in admin.list_topics(timeout=10).topics


def test_a_topic_that_cannot_be_created_is_reported_with_the_reason(broker: Broker) -> None:
    missing = unique("missing")
    ensured = ensure_topics(TopicAdmin(admin_config(broker.bootstrap_servers, {})), {missing: 0}, create=True)
    assert ensured.created == ()
    assert "partitions" in ensured.missing[missing]


def test_the_partitions_and_the_record_limit_of_a_topic_to_produce_to_are_found(
    broker: Broker, topic: MakeTopic
) -> None:
    name = topic(3, max_message_bytes=12_345)
    assert await_topic(admin_config(broker.bootstrap_servers, {}), name) == (3, 12_345)

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from processor.errors import AccessDenied, BrokerError, LoadError, ProcessorError, SettingsError
from processor.kafka import client_log
from processor.kafka.client_log import ClientLog, client_hooks
from processor.kafka.config import (
    CONSUMER_ONLY,
    PRODUCER_ONLY,
    admin_config,
    consumer_config,
    open_client,
    producer_config,
    reader_config,
)
from processor.kafka.errors import error_of
from processor.options.connection import REFUSED_KAFKA_CONFIG
from processor.settings import GroupProtocol, Settings
from processor.telemetry.events import Event, KafkaClientError, KafkaClientLog

NOWHERE = "127.0.0.1:1"


def settings(group_protocol: GroupProtocol = "classic", **kafka_config: str) -> Settings:
    spelled = {key.replace("_", "."): value for key, value in kafka_config.items()}
    return Settings(
        topics=("t",), group="g", bootstrap_servers=NOWHERE, group_protocol=group_protocol, kafka_config=spelled
    )


def warnings_of(kind: Any, config: dict[str, Any]) -> list[str]:
    """The warnings about its configuration that the client logs before it connects."""
    events: list[Event] = []
    client = open_client(kind, {**config, **client_hooks(events.append)})
    client.poll(0)
    del client
    return [event.message for event in events if isinstance(event, KafkaClientError) and event.code == "CONFWARN"]


EVERY_KIND_OF_KEY = {"auto.offset.reset": "latest", "max.poll.interval.ms": "400000", "linger.ms": "3", "retries": "9"}


def test_no_setting_makes_a_client_warn() -> None:
    asked = Settings(topics=("t",), group="g", bootstrap_servers=NOWHERE, kafka_config=EVERY_KIND_OF_KEY)
    assert warnings_of(Consumer, consumer_config(asked, 0)) == []
    assert warnings_of(Producer, producer_config(NOWHERE, EVERY_KIND_OF_KEY)) == []
    assert warnings_of(AdminClient, admin_config(NOWHERE, EVERY_KIND_OF_KEY)) == []


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [("auto.offset.reset", "latest", Producer), ("linger.ms", "3", Consumer), ("fetch.min.bytes", "2", Producer)],
)
def test_the_client_does_warn_about_a_key_of_the_other_kind(key: str, value: str, kind: Any) -> None:
    """Otherwise the test above would prove nothing."""
    assert warnings_of(kind, {"bootstrap.servers": NOWHERE, "group.id": "g", key: value})


def test_no_key_belongs_to_both_kinds() -> None:
    assert not CONSUMER_ONLY & PRODUCER_ONLY


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_consumer_can_be_opened_with_either_group_protocol(protocol: GroupProtocol) -> None:
    config = consumer_config(settings(protocol), 0)
    assert ("partition.assignment.strategy" in config) == (protocol == "classic")
    open_client(Consumer, {**config, **client_hooks(lambda event: None)}).close()


def test_a_lookup_takes_no_setting_of_a_membership() -> None:
    """With KIP-848 a poll interval may be shorter than the classic session, which a lookup does not have."""
    membership = {"max.poll.interval.ms": "6000", "session.timeout.ms": "7000", "group.instance.id": "a"}
    config = reader_config("localhost:9", {**membership, "socket.timeout.ms": "1000"})
    assert membership.keys().isdisjoint(config)
    assert config["socket.timeout.ms"] == "1000"
    Consumer(config).close()


def test_static_members_are_distinguished_by_their_number() -> None:
    config = consumer_config(settings(group_instance_id="box"), 3)
    assert config["group.instance.id"] == "box-3"


def test_the_users_settings_win_over_the_defaults() -> None:
    config = consumer_config(settings(auto_offset_reset="latest", queued_max_messages_kbytes="1000"), 0)
    assert config["auto.offset.reset"] == "error"  # what the user asked for is done by Resets
    assert config["queued.max.messages.kbytes"] == "1000"


def test_the_size_of_a_response_is_bounded_per_partition_and_in_total() -> None:
    """The limit is for compressed data. Decompressed, it may be ten times as much, all in memory at once."""
    config = consumer_config(settings(), 0)
    assert int(config["max.partition.fetch.bytes"]) <= 128 * 1024
    assert int(config["fetch.max.bytes"]) <= 1_000_000
    assert consumer_config(settings(fetch_max_bytes="50000000"), 0)["fetch.max.bytes"] == "50000000"


def test_a_raised_message_size_does_not_conflict_with_the_fetch_size() -> None:
    config = consumer_config(settings(message_max_bytes="100000000"), 0)
    open_client(Consumer, {**config, **client_hooks(lambda event: None)}).close()


def test_settings_that_delivery_depends_on_cannot_be_changed() -> None:
    config = producer_config(NOWHERE, {"delivery.report.only.error": "true", "acks": "1", "partitioner": "random"})
    assert config["acks"] == "all"
    assert config["partitioner"] == "murmur2_random"
    assert config["delivery.report.only.error"] is False
    assert {"acks", "partitioner", "delivery.report.only.error", "transactional.id"} <= REFUSED_KAFKA_CONFIG.keys()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("no.such.key", "1", "no.such.key"),
        ("linger.ms", "abc", "linger.ms"),
        ("delivery.timeout.ms", "-3", "delivery.timeout.ms"),
        ("compression.type", "tar", "compression.type"),
        ("sasl.mechanism", "MAGIC", "MAGIC"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(key: str, value: str, said: str) -> None:
    more = {"security.protocol": "sasl_plaintext"} if key.startswith("sasl") else {}
    with pytest.raises(SettingsError) as caught:
        open_client(Producer, producer_config(NOWHERE, {key: value, **more}))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_timeout_that_the_broker_decides_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"session\.timeout\.ms.*group\.protocol=consumer"):
        open_client(Consumer, consumer_config(settings("consumer", session_timeout_ms="6000"), 0))


def session_of(**kafka_config: str) -> tuple[str, str, str]:
    config = consumer_config(settings("classic", **kafka_config), 0)
    return config["session.timeout.ms"], config["heartbeat.interval.ms"], config["max.poll.interval.ms"]


def test_a_session_is_shorter_than_the_clients_own_and_its_heartbeats_are_more_frequent() -> None:
    assert session_of() == ("20000", "500", "300000")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize(
    ("drain_timeout", "poll_interval"), [(25.0, "300000"), (270.0, "300000"), (600.0, "630000"), (1e9, "86400000")]
)
def test_the_group_waits_for_a_member_for_as_long_as_its_tasks_may_run(
    protocol: GroupProtocol, drain_timeout: float, poll_interval: str
) -> None:
    given = dataclasses.replace(settings(protocol), drain_timeout=drain_timeout)
    config = consumer_config(given, 0)
    assert config["max.poll.interval.ms"] == poll_interval
    open_client(Consumer, {**config, **client_hooks(lambda event: None)}).close()
    asked = dataclasses.replace(settings(protocol, max_poll_interval_ms="60000"), drain_timeout=drain_timeout)
    assert consumer_config(asked, 0)["max.poll.interval.ms"] == "60000"


def test_session_settings_of_a_user_are_kept() -> None:
    asked = {"session_timeout_ms": "45000", "heartbeat_interval_ms": "3000", "max_poll_interval_ms": "60000"}
    assert session_of(**asked) == ("45000", "3000", "60000")


def test_a_short_session_has_three_heartbeats_and_a_long_one_a_poll_interval_that_holds_it() -> None:
    assert session_of(session_timeout_ms="900") == ("900", "300", "300000")
    assert session_of(session_timeout_ms="3600000") == ("3600000", "500", "3600000")


def test_a_program_may_give_numbers() -> None:
    given = {"session.timeout.ms": 30_000, "client.id": 7, "group.instance.id": 8}
    config = consumer_config(Settings(topics=("t",), group="g", bootstrap_servers=NOWHERE, kafka_config=given), 0)
    assert (config["session.timeout.ms"], config["group.instance.id"]) == ("30000", "8-0")
    open_client(Consumer, {**config, **client_hooks(lambda event: None)}).close()


def test_with_kip_848_the_session_is_left_to_the_broker() -> None:
    assert not {"session.timeout.ms", "heartbeat.interval.ms"} & consumer_config(settings("consumer"), 0).keys()


def test_a_consumer_of_a_fleet_is_a_static_member_of_its_own_with_the_classic_protocol() -> None:
    ids = [consumer_config(settings(), index, fleet).get("group.instance.id") for index, fleet in ((0, "f"), (1, "f"))]
    assert ids == ["f-0", "f-1"]
    assert "group.instance.id" not in consumer_config(settings("consumer"), 0, "f")
    assert "group.instance.id" not in consumer_config(settings(), 0)


def test_an_instance_id_that_a_user_gives_wins_over_that_of_the_fleet() -> None:
    assert consumer_config(settings("classic", group_instance_id="box"), 1, "f")["group.instance.id"] == "box-1"


def test_a_secret_is_never_repeated() -> None:
    """The client's message contains the mechanism's value, so a secret with the same text must be removed."""
    secrets = {"security.protocol": "sasl_ssl", "sasl.mechanism": "s3cr3t", "sasl.password": "s3cr3t"}
    with pytest.raises(SettingsError) as caught:
        open_client(Producer, producer_config(NOWHERE, secrets))
    assert "s3cr3t" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    config = {"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}
    with pytest.raises(LoadError, match=r"^-X ssl.ca.location: '/nowhere/ca.pem' cannot be read: No such file or dir"):
        open_client(Producer, producer_config(NOWHERE, config))


def test_an_invalid_broker_address_is_a_usage_error_and_one_with_a_protocol_is_not() -> None:
    with pytest.raises(SettingsError, match="requires HOST:PORT; http:// is not a protocol of Kafka"):
        open_client(Producer, producer_config(f"{NOWHERE}, http://127.0.0.1:2", {}))
    open_client(Producer, {**producer_config(f"PLAINTEXT://{NOWHERE}", {}), **client_hooks(lambda event: None)})


def test_empty_bootstrap_servers_are_a_usage_error() -> None:
    with pytest.raises(SettingsError, match="--bootstrap-servers"):
        open_client(Producer, producer_config(" , ", {}))


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (KafkaError._AUTHENTICATION, AccessDenied, "access denied"),
        (KafkaError._SSL, BrokerError, "the TLS connection to the broker"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessDenied, "access denied"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, AccessDenied, "access denied"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, AccessDenied, "access denied"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, AccessDenied, "access denied"),
        (KafkaError._TRANSPORT, BrokerError, "no broker responds at host:1"),
        (KafkaError._ALL_BROKERS_DOWN, BrokerError, "no broker responds at host:1"),
        (KafkaError._TIMED_OUT, BrokerError, "no broker responds at host:1"),
        (KafkaError._RESOLVE, BrokerError, "no broker responds at host:1"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, LoadError, "topic"),
        (KafkaError._UNKNOWN_TOPIC, LoadError, "topic"),
        (KafkaError.MSG_SIZE_TOO_LARGE, ProcessorError, "Kafka at host:1"),
    ],
)
def test_an_error_of_the_client_becomes_an_error_of_the_product(
    code: int, kind: type[ProcessorError], said: str
) -> None:
    error = error_of(KafkaError(code), "host:1")
    assert type(error) is kind
    assert said in str(error)


def test_denied_access_is_a_broker_error_with_the_exit_code_of_the_broker() -> None:
    assert issubclass(AccessDenied, BrokerError)
    assert AccessDenied.exit_code == BrokerError.exit_code == 4


def log_line(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("kafka", level, "", 0, message, None, None)


def test_a_log_line_of_the_client_becomes_an_event() -> None:
    events: list[Event] = []
    log = ClientLog(events.append)
    log.emit(log_line(logging.WARNING, "SESSTMOUT [x#consumer-1] [thrd:main]: Consumer group session timed out"))
    log.emit(log_line(logging.INFO, "OFFSET [x#consumer-1] [thrd:main]: t [0]: reset"))
    assert events == [
        KafkaClientError(code="SESSTMOUT", message="Consumer group session timed out"),
        KafkaClientLog(severity="info", facility="OFFSET", message="t [0]: reset"),
    ]


def test_a_repeated_error_is_logged_once_until_it_has_ceased_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that differ only in milliseconds count as the same."""
    now = [100.0]
    monkeypatch.setattr(client_log, "time", SimpleNamespace(monotonic=lambda: now[0]))
    events: list[Event] = []
    log = ClientLog(events.append)
    for number in range(50):
        log.report(KafkaError(KafkaError._TRANSPORT, f"refused (after {number}ms in state CONNECT)"))
    assert len(events) == 1
    now[0] += ClientLog.QUIET_SECONDS
    log.report(KafkaError(KafkaError._TRANSPORT, "refused (after 7ms in state CONNECT)"))
    assert [event.message for event in events if isinstance(event, KafkaClientError)] == [
        "refused (after 0ms in state CONNECT)",
        "refused (after 7ms in state CONNECT) (49 repeats suppressed)",
    ]


WITHOUT_A_BROKER = """
import sys
from confluent_kafka import Producer
from processor.kafka.client_log import client_hooks
from processor.kafka.config import open_client, producer_config

events = []
producer = open_client(Producer, {**producer_config("127.0.0.1:1", {}), **client_hooks(events.append)})
for _ in range(100):
    producer.poll(0.1)
    if "_TRANSPORT" in [getattr(event, "code", None) for event in events]:
        break
else:
    sys.exit("the client did not report that no broker responds")
"""


def test_a_client_without_a_broker_writes_nothing_on_stderr() -> None:
    """In a process without any other client."""
    command = [sys.executable, "-c", WITHOUT_A_BROKER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""The broker that other tests stand on does what they take for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import MakeBroker, MakeTopic, Produce
from tests.support import broker as brokers
from tests.support import cluster, kafka_jars
from tests.support.addresses import answers_within
from tests.support.broker import Broker, BrokerUnavailable
from tests.support.java_broker import JavaBroker
from tests.support.kafka_jars import PROJECT
from tests.support.until import until


def test_what_is_produced_is_there_byte_for_byte(broker: Broker, topic: MakeTopic, produce: Produce) -> None:
    name = topic(partitions=2)
    places = produce(name, [("a", b"1"), (None, None), (b"\xff", b"", [("h", None), ("h", b"2")])])
    found = {
        (m.partition(), m.offset()): (m.key(), m.value(), m.headers())
        for m in cluster.read_all(broker.bootstrap_servers, name)
    }
    assert [found[place] for place in places] == [
        (b"a", b"1", None),
        (None, None, None),
        (b"\xff", b"", [("h", None), ("h", b"2")]),
    ]


def test_a_session_goes_to_the_partition_that_java_would_choose(topic: MakeTopic, produce: Produce) -> None:
    """Kafka's own test vectors: murmur2("21") is -973932308, murmur2("foobar") is -790332482."""
    placed = produce(topic(partitions=100), [("21", b""), ("foobar", b"")])
    assert [partition for partition, _ in placed] == [
        (hashed & 0x7FFFFFFF) % 100 for hashed in (-973932308, -790332482)
    ]


def test_topics_are_created_as_requested_and_never_automatically(admin: AdminClient, topic: MakeTopic) -> None:
    name = topic(partitions=3, cleanup_policy="compact")
    assert len(admin.list_topics(name).topics[name].partitions) == 3
    assert topic() != topic()


def test_a_killed_broker_comes_back_with_its_address_and_its_data(own_broker: MakeBroker) -> None:
    broker = own_broker()
    address = broker.bootstrap_servers
    cluster.create_topic(address, "kept", partitions=1)
    cluster.produce(address, "kept", [("s", b"1")])
    broker.kill()
    assert not answers_within(address, 0.5)
    broker.start()
    cluster.produce(address, "kept", [("s", b"2")])
    assert broker.bootstrap_servers == address
    assert [message.value() for message in cluster.read_all(address, "kept")] == [b"1", b"2"]


def test_a_paused_broker_sends_no_response_until_it_is_resumed(own_broker: MakeBroker) -> None:
    broker = own_broker({"message.max.bytes": "2000000"})
    broker.pause()
    assert not answers_within(broker.bootstrap_servers, 0.5)
    broker.resume()
    assert answers_within(broker.bootstrap_servers, 60)


def test_a_broker_can_authenticate_its_clients(own_broker: MakeBroker) -> None:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "listeners": "SASL_PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": "SASL_PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{plain} username="u" password="p" user_u="p";',
    }
    client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u"}
    broker = own_broker(properties, {**client, "sasl.password": "p"})
    assert not answers_within(broker.bootstrap_servers, 1, {**client, "sasl.password": "wrong"})


def test_the_broker_dies_with_the_test_run(tmp_path: Path) -> None:
    """Also when the run is killed: nothing of it may stay behind on the machine."""
    if not kafka_jars.available():
        pytest.skip("needs Java")
    program = "import time\nfrom tests.support.java_broker import JavaBroker\nbroker = JavaBroker()\nbroker.start()\n"
    program += "print(broker.pid, flush=True)\ntime.sleep(60)"
    # What the killed run leaves on the disk goes with this test's own folder.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, env=env, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        broker = psutil.Process(int(run.stdout.readline()))
    run.kill()
    run.wait()
    until(lambda: not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE, "the broker ends with the run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_broker_for_development_has_its_topics_and_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    if not kafka_jars.available():
        pytest.skip("needs Java")
    command = [sys.executable, "-m", "tests.support.run_broker", "orders:2", "events"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        name, _, address = run.stdout.readline().strip().partition("=")
        assert name == "PROCESSOR_BOOTSTRAP_SERVERS"
        topics = cluster.admin_of(address).list_topics(timeout=cluster.SECONDS).topics
        run.send_signal(number)
        assert run.wait(cluster.SECONDS) == 0
    assert (len(topics["orders"].partitions), len(topics["events"].partitions)) == (2, 4)
    assert list(tmp_path.glob("processor-broker-*")) == []


def test_where_nothing_can_run_a_broker_one_message_names_the_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(brokers.ADDRESS, raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BrokerUnavailable, match=r"PROCESSOR_TEST_BOOTSTRAP_SERVERS.*Maven.*Docker"):
        brokers.choose_broker()


def test_a_broker_that_cannot_start_reports_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    if not kafka_jars.available():
        pytest.skip("needs Java")
    with pytest.raises(RuntimeError, match="no-such-role"), JavaBroker({"process.roles": "no-such-role"}):
        pass

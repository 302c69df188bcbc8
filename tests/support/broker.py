"""A real Kafka broker for tests: one at a given address, or one that is started with Java and Maven or with Docker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.support import kafka_jars
from tests.support.addresses import answers_within
from tests.support.docker_broker import WITHOUT_IMAGE, DockerBroker, docker_answers
from tests.support.java_broker import JavaBroker

ADDRESS = "PROCESSOR_TEST_BOOTSTRAP_SERVERS"
NO_BROKER = (
    f"no Kafka broker for this test: set {ADDRESS} to the address of one, "
    "or install Java 17+ and Maven, or start Docker"
)

STAYS: Mapping[str, str] = {"broker.session.timeout.ms": "60000"}
"""Properties of a broker that no test kills. Other brokers have a short session: if the machine stalls for three
seconds, the controller considers them dead, and then no partition has a leader and no group a coordinator."""


class BrokerUnavailable(Exception):
    """No broker is available on this machine; the message explains how to provide one."""


class Broker(Protocol):
    """The operations of a broker. A broker at a given address cannot be stopped, killed or paused."""

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def log_path(self) -> Path | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restart(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class GivenBroker:
    """A broker that is already running; the tests must not stop it."""

    log_path: Path | None = None

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    def start(self) -> None:
        """Waits until the broker answers.

        Raises:
            BrokerUnavailable: it does not answer in time.
        """
        if not answers_within(self.bootstrap_servers, 15):
            raise BrokerUnavailable(f"no Kafka broker answers at {ADDRESS}={self.bootstrap_servers}")

    def stop(self) -> None:
        """Does nothing: the tests did not start this broker."""

    def _refuse(self) -> None:
        raise NotImplementedError("a broker at a given address is not ours to stop")

    kill = pause = resume = restart = _refuse

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def choose_broker(
    properties: Mapping[str, str] | None = None,
    client: Mapping[str, str] | None = None,
    *,
    own: bool = False,
    version: str = kafka_jars.KAFKA_VERSION,
) -> Broker:
    """Return a broker that is not started yet, of the kind that this machine can run.

    Args:
        properties: server properties in addition to those of every test broker; with them, the address of a running
            broker is ignored.
        client: the client configuration to connect, if the properties require more than an address.
        own: whether the test may kill the broker; if so, the address of a running broker is ignored.
        version: the Kafka release of a broker that is started here.

    Raises:
        BrokerUnavailable: this machine can neither start a broker nor was given the address of one.
    """
    address = os.environ.get(ADDRESS)
    if address and not own and not properties:
        return GivenBroker(address)
    if not own:
        properties = {**STAYS, **(properties or {})}
    if kafka_jars.available():
        return JavaBroker(properties, client, version=version)
    if docker_answers() and version not in WITHOUT_IMAGE:
        return DockerBroker(properties, client, version=version)
    raise BrokerUnavailable(NO_BROKER)

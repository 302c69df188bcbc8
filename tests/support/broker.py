"""A real Kafka broker for tests: the one at a given address, or one of our own from Java and Maven, or from Docker."""

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
"""Properties of a broker that no test kills. With the short session of the others, its own controller would take it for
dead when the machine stands still for three seconds: then no partition has a leader, and no group a coordinator."""


class BrokerUnavailable(Exception):
    """No broker can be had on this machine; the message says how to get one."""


class Broker(Protocol):
    """What a test may do to a broker. One at a given address can only be used."""

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
    """A broker that runs already; the tests must not stop it."""

    log_path: Path | None = None

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    def start(self) -> None:
        """Waits until it answers.

        Raises:
            BrokerUnavailable: it does not.
        """
        if not answers_within(self.bootstrap_servers, 15):
            raise BrokerUnavailable(f"no Kafka broker answers at {ADDRESS}={self.bootstrap_servers}")

    def stop(self) -> None:
        """It goes on: it is not ours."""

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
    """A broker, not started yet, from whatever this machine has.

    Args:
        properties: server properties on top of those of every test broker; they need a broker of one's own.
        client: what a client needs to be let in, where the properties ask for more than an address.
        own: one that the test may kill; an address that was given is then of no use.
        version: the release of Kafka of a broker that is started here.

    Raises:
        BrokerUnavailable: this machine has nothing to run one with.
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

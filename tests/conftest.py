"""Fixtures for all tests: a real broker, topics and groups with unique names, and `processor run` as a child."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from tests.support import cluster, kafka_jars
from tests.support import registry_server as registry_server_of
from tests.support.addresses import free_ports
from tests.support.broker import STAYS, Broker, BrokerUnavailable, GivenBroker, choose_broker
from tests.support.registry_server import RegistryServer
from tests.support.run import Fleet
from tests.support.scenario import MakeScenario, Scenario
from tests.support.stalls import Stalls
from tests.support.wire import Wire, through_a_wire

REQUIRE_BROKER = "PROCESSOR_TEST_REQUIRE_BROKER"
"""If this is 1, a test that finds no broker fails instead of being skipped."""

NEED_A_BROKER = {"broker", "own_broker", "wired", "guarded", "topic", "admin", "produce"}
NEED_A_REGISTRY = {"registry_server"}
TOGETHER = ("registry_server", "guarded", "wired")
"""Servers that start slowly. If tests run in several processes, all tests with the same server run in one of them."""

# A run in CI must not fail by chance. On a developer's machine, random examples find new faults.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


MISSED_SOON = {"group.consumer.session.timeout.ms": "8000", "group.consumer.heartbeat.interval.ms": "1500"}
"""With KIP-848, the broker sets how long a member may be silent; with the classic protocol, the client does. The client
abandons a heartbeat that takes longer than its interval, see docs/RELIABILITY.md, so the interval is a second longer
than the delay of a slow wire. The session timeout is longer than the one that a consumer assumes."""

FAILED = pytest.StashKey[bool]()
"""Whether the test itself has failed. Fixtures read it when they are torn down."""


class MakeTopic(Protocol):
    """Creates a topic with a unique name, and returns the name."""

    def __call__(self, partitions: int = 4, **config: object) -> str: ...


class MakeBroker(Protocol):
    """Starts a broker for one test, which the test may kill. The broker is deleted after the test."""

    def __call__(
        self,
        properties: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        version: str = kafka_jars.KAFKA_VERSION,
    ) -> Broker: ...


class Produce(Protocol):
    """Produces (key, value[, headers]) to a topic, waits for delivery, and returns (partition, offset) of each."""

    def __call__(
        self,
        topic: str,
        records: Iterable[cluster.Row],
        *,
        partition: int | None = None,
        seconds: float = cluster.SECONDS,
        **config: object,
    ) -> list[tuple[int, int]]: ...


class Wired(NamedTuple):
    """A broker, and the wire through which a fleet reaches it. The test itself connects directly."""

    broker: Broker
    wire: Wire


def pytest_configure() -> None:
    """Restores SIGINT: a shell starts background jobs with SIGINT ignored, and children must not inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Records for the fixtures whether the test has failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need a server, for `-m "not broker and not registry"`, and groups those that share one."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if NEED_A_BROKER & fixtures:
            item.add_marker(pytest.mark.broker)
        if NEED_A_REGISTRY & fixtures:
            item.add_marker(pytest.mark.registry)
        for server in fixtures.intersection(TOGETHER):
            item.add_marker(pytest.mark.xdist_group(server))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Downloads the servers before the first test, so that no download counts towards the time limit of a test."""
    if session.config.option.collectonly:
        return
    for marker, server in (("broker", kafka_jars), ("registry", registry_server_of)):
        if server.available() and any(item.get_closest_marker(marker) for item in session.items):
            try:
                server.fetch()
            except kafka_jars.FetchError as error:
                raise pytest.UsageError(str(error)) from None
    with suppress(kafka_jars.FetchError):  # the tests that need an old version report the failure
        for version in _old_versions(session.items) if kafka_jars.available() else ():
            kafka_jars.fetch(version)


def _old_versions(items: list[pytest.Item]) -> set[str]:
    """Return the older releases of Kafka that are parameters of tests."""
    given = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    return {version for version in kafka_jars.OLD_VERSIONS if version in [each.get("version") for each in given]}


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that all tests share. No test may stop it."""
    with running_broker() as shared:
        yield shared


@pytest.fixture
def own_broker() -> Iterator[MakeBroker]:
    """Starts brokers that the test may kill, pause and restart; `properties` are additional server properties."""
    with ExitStack() as stack:

        def make(
            properties: Mapping[str, str] | None = None,
            client: Mapping[str, str] | None = None,
            version: str = kafka_jars.KAFKA_VERSION,
        ) -> Broker:
            return stack.enter_context(running_broker(properties, client, own=True, version=version))

        yield make


@pytest.fixture(scope="session")
def registry_server() -> Iterator[RegistryServer]:
    """The schema registry that all tests share. A test can block access with a `RegistryGate` in front of it."""
    if not registry_server_of.available():
        without("no schema registry for this test: install Java 17+ and Maven")
    with RegistryServer() as shared:
        yield shared


@pytest.fixture
def admin(broker: Broker) -> AdminClient:
    """An admin client of the shared broker."""
    return cluster.admin_of(broker.bootstrap_servers)


@pytest.fixture
def topic(broker: Broker, admin: AdminClient, request: pytest.FixtureRequest) -> Iterator[MakeTopic]:
    """Creates topics on the shared broker: `topic(partitions=4, cleanup_policy="compact")` returns a unique name."""
    made: list[str] = []

    def make(partitions: int = 4, **config: object) -> str:
        made.append(_unique_name(request))
        return cluster.create_topic(broker.bootstrap_servers, made[-1], partitions, **config)

    yield make
    if made and isinstance(broker, GivenBroker):  # a broker that the tests started is deleted with its topics
        for deleted in admin.delete_topics(made).values():
            deleted.exception(cluster.SECONDS)


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    """Measures for how long the machine stalls during the test."""
    with Stalls() as observed:
        yield observed


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    """A name for a consumer group that no other test uses."""
    return _unique_name(request)


@pytest.fixture
def produce(broker: Broker) -> Produce:
    """Produces to a topic of the shared broker, see `cluster.produce`."""

    def to_shared_broker(
        topic: str,
        records: Iterable[cluster.Row],
        *,
        partition: int | None = None,
        seconds: float = cluster.SECONDS,
        **config: object,
    ) -> list[tuple[int, int]]:
        return cluster.produce(broker.bootstrap_servers, topic, records, partition=partition, seconds=seconds, **config)

    return to_shared_broker


@pytest.fixture
def start_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Fleet]]:
    """Starts `processor run` as a child process, see `Fleet`. Processes that still run after the test are killed."""
    fleets: list[Fleet] = []
    with ExitStack() as stack:

        def start(app: str, *options: str, **more: object) -> Fleet:
            fleets.append(Fleet(app, *options, **{"folder": tmp_path, **more}))  # type: ignore[arg-type]
            return stack.enter_context(fleets[-1])

        yield start
        if request.node.stash.get(FAILED, False):
            for fleet in fleets:
                print(f"a fleet had said: {fleet.last_words}")


@pytest.fixture
def scenario(
    broker: Broker, topic: MakeTopic, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> MakeScenario:
    """Creates what most tests with a broker need: `scenario(partitions=4, **topic_config)`."""
    return lambda partitions=4, **config: Scenario(broker, topic(partitions, **config), group, tmp_path, start_fleet)


@pytest.fixture(scope="session")
def wired() -> Iterator[Wired]:
    """A broker behind a wire, which all tests share. Each test must leave the wire intact."""
    wire_port, direct_port = free_ports(2)
    properties = {**through_a_wire(wire_port, direct_port), **MISSED_SOON, **STAYS}
    with running_broker(properties, own=True) as behind:
        wire = Wire(wire_port, direct_port)
        yield Wired(behind, wire)
        wire.close()


@pytest.fixture
def wired_scenario(wired: Wired, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]) -> MakeScenario:
    """A scenario whose fleets connect through the wire."""

    def make(partitions: int = 4, **config: object) -> Scenario:
        topic = cluster.create_topic(wired.broker.bootstrap_servers, group, partitions, **config)
        return Scenario(wired.broker, topic, group, tmp_path, start_fleet, servers_of_fleets=wired.wire.address)

    return make


@contextmanager
def running_broker(
    properties: Mapping[str, str] | None = None,
    client: Mapping[str, str] | None = None,
    *,
    own: bool = False,
    version: str = kafka_jars.KAFKA_VERSION,
) -> Iterator[Broker]:
    """Runs a broker inside the `with`. Without one, the test is skipped, or fails if `REQUIRE_BROKER` is set."""
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(choose_broker(properties, client, own=own, version=version))
        except BrokerUnavailable as error:
            without(str(error))
        yield broker


def without(told: str) -> NoReturn:
    """Skips a test whose requirement is missing, or fails it if it must not be skipped."""
    if os.environ.get(REQUIRE_BROKER) == "1":
        pytest.fail(told, pytrace=False)
    pytest.skip(told)


def _unique_name(request: pytest.FixtureRequest) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")
    return f"{readable[:80]}-{uuid.uuid4().hex[:8]}"

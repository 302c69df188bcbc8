"""A broker behind a wire, for what a network and a coordinator can do to a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import running_broker
from tests.support import cluster
from tests.support.addresses import free_ports
from tests.support.broker import Broker
from tests.support.run import Fleet
from tests.support.scenario import Scenario
from tests.support.wire import Wire, through_a_wire


class Wired(NamedTuple):
    """A broker, and the wire over which a fleet reaches it; the test itself takes the direct way."""

    broker: Broker
    wire: Wire


@pytest.fixture(scope="session")
def wired() -> Iterator[Wired]:
    """One for the whole run: a test leaves the wire whole."""
    wire_port, direct_port = free_ports(2)
    with running_broker(through_a_wire(wire_port, direct_port), own=True) as broker:
        wire = Wire(wire_port, direct_port)
        yield Wired(broker, wire)
        wire.close()


@pytest.fixture
def wired_scenario(
    wired: Wired, group: str, tmp_path: Path, start_fleet: Callable[..., Fleet]
) -> Callable[..., Scenario]:
    """A scenario whose fleets come over the wire."""

    def make(partitions: int = 4, **config: object) -> Scenario:
        topic = cluster.create_topic(wired.broker.bootstrap_servers, group, partitions, **config)
        return Scenario(wired.broker, topic, group, tmp_path, start_fleet, servers_of_fleets=wired.wire.address)

    return make

"""The checks of a cluster, where it does not come to further questions."""

from __future__ import annotations

from typing import cast

from processor.boot.cluster_checkup import ClusterCheckup
from processor.kafka.cluster_facts import ClusterFacts
from processor.kafka.reach import Address
from processor.settings import Settings
from tests.support.addresses import free_ports


class Advertises:
    """A cluster that answers by one address and advertises others. Any further question is an error."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports

    def brokers(self) -> list[Address]:
        return [Address("127.0.0.1", port) for port in self._ports]


def test_no_further_query_is_sent_to_a_cluster_with_unreachable_advertised_addresses() -> None:
    ports = free_ports(2)
    checkup = ClusterCheckup(Settings(topics=("t",), group="g"), cast(ClusterFacts, Advertises(*ports)))
    login, listeners = checkup.findings()
    assert (login.check, login.level) == ("login", "ok")
    assert (listeners.check, listeners.level) == ("listeners", "failure")
    refused = ", ".join(f"127.0.0.1:{port} (connection refused)" for port in ports)
    assert listeners.found == f"advertised by the brokers: 2 of 2 not reachable: {refused}"
    assert checkup.brokers == 2

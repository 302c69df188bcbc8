"""Addresses, names and connections, without a Kafka client."""

from __future__ import annotations

import socket

import pytest

from processor.kafka.reach import Address, addresses_of, connect, resolve
from processor.operate.checkup import Probe
from tests.support.addresses import free_ports


@pytest.mark.parametrize(
    ("servers", "addresses"),
    [
        ("a:1", [Address("a", 1)]),
        ("a", [Address("a", 9092)]),
        (" a:1, ,SASL_SSL://b:2 ", [Address("a", 1), Address("b", 2)]),
        ("[::1]:9094", [Address("::1", 9094)]),
        ("[::1]", [Address("::1", 9092)]),
        ("a:x", [Address("a", 0)]),
        ("a:70000", [Address("a", 0)]),
    ],
)
def test_addresses_are_read_as_the_client_reads_them(servers: str, addresses: list[Address]) -> None:
    assert addresses_of(servers) == addresses


def test_an_address_of_ipv6_is_shown_in_brackets() -> None:
    assert [str(Address("a", 1)), str(Address("::1", 2))] == ["a:1", "[::1]:2"]


def test_each_name_is_resolved_once_and_each_address_is_connected_to() -> None:
    (closed,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        up, down = Address("127.0.0.1", server.getsockname()[1]), Address("127.0.0.1", closed)
        assert resolve([up, down]) == [Probe("127.0.0.1")]
        assert connect([up, down, up]) == [Probe(str(up)), Probe(str(down), "connection refused")]
    (probe,) = resolve([Address("no-such-name.invalid", 1)])
    assert probe.error is not None

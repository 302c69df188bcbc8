"""Addresses, names and connections, without a Kafka client."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from processor.kafka.reach import Address, addresses_of, connect, resolve, verify
from processor.operate.checkup import Probe
from tests.support.addresses import free_ports
from tests.support.certificates import Authority, Pair


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


@contextmanager
def tls_server(pair: Pair) -> Iterator[int]:
    """Start a server that only performs TLS handshakes, with this certificate. Return its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_certificate_that_is_refused_is_refused_for_one_reason(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    authority = Authority(tmp_path)
    trusted = {"ssl.ca.location": str(authority.certificate)}
    with tls_server(authority.issue("good")) as good, tls_server(authority.issue("old", hours=-1)) as old:
        found = verify([Address("127.0.0.1", good)], trusted)
        assert found.refused == []
        assert found.expires_in is not None
        assert 23 * 3600 < found.expires_in < 24 * 3600
        expired = verify([Address("127.0.0.1", good), Address("127.0.0.1", old)], trusted)
        assert expired.refused == [f"127.0.0.1:{old}: certificate has expired"]
        by_name = verify([Address("localhost", good)], trusted)
        assert by_name.expires_in is None
        assert "Hostname mismatch" in by_name.refused[0]
        any_name = {**trusted, "ssl.endpoint.identification.algorithm": "none"}
        assert verify([Address("localhost", good)], any_name).refused == []
        another = verify([Address("127.0.0.1", good)], {"ssl.ca.location": str(Authority(stranger).certificate)})
        assert len(another.refused) == 1


def test_a_server_without_tls_refuses_no_certificate(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    trusted = {"ssl.ca.location": str(Authority(tmp_path).certificate)}
    assert verify([Address("127.0.0.1", closed)], trusted) == (None, [])

"""Addresses of the live page: how they are written, and what listens there."""

from __future__ import annotations

import socket

import pytest

from processor.errors import SettingsError
from processor.observe.live.address import Address, fault, listen, parse


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        (":8080", "127.0.0.1", 8080),
        ("0", "127.0.0.1", 0),
        ("localhost:1", "localhost", 1),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        ("[::1]:80", "::1", 80),
        ("monitor.example:80", "monitor.example", 80),
    ],
)
def test_an_address_is_a_host_and_a_port_and_a_port_alone_is_on_loopback(text: str, host: str, port: int) -> None:
    assert parse(text) == Address(host, port)
    assert fault(text) is None


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", "::1", "::1:80", "[::1]", "[x]:80", "a b:80", "1:65536", "h:-1", "h:٣", "http://h:80"],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    words = fault(text)
    assert words is not None
    assert words.startswith("must be HOST:PORT or PORT, such as 8080, ")
    assert words.endswith(repr(text))


@pytest.mark.parametrize(("host", "is_loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_a_listener_has_its_url_and_whether_other_hosts_can_reach_it(host: str, is_loopback: bool) -> None:
    listener = listen(Address(host, 0))
    with listener.socket as listening:
        assert listener.url == f"http://{host}:{listening.getsockname()[1]}/"
        assert listener.is_loopback == is_loopback


def test_a_port_in_use_and_an_unknown_host_are_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"--serve 127.0.0.1:{port}: Address already in use"):
            listen(Address("127.0.0.1", port))
    with pytest.raises(SettingsError, match=r"the live view cannot be served at --serve no\.such\.host\.invalid:80: "):
        listen(Address("no.such.host.invalid", 80))

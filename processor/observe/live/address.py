"""Where the live page is served: `HOST:PORT` as text, and a socket that listens there."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, NamedTuple

from processor.errors import SettingsError
from processor.options.names import LARGEST_PORT

LOOPBACK: Final = "127.0.0.1"
"""The default host: a page without a login is for this machine only."""

BACKLOG: Final = 128
"""The most connections that wait to be accepted."""


class Address(NamedTuple):
    """A host and a port; port 0 stands for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


def parse(text: str) -> Address:
    """Return the address that `HOST:PORT`, `:PORT` or `PORT` stands for; an IPv6 host is in brackets.

    Raises:
        ValueError: it is none of these.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host or "[" in host or "]" in host or any(c.isspace() for c in host):
        raise ValueError(text)
    return Address(host or LOOPBACK, int(port))


def fault(text: str) -> str | None:
    """Return what is wrong with an address, in the words that follow the option's name; None if nothing is."""
    try:
        parse(text)
    except ValueError:
        return f"must be HOST:PORT or PORT, such as 8080, 127.0.0.1:8080 or [::1]:8080, not {text!r}"
    return None


class Listener(NamedTuple):
    """A socket that listens, and how it is reached."""

    socket: socket.socket
    host: str
    """as it was given"""
    url: str
    is_loopback: bool
    """whether only this machine can reach it"""


def listen(address: Address) -> Listener:
    """Return a socket that listens at `address`.

    Raises:
        SettingsError: that is not possible, for example because another program listens there.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"the live view cannot be served at --serve {address}: {reason}") from None
    port = listening.getsockname()[1]
    return Listener(listening, address.host, f"http://{_bracketed(address.host)}:{port}/", is_loopback(str(where[0])))


def is_loopback(host: str) -> bool:
    """Return whether `host`, an address or a name, is this machine under a name that only itself uses."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

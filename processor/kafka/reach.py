"""Resolves names, opens connections and verifies certificates, without a Kafka client: its errors name one reason.

Every function takes a bounded time, whatever the resolver and the network do.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from processor.kafka.secret_files import with_secrets
from processor.operate.checkup import Probe
from processor.options.names import LARGEST_PORT

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_SECONDS: Final = 4.0
"""Time limit for a name or a connection."""

DEFAULT_PORT: Final = 9092
"""The port of an address without one, as in librdkafka."""


class Address(NamedTuple):
    """A broker's address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Certificates(NamedTuple):
    """The result of TLS handshakes with several servers."""

    expires_in: float | None
    """Seconds until the first of them expires; None if none was verified."""
    refused: Sequence[str]
    """The servers whose certificate cannot be verified, with the reason."""


def addresses_of(servers: str) -> list[Address]:
    """Return the addresses of `--bootstrap-servers`. A port that is not a number is 0, which refuses connections."""
    found = []
    for server in filter(None, map(str.strip, servers.split(","))):
        address = server.rpartition("://")[2]
        host, colon, port = address.rpartition(":")
        if not colon or address.endswith("]"):
            host, port = address, str(DEFAULT_PORT)
        is_port = port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT
        found.append(Address(host.strip("[]"), int(port) if is_port else 0))
    return found


def resolve(addresses: Sequence[Address]) -> list[Probe]:
    """Resolve each name."""
    hosts = list(dict.fromkeys(address.host for address in addresses))
    errors = _in_parallel(_resolution_error, hosts, CONNECT_SECONDS)
    return [Probe(host, errors.get(host, _no_answer())) for host in hosts]


def connect(addresses: Sequence[Address]) -> list[Probe]:
    """Open a connection to each address, and close it."""
    distinct = list(dict.fromkeys(addresses))
    errors = _in_parallel(_connection_error, distinct, CONNECT_SECONDS)
    return [Probe(str(address), errors.get(address, _no_answer())) for address in distinct]


def verify(addresses: Sequence[Address], kafka_config: Mapping[str, Any]) -> Certificates:
    """Verify the certificates of servers with the authorities of `-X ssl.ca.location`, or else with the system's.

    A server that cannot be reached, or that ends the handshake for another reason than its certificate, is left out.

    Args:
        addresses: of the servers.
        kafka_config: the settings of the Kafka client.

    Raises:
        LoadError: a file with a secret cannot be read.
        OSError: a file with certificates cannot be used.
    """
    context = _context(with_secrets(kafka_config))
    found = _in_parallel(lambda address: _expiry(address, context), list(dict.fromkeys(addresses)), CONNECT_SECONDS)
    refused = [f"{address}: {outcome}" for address, outcome in found.items() if isinstance(outcome, str)]
    expiries = [outcome for outcome in found.values() if isinstance(outcome, float)]
    return Certificates(min(expiries, default=None), refused)


def verifies(kafka_config: Mapping[str, Any]) -> bool:
    """Return whether the client verifies certificates."""
    return str(kafka_config.get("enable.ssl.certificate.verification", "true")).lower() == "true"


def _context(config: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if (authorities := config.get("ssl.ca.location")) not in (None, "probe"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, str(authorities))
    context.check_hostname = str(config.get("ssl.endpoint.identification.algorithm", "https")).lower() != "none"
    if "ssl.certificate.location" in config and "ssl.key.location" in config:
        password = str(config.get("ssl.key.password", ""))
        context.load_cert_chain(config["ssl.certificate.location"], config["ssl.key.location"], password)
    return context


def _load_authorities(context: ssl.SSLContext, location: str) -> None:
    if Path(location).is_dir():
        context.load_verify_locations(capath=location)
    else:
        context.load_verify_locations(cafile=location)


def _expiry(address: Address, context: ssl.SSLContext) -> float | str | None:
    """Return the seconds until the certificate expires, why it cannot be verified, or None if neither is known."""
    try:
        with (
            socket.create_connection(address, timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message)
    except OSError:
        return None
    ends = certificate.get("notAfter")
    return ssl.cert_time_to_seconds(ends) - time.time() if isinstance(ends, str) else None


def _resolution_error(host: str) -> str | None:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return _reason(error)
    return None


def _connection_error(address: Address) -> str | None:
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _no_answer()
    return (getattr(error, "strerror", None) or str(error)).lower()


def _no_answer() -> str:
    return f"no answer within {CONNECT_SECONDS:g} s"


def _in_parallel(function: Callable[[Item], Result], items: Sequence[Item], seconds: float) -> dict[Item, Result]:
    """Call `function` with each item in a separate thread. Calls that take longer than `seconds` are left out.

    The threads are daemons: a resolver that hangs does not delay the end of the process.
    """
    results: dict[Item, Result] = {}

    def call(item: Item) -> None:
        results[item] = function(item)

    threads = [threading.Thread(target=call, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds + 0.5
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return dict(results)

"""Free ports on loopback, and checks whether a broker answers on one."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

# Below 32768, where the kernel's range for outgoing connections begins. Otherwise a client that keeps trying to reach a
# killed broker could be given the broker's own port, and the broker could not restart on it.
PORTS = range(15_000, 32_000)


_reserved: set[int] = set()
"""The ports that this process has reserved. The lock excludes only other processes."""


def free_ports(count: int) -> list[int]:
    """Return `count` free ports on loopback, and reserve them until this process ends.

    A server needs a second until it listens, and a killed server returns to its port later. Meanwhile this function
    gives the port neither to this process nor to another test run on this machine.
    """
    held: list[socket.socket] = []
    chance = random.Random(os.urandom(8))
    try:
        while len(held) < count:
            port = chance.choice(PORTS)
            if not _reserve(port):
                continue
            taken = socket.socket()
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                taken.close()
            else:
                held.append(taken)
        return [taken.getsockname()[1] for taken in held]
    finally:
        for taken in held:
            taken.close()


def _reserve(port: int) -> bool:
    """Try to reserve a port, and return whether it was still free to reserve."""
    if port in _reserved:
        return False
    try:
        # Each byte of the file represents a port. The kernel releases the lock when this process ends in any way.
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:  # another process has it
        return False
    _reserved.add(port)
    return True


@cache
def _reservations() -> int:
    """Return the descriptor of the lock file. It stays open: closing it would release all locks of the process."""
    file = Path(tempfile.gettempdir()) / f"processor-test-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)


def listens(port: int) -> bool:
    """Return whether a server accepts connections on this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers_within(bootstrap_servers: str, seconds: float, client: Mapping[str, str] | None = None) -> bool:
    """Return whether a Kafka broker answers at this address within `seconds`."""
    quiet: dict[str, str | int | float] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
        "socket.timeout.ms": 5000,
    }
    admin = AdminClient({**quiet, **(client or {})})
    try:
        return bool(admin.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False

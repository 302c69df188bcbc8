"""Ports of loopback, and whether a broker answers there."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

# Below 32768, where the kernel takes the ports of outgoing connections from: a client that tries again and again to
# reach a broker that was killed could otherwise be given the broker's own port, and the broker could not come back.
PORTS = range(15_000, 32_000)


def free_ports(count: int) -> list[int]:
    """This number of free ports of loopback."""
    held: list[socket.socket] = []
    chance = random.Random(os.urandom(8))
    try:
        while len(held) < count:
            taken = socket.socket()
            try:
                taken.bind(("127.0.0.1", chance.choice(PORTS)))
            except OSError:
                taken.close()
            else:
                held.append(taken)
        return [taken.getsockname()[1] for taken in held]
    finally:
        for taken in held:
            taken.close()


def listens(port: int) -> bool:
    """Whether anybody takes connections at this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers_within(bootstrap_servers: str, seconds: float, client: Mapping[str, str] | None = None) -> bool:
    """Whether a Kafka broker answers at this address."""
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

"""Which Kafka client this is, for `--version` and for bug reports."""

from __future__ import annotations

import confluent_kafka


def client_versions() -> tuple[str, str]:
    """The versions of the Python client and of the C library below it."""
    return str(confluent_kafka.__version__), confluent_kafka.libversion()[0]

"""The client's own mock of a broker, for the claims that it supports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.kafka.embedded import EmbeddedBroker


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker

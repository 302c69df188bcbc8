"""A consumer is put together with as few connections as its checks need."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from processor.boot.assembly import assemble
from processor.handlers.table import Handlers
from processor.kafka import admin
from processor.kafka.config import open_client
from processor.kafka.embedded import EmbeddedBroker
from processor.settings import Settings


def test_the_topics_are_checked_with_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SASL/OAUTHBEARER each one has to get a token before it can connect, which takes up to a second."""
    opened: list[type] = []

    def counted(kind: type, config: Any) -> Any:
        opened.append(kind)
        return open_client(kind, config)

    monkeypatch.setattr(admin, "open_client", counted)
    with EmbeddedBroker() as broker:
        broker.create_topics(["t"])
        settings = Settings(
            topics=("t",),
            group="g",
            bootstrap_servers=broker.bootstrap_servers,
            value_format="bytes",
            create_topics=False,
        )
        consumer = assemble(settings, Handlers.of(lambda task: None), 0, lambda event: None)
        consumer.request_stop("the test is over")
        consumer.run()
    assert opened == [AdminClient]

"""`GroupInquiry`: what the coordinator knows of a group, asked for over a connection of its own."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription

from processor.errors import ProcessorError
from processor.kafka.client_log import client_hooks
from processor.kafka.config import admin_config, open_client
from processor.settings import Settings
from processor.telemetry.events import Emit

ANSWER_SECONDS: Final = 2.0
"""How long the coordinator may take."""


class GroupInquiry:
    """One admin client, opened by the first question. Belongs to one thread, which it blocks."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._client: AdminClient | None = None

    def describe(self) -> ConsumerGroupDescription | None:
        """Return the group's state and members, or None where the coordinator does not answer, or not this client."""
        settings = self._settings
        try:
            if self._client is None:
                config = admin_config(settings.bootstrap_servers, settings.kafka_config)
                self._client = open_client(AdminClient, {**config, **client_hooks(self._emit)})
            (answer,) = self._client.describe_consumer_groups([settings.group], request_timeout=ANSWER_SECONDS).values()
            description: ConsumerGroupDescription = answer.result()
        except (KafkaException, ProcessorError):
            return None
        return description

"""The control topic without a broker."""

from __future__ import annotations

from contextlib import closing

from confluent_kafka import KafkaError

from processor.kafka.config import reason_of
from processor.kafka.control_topic import ControlTopic
from processor.options.connection import ConnectionOptions
from processor.telemetry.events import ControlFailed, Event


def test_a_failure_is_logged_once_for_each_reason() -> None:
    events: list[Event] = []
    topic = ControlTopic(ConnectionOptions(bootstrap_servers="127.0.0.1:1"), "commands", events.append)
    denied, missing = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with closing(topic._client):
        for error in (denied, denied, missing, missing):
            topic._report(error)
    reasons = [event.error for event in events if isinstance(event, ControlFailed)]
    assert reasons == [reason_of(denied), reason_of(missing)]

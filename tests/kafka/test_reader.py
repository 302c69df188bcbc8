"""How a reader interprets the client's errors, without a broker."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.errors import BrokerError, LoadError
from processor.kafka.reader import KafkaReader
from processor.options.connection import ConnectionOptions

CONNECTION = ConnectionOptions(bootstrap_servers="127.0.0.1:1")


def record(code: int) -> Any:
    error = KafkaError(code)
    return SimpleNamespace(error=lambda: error, topic=lambda: "t", partition=lambda: 0, offset=lambda: -1001)


def test_a_deleted_topic_is_an_error_and_not_an_endless_wait() -> None:
    with closing(KafkaReader(CONNECTION, lambda _: None)) as reader, pytest.raises(LoadError, match="topic t cannot"):
        reader.interpret(record(KafkaError.UNKNOWN_TOPIC_OR_PART))


def test_denied_access_to_a_topic_is_an_error_and_to_the_group_is_not() -> None:
    with closing(KafkaReader(CONNECTION, lambda _: None)) as reader:
        with pytest.raises(BrokerError, match="topic t"):
            reader.interpret(record(KafkaError.TOPIC_AUTHORIZATION_FAILED))
        assert reader.interpret(record(KafkaError.GROUP_AUTHORIZATION_FAILED)) is None

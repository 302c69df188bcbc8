"""Events of the Kafka client library and of the schema registry's client."""

from __future__ import annotations

from typing import ClassVar

from processor.telemetry.events.event import Event, Level


class KafkaClientLog(Event):
    """A log line of librdkafka, the Kafka client library."""

    event: ClassVar[str] = "kafka.client_log"

    severity: str
    facility: str
    message: str


class KafkaClientError(Event):
    """librdkafka, the Kafka client library, reports an error that it recovers from by itself."""

    event: ClassVar[str] = "kafka.client_error"
    level: ClassVar[Level] = "warning"

    code: str
    """name of the error code"""
    message: str


class KafkaProducerFailed(Event):
    """librdkafka ended a producer after an error that it cannot recover from; the next record opens a new producer.

    Dead letters and results that were not acknowledged are sent again.
    """

    event: ClassVar[str] = "kafka.producer_failed"
    level: ClassVar[Level] = "warning"

    code: str
    """name of the error code"""
    message: str
    reopen_in_seconds: float
    """time until a new producer may open; above 0 if the last one delivered nothing"""


class KafkaTokenFailed(Event):
    """The function of `--oauth-callback` returned no new token; it is called again within ten seconds.

    Clients keep the last token. When it expires, the brokers end their connections until there is a new one.
    """

    event: ClassVar[str] = "kafka.token_failed"
    level: ClassVar[Level] = "warning"

    error: str
    last_expires_in_seconds: float
    """time until the last token expires; negative after that"""


class KafkaTokenRenewed(Event):
    """The function of `--oauth-callback` has returned a token again."""

    event: ClassVar[str] = "kafka.token_renewed"

    expires_in_seconds: float


class RegistryUnavailable(Event):
    """The schema registry does not answer; tasks with unknown schemas wait. At most once in 30 seconds."""

    event: ClassVar[str] = "registry.unavailable"
    level: ClassVar[Level] = "warning"

    registry: str
    """its URL"""
    error: str
    failures: int
    """consecutive requests without an answer"""
    retry_in_seconds: float


class RegistryAvailable(Event):
    """The schema registry answers again."""

    event: ClassVar[str] = "registry.available"

    registry: str
    """its URL"""
    unavailable_seconds: float
    failures: int
    """requests without an answer"""

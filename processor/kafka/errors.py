"""Translates errors of the Kafka clients into the program's own, and their messages into readable ones."""

from __future__ import annotations

import re
from typing import Final

from confluent_kafka import KafkaError

from processor.errors import AccessDenied, BrokerError, LoadError, ProcessorError

ACCESS_DENIED: Final = frozenset(
    (
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.SECURITY_DISABLED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED,
        KafkaError.DELEGATION_TOKEN_EXPIRED,
    )
)
NO_RESPONSE: Final = frozenset(
    (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._UNKNOWN_BROKER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
    )
)
NO_TOPIC: Final = frozenset(
    (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    )
)


def error_of(error: KafkaError, servers: str = "", *, about: str = "") -> ProcessorError:
    """Translates a client's error: access denied, no response, no such topic, or any other.

    Args:
        error: the client's error.
        servers: the bootstrap servers, for the message.
        about: the subject of the request, such as a topic, for the message.
    """
    code, text = error.code(), reason_of(error)
    subject = f" ({about})" if about else ""
    if code == KafkaError._SSL:
        return BrokerError(f"the TLS connection to the broker{_at(servers)}{subject} failed: {_tls_reason(text)}")
    if code in ACCESS_DENIED:
        return AccessDenied(f"access denied by the broker{_at(servers)}{subject}: {text}")
    if code in NO_RESPONSE:
        return BrokerError(f"no broker responds{_at(servers)}{subject}: {text}")
    if code in NO_TOPIC:
        return LoadError(f"topic {about} cannot be used: {text}" if about else f"no such topic: {text}")
    return ProcessorError(f"Kafka{_at(servers)}{subject}: {text}")


def _tls_reason(text: str) -> str:
    """The reason. The client does not distinguish an unknown authority from a certificate for another host."""
    if "certificate verify failed" not in text:
        return text
    return (
        "its certificate cannot be verified: it is not signed by an authority in -X ssl.ca.location, "
        "is for another host name, or has expired"
    )


def _at(servers: str) -> str:
    return f" at {servers}" if servers else ""


def reason_of(error: KafkaError) -> str:
    """The client's message, without its origin inside the client."""
    text = " ".join(error.str().split())
    text = re.sub(r"^\S+/\w+: |^(Commit failed: )?(Broker|Local): ", "", text)
    return re.sub(r" \(after \d+ms in state \w+[^)]*\)", "", text)

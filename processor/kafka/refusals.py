"""Interprets a group coordinator's refusal of a member: an invalid setting, or a temporary state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError

from processor.errors import LoadError
from processor.kafka.config import Config
from processor.kafka.group_protocol import unsupported
from processor.settings import Settings

BrokerSettings = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns values of broker settings by name; empty if this client may not read them."""

SESSION_BOUNDS: Final = ("group.min.session.timeout.ms", "group.max.session.timeout.ms")
ASSIGNORS: Final = "group.consumer.assignors"

TEMPORARY: Final[Mapping[int, str]] = {
    KafkaError.UNRELEASED_INSTANCE_ID: "the group still has a member with this consumer's group.instance.id: it waits "
    "until that member leaves or its session expires",
    KafkaError.GROUP_MAX_SIZE_REACHED: "the group has the maximum number of members (group.max.size, "
    "group.consumer.max.size): it waits until a member leaves",
}
"""Refusals that end when another member leaves, with the reason to report."""

LASTING: Final = (
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.UNSUPPORTED_ASSIGNOR,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.GROUP_ID_NOT_FOUND,
)
"""Refusals that last until a setting of this consumer or of the cluster is changed."""


def code_of(error: KafkaError, others: Sequence[int] = ()) -> int:
    """The coordinator's error code. For errors that it treats as fatal, the client provides the text only.

    Args:
        error: the client's error.
        others: further codes whose text to compare with.
    """
    if error.code() == KafkaError._FATAL:
        for code in (*TEMPORARY, *LASTING, *others):
            if KafkaError(code).str() in error.str():
                return code
    return int(error.code())


def mistake_of(code: int, settings: Settings, config: Config, broker_settings: BrokerSettings) -> LoadError | None:
    """The error that names the invalid setting; None for a refusal that is not `LASTING`.

    Args:
        code: from `code_of`.
        settings: the consumer's settings.
        config: the client's configuration, including defaults.
        broker_settings: queries the brokers' limits.
    """
    match code:
        case KafkaError.INVALID_SESSION_TIMEOUT:
            text = _of_session(config, broker_settings(SESSION_BOUNDS))
        case KafkaError.INVALID_GROUP_ID:
            text = f"the brokers do not accept --group {settings.group!r}: choose another name"
        case KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            text = (
                f"group {settings.group} has members with another protocol or partition.assignment.strategy than this "
                f"consumer ({settings.group_protocol}): stop them first, or choose another --group"
            )
        case KafkaError.UNSUPPORTED_ASSIGNOR:
            asked, allowed = config.get("group.remote.assignor"), broker_settings([ASSIGNORS])
            text = f"-X group.remote.assignor={asked} is not one of this cluster's {allowed.get(ASSIGNORS, ASSIGNORS)}"
        case KafkaError.UNSUPPORTED_VERSION:
            text = unsupported(settings.bootstrap_servers)
        case KafkaError.GROUP_ID_NOT_FOUND:
            text = (
                f"group {settings.group} has members with the classic protocol, and this cluster does not convert "
                "groups (group.consumer.migration.policy): stop them first, or use --group-protocol classic"
            )
        case _:
            return None
    return LoadError(text)


def _of_session(config: Config, bounds: Mapping[str, str]) -> str:
    limits = " and ".join(f"{name} ({bounds[name]})" if name in bounds else name for name in SESSION_BOUNDS)
    asked = config["session.timeout.ms"]
    return f"-X session.timeout.ms={asked} is rejected by the brokers: it must be between their {limits}"

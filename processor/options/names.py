"""The names that Kafka accepts for topics, groups and clients."""

from collections.abc import Iterable
from typing import Final

from processor.options.kinds import text_fault

LONGEST_TOPIC: Final = 249
"""The most characters of a topic's name (`Topic.MAX_NAME_LENGTH` of Kafka)."""

LONGEST_TEXT: Final = 32_767
"""The most bytes of a text in Kafka's protocol, whose lengths are signed 16-bit numbers. A broker closes the connection
on a request with a longer one, and the client would reconnect forever."""

LARGEST_PARTITION: Final = 2**31 - 1
"""The largest number of a partition in Kafka's protocol. The Kafka client raises an exception for a larger one."""

DEAD_LETTER_SUFFIX: Final = ".dlq"

INTERNAL: Final = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"})
"""Topics to which brokers allow no client to write."""


LARGEST_PORT: Final = 65_535


def servers_fault(servers: str) -> str | None:
    """What is wrong with addresses of brokers, in the words that follow an option's name; None if nothing is.

    Of a number above the largest port, the Kafka client takes the remainder, and connects to another port.
    """
    for server in servers.split(","):
        port = server.strip().rpartition(":")[2]
        if port.isascii() and port.isdigit() and int(port) > LARGEST_PORT:
            return f"{server.strip()!r} has a port above {LARGEST_PORT}"
    return None


def topic_fault(topic: str) -> str | None:
    """What is wrong with the name of a topic, in the words that follow an option's name; None if nothing is."""
    is_legal = topic.isascii() and all(character.isalnum() or character in "._-" for character in topic)
    if is_legal and 0 < len(topic) <= LONGEST_TOPIC and topic not in (".", ".."):
        return None
    shown = repr(topic) if len(topic) <= LONGEST_TOPIC else f"of {len(topic)} characters"
    return f"{shown} is not a valid topic name: use letters, digits, '.', '_' and '-', at most {LONGEST_TOPIC} of them"


def target_fault(topic: str) -> str | None:
    """Return the same for a topic that is written to, which must not be one of `INTERNAL`."""
    if topic in INTERNAL:
        return f"{topic!r} is one of Kafka's own topics, and no client may write to it"
    return topic_fault(topic)


def group_fault(group: str) -> str | None:
    """What is wrong with the name of a group, in the words that follow an option's name; None if nothing is."""
    if not group:
        return "must not be empty"
    if group != group.strip():
        return f"must not begin or end with white space, which the Kafka client drops: {group!r}"
    if (fault := text_fault(group)) is not None:
        return fault
    size = len(group.encode())
    return None if size <= LONGEST_TEXT else f"must have at most {LONGEST_TEXT} bytes in UTF-8, not {size}"


def collision(topics: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that differ only in '.' and '_', if there are any: a broker with one rejects the other."""
    seen: dict[str, str] = {}
    for topic in topics:
        other = seen.setdefault(topic.replace(".", "_"), topic)
        if other != topic:
            return other, topic
    return None

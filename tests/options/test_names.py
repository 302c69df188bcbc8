"""The names that Kafka takes."""

from __future__ import annotations

import pytest

from processor.options.names import (
    INTERNAL,
    LONGEST_TEXT,
    LONGEST_TOPIC,
    collision,
    group_fault,
    servers_fault,
    target_fault,
    topic_fault,
)

RULE = "is not a valid topic name: use letters, digits, '.', '_' and '-', at most 249 of them"


@pytest.mark.parametrize("topic", ["a", "A-z_0.9", "...", "-", "x" * LONGEST_TOPIC, *sorted(INTERNAL)])
def test_a_topic_name_that_kafka_accepts_has_no_fault(topic: str) -> None:
    assert topic_fault(topic) is None


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "a:b", "a,b", "ä", "٣", "a\n", "a\0", "\udcff"])
def test_a_topic_name_that_kafka_does_not_take_is_quoted_with_the_rule(topic: str) -> None:
    assert topic_fault(topic) == f"{topic!r} {RULE}"


def test_a_topic_name_that_is_too_long_is_not_repeated() -> None:
    assert topic_fault("x" * 250) == f"of 250 characters {RULE}"


@pytest.mark.parametrize("topic", sorted(INTERNAL))
def test_a_topic_of_kafkas_own_is_refused_as_a_target(topic: str) -> None:
    assert target_fault(topic) == f"{topic!r} is one of Kafka's own topics, and no client may write to it"
    assert target_fault(f"{topic}s") is None
    assert target_fault("a b") == topic_fault("a b")


@pytest.mark.parametrize("group", ["g", "a b\nü", "g" * LONGEST_TEXT])
def test_a_group_name_that_kafka_accepts_has_no_fault(group: str) -> None:
    assert group_fault(group) is None


@pytest.mark.parametrize(
    ("group", "fault"),
    [
        ("", "must not be empty"),
        (" ", "must not begin or end with white space, which the Kafka client drops: ' '"),
        (" g", "must not begin or end with white space, which the Kafka client drops: ' g'"),
        ("g\n", "must not begin or end with white space, which the Kafka client drops: 'g\\n'"),
        ("g" * 32768, "must have at most 32767 bytes in UTF-8, not 32768"),
        ("ü" * 16384, "must have at most 32767 bytes in UTF-8, not 32768"),
        ("g\udcff", "must be valid UTF-8"),
        ("g\0h", "must not contain a NUL character"),
    ],
)
def test_a_group_name_that_the_client_or_a_broker_does_not_take_is_refused(group: str, fault: str) -> None:
    assert group_fault(group) == fault


@pytest.mark.parametrize("servers", ["localhost", "a:9092, b:65535", "[::1]:9092", "::1", "PLAINTEXT://a:9092"])
def test_addresses_that_the_client_takes_have_no_fault(servers: str) -> None:
    assert servers_fault(servers) is None


def test_a_port_of_which_the_client_would_take_the_remainder_is_refused() -> None:
    assert servers_fault("a:9092, b:99999") == "'b:99999' has a port above 65535"


def test_names_that_differ_only_in_dots_and_underscores_collide() -> None:
    assert collision(["a.b", "c", "a_b"]) == ("a.b", "a_b")
    assert collision(["a.b", "a-b", "ab", "A.b", "a.b"]) is None

"""`Settings`: options that do not go together, and topics that Kafka cannot have."""

from __future__ import annotations

from typing import Any

import pytest

from processor import Processor
from processor.errors import LoadError, ProcessorError, SettingsError
from processor.settings import Settings


def settings(*topics: str, **options: Any) -> Settings:
    return Settings(topics=topics or ("t",), group="g", **options)


@pytest.mark.parametrize("length", [246, 249])
def test_a_topic_whose_dead_letter_topic_would_have_too_long_a_name_needs_another(length: int) -> None:
    topic = "x" * length
    with pytest.raises(LoadError) as caught:
        settings("t", topic)
    assert str(caught.value) == (
        f"the dead-letter topic of {topic!r} would have {length + 4} characters, and Kafka allows 249: "
        "set --dead-letter-topic"
    )
    assert settings("t", topic, dead_letter_topic="d").dead_letter_topic_of(topic) == "d"


def test_the_longest_dead_letter_topic_is_fine() -> None:
    assert len(settings("x" * 245).dead_letter_topic_of("x" * 245)) == 249


@pytest.mark.parametrize(
    "options",
    [
        {"topics": ("a b",)},
        {"topics": ("t", "..")},
        {"topics": ("x" * 250,), "dead_letter_topic": "d"},
        {"dead_letter_topic": "a b"},
        {"dead_letter_topic": "__consumer_offsets"},
        {"results_topic": ""},
        {"results_topic": "__transaction_state"},
    ],
)
def test_a_topic_that_cannot_exist_or_be_written_to_is_exit_code_5(options: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match=r"--(topic|dead-letter-topic|results-topic) ") as caught:
        Settings(**{"topics": ("t",), "group": "g", **options})
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("topics", "options", "pair"),
    [
        (("a.b", "a_b"), {}, ("a.b", "a_b")),
        (("orders_dlq", "orders"), {}, ("orders_dlq", "orders.dlq")),
        (("a.b",), {"results_topic": "a_b"}, ("a.b", "a_b")),
        (("t",), {"results_topic": "t_dlq"}, ("t.dlq", "t_dlq")),
        (("t",), {"results_topic": "a_b", "dead_letter_topic": "a.b"}, ("a.b", "a_b")),
    ],
)
def test_topics_of_which_kafka_has_only_one_are_refused(
    topics: tuple[str, ...], options: dict[str, Any], pair: tuple[str, str]
) -> None:
    with pytest.raises(LoadError) as caught:
        settings(*topics, **options)
    assert str(caught.value).startswith(f"the topics {pair[0]!r} and {pair[1]!r} differ only in '.' and '_'")


def test_results_and_dead_letters_may_share_a_topic() -> None:
    assert settings(results_topic="d", dead_letter_topic="d").results_topic == "d"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"topics": ()}, SettingsError, "no topic to consume: give at least one --topic"),
        ({"topics": ("t", "t")}, SettingsError, "--topic names the same topic twice"),
        (
            {"dead_letter_topic": "t"},
            SettingsError,
            "--dead-letter-topic 't' is consumed by this command: its output would be consumed again",
        ),
        (
            {"results_topic": "t"},
            SettingsError,
            "--results-topic 't' is consumed by this command: its output would be consumed again",
        ),
        (
            {"progress_topic": "t"},
            SettingsError,
            "--progress-topic 't' is consumed by this command: its output would be consumed again",
        ),
        (
            {"progress_topic": "t.dlq"},
            SettingsError,
            "--progress-topic 't.dlq' is also written to by tasks: give it its own",
        ),
        (
            {"progress_topic": "p", "control_topic": "p"},
            SettingsError,
            "--progress-topic 'p' is also the control topic: give it its own",
        ),
        ({"backoff": 2, "backoff_max": 1.5}, SettingsError, "--backoff-max 1.5 is below --backoff 2"),
        *(
            (
                {"delivery": "exactly-once", "kafka_config": {"isolation.level": level}},
                SettingsError,
                "-X isolation.level=read_uncommitted is refused with --delivery exactly-once: offsets and records of "
                "an aborted transaction would be read as committed",
            )
            for level in ("read_uncommitted", "READ_UNCOMMITTED")
        ),
        ({"group": " g"}, SettingsError, "--group must not begin or end with white space, which the Kafka client "
                                         "drops: ' g'"),
        ({"kafka_config": {"group.id": "x"}}, SettingsError, "-X group.id is refused: use --group"),
        ({"kafka_config": {"error_cb": "x"}}, SettingsError, "-X error_cb is refused: a callback cannot be given as "
                                                             "text"),
        (
            {"kafka_config": {"client.id": "ü" * 20_000}},
            SettingsError,
            "-X client.id is refused: it must have at most 32667 bytes, not 40000",
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    options: dict[str, Any], error: type[ProcessorError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        Settings(**{"topics": ("t",), "group": "g", **options})
    assert str(caught.value) == sentence


def test_a_program_is_refused_with_the_same_sentences_before_anything_is_asked() -> None:
    with pytest.raises(SettingsError, match=r"^--workers must be an integer, or a range such as 8\.\.64, not 'many'$"):
        Processor().run("t", "g", workers="many")
    with pytest.raises(LoadError, match="set --dead-letter-topic"):
        Processor().run("x" * 249, "g")

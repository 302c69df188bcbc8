"""Where an option's value comes from when the command line does not give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.cli.config_file import RUN_OPTIONS, from_environment, pairs_in, read, words_in
from processor.errors import LoadError
from processor.options.option_set import entries_of
from processor.settings import Settings


def written(folder: Path, text: str) -> str:
    file = folder / "processor.toml"
    file.write_text(text)
    return str(file)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(LoadError) as caught:
        read(written(folder, text), RUN_OPTIONS)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_keys_are_the_options_long_names_with_dashes_or_underscores(tmp_path: Path) -> None:
    text = 'group = "g"\nmax-attempts = 5\ndrain_timeout = 2.5\nstop-at-end = true\ncreate_topics = false\n'
    assert read(written(tmp_path, text), RUN_OPTIONS) == {
        "group": "g",
        "max_attempts": "5",
        "drain_timeout": "2.5",
        "stop_at_end": "true",
        "create_topics": "false",
    }


@pytest.mark.parametrize(
    ("text", "topics"), [('topic = "a"', "a"), ('topic = ["a", "b"]', ["a", "b"]), ("topic = []", [])]
)
def test_topic_is_a_string_or_a_list(tmp_path: Path, text: str, topics: object) -> None:
    assert read(written(tmp_path, text), RUN_OPTIONS) == {"topic": topics}


@pytest.mark.parametrize(
    "text",
    [
        '[kafka-config]\n"client.id" = "a=b c"\n"fetch.min.bytes" = 1\n"enable.x" = true',
        '[kafka_config]\nclient.id = "a=b c"\nfetch.min.bytes = 1\nenable.x = true',
        'kafka-config = ["client.id=a=b c", "fetch.min.bytes=1", "enable.x=true"]',
    ],
)
def test_kafka_config_is_a_table_or_a_list_of_pairs(tmp_path: Path, text: str) -> None:
    pairs = ["client.id=a=b c", "fetch.min.bytes=1", "enable.x=true"]
    assert read(written(tmp_path, text), RUN_OPTIONS) == {"kafka_config": pairs}


def test_the_error_for_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    assert "has an unknown key 'max_atempts'; did you mean 'max-attempts'?" in refused(tmp_path, "max_atempts = 3")
    assert "the keys are the long names of the options" in refused(tmp_path, "zzz = 3")


@pytest.mark.parametrize("key", ["app", "config", "help", "topics"])
def test_an_option_that_a_file_cannot_set_is_unknown(tmp_path: Path, key: str) -> None:
    assert f"unknown key '{key}'" in refused(tmp_path, f'{key} = "x"')


def test_a_key_given_twice_in_its_two_spellings_is_refused(tmp_path: Path) -> None:
    assert "twice" in refused(tmp_path, "max-attempts = 1\nmax_attempts = 2")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[group]\na = 1", "a table"),
        ("group = 2024-01-01", "a date or time"),
        ("topic = [[1]]", "a list in a list"),
        ("[kafka-config]\n'client.id' = [1]", "a list"),
    ],
)
def test_a_value_of_a_wrong_kind_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    assert f"must be text, a number or a boolean, not {kind}" in refused(tmp_path, text)


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot be read: No such file"):
        read(str(tmp_path / "none.toml"), RUN_OPTIONS)
    with pytest.raises(LoadError, match="cannot be read: Is a directory"):
        read(str(tmp_path), RUN_OPTIONS)


def test_the_error_for_invalid_toml_names_its_line_and_no_secret(tmp_path: Path) -> None:
    sentence = refused(tmp_path, '[kafka-config]\n"sasl.password" = hunter2\n')
    assert "is not TOML: Invalid value (at line 2" in sentence
    assert "hunter2" not in sentence
    (tmp_path / "processor.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LoadError, match="is not TOML"):
        read(str(tmp_path / "processor.toml"), RUN_OPTIONS)


def test_the_environment_names_an_option_by_its_long_name() -> None:
    environment = {
        "PROCESSOR_TOPIC": "a, b\nc",
        "PROCESSOR_MAX_ATTEMPTS": "4",
        "PROCESSOR_GROUP": "",
        "PROCESSOR_WORKERS": "  ",
        "PROCESSOR_UNKNOWN": "x",
        "TOPIC": "y",
    }
    found = from_environment(environment, entries_of(Settings))
    assert found == {"topic": ["a", "b", "c"], "max_attempts": "4"}


@pytest.mark.parametrize(
    ("text", "words"), [("a", ["a"]), ("a,b", ["a", "b"]), (" a  b,\tc ,", ["a", "b", "c"]), (",", [])]
)
def test_several_topics_stand_in_one_variable(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("client.id=a", ["client.id=a"]),
        ("client.id=a,fetch.min.bytes=1", ["client.id=a", "fetch.min.bytes=1"]),
        ("client.id=a fetch.min.bytes=1", ["client.id=a", "fetch.min.bytes=1"]),
        ("client.id=a, debug=all", ["client.id=a", "debug=all"]),
        ("client.id=a\nsasl.password=x, y.z=1\n", ["client.id=a", "sasl.password=x, y.z=1"]),
        ("sasl.password=p=q,r s", ["sasl.password=p=q,r s"]),
        ("client.rack=a,b,c", ["client.rack=a,b,c"]),
        ("sasl.oauthbearer.config=principal=a scope=b,client.id=c", [
            "sasl.oauthbearer.config=principal=a scope=b", "client.id=c",
        ]),
    ],
)  # fmt: skip
def test_several_pairs_stand_in_one_variable(text: str, pairs: list[str]) -> None:
    assert pairs_in(text) == pairs

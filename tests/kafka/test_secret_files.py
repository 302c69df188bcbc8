"""Secrets from mounted files, and the errors for files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from processor.errors import LoadError, SettingsError
from processor.kafka.config import open_client, producer_config
from processor.kafka.secret_files import with_secrets

SECRET = "sasl.password"


def test_a_secret_is_read_from_its_file_without_the_last_line_break(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    assert with_secrets({f"{SECRET}.file": str(file), "client.id": "a"}) == {SECRET: "open sesame", "client.id": "a"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"\xff\xfe", "not text in UTF-8")],
)
def test_a_file_that_cannot_be_used_is_named_in_the_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LoadError, match=message) as caught:
        with_secrets({f"{SECRET}.file": str(file)})
    assert str(file) in str(caught.value)


def test_a_secret_given_twice_is_refused_without_repeating_it() -> None:
    with pytest.raises(SettingsError, match="set only one of them") as caught:
        with_secrets({SECRET: "hunter2", f"{SECRET}.file": "/run/secrets/x"})
    assert "hunter2" not in str(caught.value)


def test_every_client_reads_its_secrets_from_files_and_never_shows_them(tmp_path: Path) -> None:
    file = tmp_path / "key-password"
    file.write_text("hunter2")
    asked = {"ssl.key.password.file": str(file), "security.protocol": "ssl", "ssl.key.location": "/nowhere/hunter2"}
    with pytest.raises(LoadError, match=r"ssl.key.location: '/nowhere/[*]{3}' cannot be read") as caught:
        open_client(Producer, producer_config("127.0.0.1:1", asked))
    assert "hunter2" not in str(caught.value)

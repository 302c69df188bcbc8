"""Settings of a schema registry, and how they are displayed."""

from __future__ import annotations

from typing import Any

import pytest
from rich.pretty import pretty_repr

from processor.errors import SettingsError
from processor.registry_settings import RegistrySettings, masked
from processor.settings import Settings

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url", [f"https://user:{SECRET}@h:8081/path", f"https://user:{SECRET}@h/, https://user:{SECRET}@i"]
)
def test_a_user_in_the_url_is_used_and_never_shown(url: str) -> None:
    settings = RegistrySettings(url=url)
    assert settings.user_in_url == ("user", SECRET)
    assert SECRET not in settings.address + repr(settings) + str(settings)
    assert "@" not in settings.address
    whole = Settings(topics=("t",), group="g", schema_registry=url)
    assert SECRET not in repr(whole) + str(whole) + pretty_repr(whole) + pretty_repr(settings)
    assert "https://***@" in repr(whole)


def test_user_and_password_in_the_url_may_be_percent_encoded() -> None:
    assert RegistrySettings(url="https://a%40b:p%2Fw%3A@h").user_in_url == ("a@b", "p/w:")


@pytest.mark.parametrize(
    "url",
    [
        f"https://u:{SECRET}/x@h",
        f"https://u:{SECRET}@h:port",
        f"u:{SECRET}@h",
        f"//{SECRET}@h",
        f"http://u:{SECRET},@h",
    ],
)
def test_an_invalid_url_is_rejected_without_showing_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a valid address") as refusal:
        RegistrySettings(url=url)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": " , "}, "must not be empty"),
        ({"url": "ftp://h"}, "is not a valid address"),
        ({"url": "http://h/#part"}, "is not a valid address"),
        ({"user": "u"}, "password-file is missing"),
        ({"password_file": "f"}, "user is missing"),
        ({"user": "u", "password_file": "f", "token_file": "f"}, "give only one of"),
        ({"url": f"http://u:{SECRET}@h", "token_file": "f"}, "give only one of"),
        ({"url": f"http://u:{SECRET}@h", "user": "u", "password_file": "f"}, "give only one of"),
        ({"url": "http://u:p@h,http://v:p@i"}, "several users"),
        ({"key": "k.pem"}, "--schema-registry-key requires --schema-registry-certificate"),
    ],
)
def test_contradictory_settings_are_rejected(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refusal:
        RegistrySettings(**{"url": "http://h", **settings})
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic", "orders-value"), ("record", "shop.Order"), ("topic-record", "orders-shop.Order")],
)
def test_the_strategy_determines_the_subject(strategy: Any, subject: str) -> None:
    assert RegistrySettings(url="http://h", subject_name_strategy=strategy).subject("orders", "shop.Order") == subject


def test_a_strategy_with_the_schemas_name_requires_a_name() -> None:
    assert RegistrySettings(url="http://h").subject("orders", None) == "orders-value"
    with pytest.raises(SettingsError, match="requires a schema with a name"):
        RegistrySettings(url="http://h", subject_name_strategy="record").subject("orders", None)


def test_a_url_is_masked_up_to_its_last_at_sign() -> None:
    assert masked(f"https://u:{SECRET}@{SECRET}@h/x") == "https://***@h/x"
    assert masked(f"https://u:{SECRET},@h") == "https://***@h"
    assert masked("https://h/x") == "https://h/x"


def test_the_kafka_clients_secrets_are_not_shown() -> None:
    settings = Settings(topics=("t",), group="g", kafka_config={"sasl.password": SECRET, "client.id": "shop"})
    for shown in (repr(settings), pretty_repr(settings)):
        assert SECRET not in shown
        assert "'client.id': 'shop'" in shown

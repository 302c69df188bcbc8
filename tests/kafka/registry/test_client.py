"""Authentication at a registry, and the meaning of its answers: with a real registry behind a gate."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema as Registered
from confluent_kafka.schema_registry import SchemaRegistryClient

from processor.avro.schemas import shipped_schemas
from processor.errors import LoadError, NotARegistry, RegistryAccessDenied, RegistryError
from processor.kafka.registry import client
from processor.kafka.registry.consumer import ConsumerRegistry, open_registry
from processor.registry_settings import RegistrySettings
from processor.telemetry.events import Event, RegistryUnavailable
from tests.support.certificates import Authority
from tests.support.registry_gate import RegistryGate
from tests.support.registry_server import RegistryServer

TASK = shipped_schemas().by_name["processor.Task"]
RESULT = shipped_schemas().by_name["processor.TaskResult"]
ORDER = {"type": "record", "name": "shop.Order", "fields": [{"name": "sku", "type": "string"}]}
SECRET = "hunter2"


@pytest.fixture
def gate(registry_server: RegistryServer) -> Iterator[RegistryGate]:
    with RegistryGate(registry_server.url) as gate:
        yield gate


def check(**settings: Any) -> None:
    with open_registry(RegistrySettings(**settings), retries=0) as client:
        client.check()


def test_a_password_in_the_url_or_in_a_file_authenticates(gate: RegistryGate, tmp_path: Path) -> None:
    gate.authorization = "Basic dTpodW50ZXIy"  # u:hunter2
    (tmp_path / "password").write_text(f"{SECRET}\n")
    check(url=gate.url, user="u", password_file=str(tmp_path / "password"))
    check(url=gate.url.replace("//", f"//u:{SECRET}@"))
    with pytest.raises(RegistryAccessDenied, match="denies access: HTTP 401, Unauthorized"):
        check(url=gate.url)
    with pytest.raises(RegistryAccessDenied) as refusal:
        check(url=gate.url.replace("//", f"//v:{SECRET}@"))
    assert SECRET not in str(refusal.value)


def test_a_token_is_read_again_for_each_connection(gate: RegistryGate, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    settings = RegistrySettings(url=gate.url, token_file=str(token))
    gate.authorization = "Bearer first"
    for wanted in ("first", "second"):
        token.write_text(f"{wanted}\n")
        gate.authorization = f"Bearer {wanted}"
        with open_registry(settings) as client:
            client.check()


@pytest.mark.parametrize("option", ["password_file", "token_file"])
def test_an_unreadable_secret_is_reported_with_its_option(option: str) -> None:
    user = {"user": "u"} if option == "password_file" else {}
    with pytest.raises(LoadError, match=f"--schema-registry-{option.replace('_', '-')}: '/nowhere' cannot be read"):
        check(url="http://h", **user, **{option: "/nowhere"})


def test_mutual_tls(registry_server: RegistryServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.key)
    tls.load_verify_locations(authority.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    with RegistryGate(registry_server.url, tls=tls) as gate:
        ca = {"url": gate.url, "ca": str(authority.certificate)}
        check(**ca, certificate=str(client.certificate), key=str(client.key))
        with pytest.raises(RegistryError, match="no response"):
            check(**ca)
        with pytest.raises(RegistryError, match=r"(?i)certificate"):
            check(url=gate.url, certificate=str(client.certificate), key=str(client.key))


@pytest.mark.parametrize(
    "settings", [{"ca": "/nowhere"}, {"ca": __file__}, {"certificate": "/nowhere"}, {"certificate": __file__}]
)
def test_an_unusable_tls_file_is_reported(settings: dict[str, str]) -> None:
    with pytest.raises(
        LoadError, match=f"TLS file for the schema registry \\({next(iter(settings.values()))}\\) cannot be used"
    ) as refusal:
        check(url="https://h", **settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, b'{"error_code": 50001, "message": "store"}'), RegistryError),
        ((503, b"<html>no backend</html>"), RegistryError),
        ((429, b'{"error_code": 42901, "message": "slow down"}'), RegistryError),
        ((403, b'{"error_code": 40301, "message": "no"}'), RegistryAccessDenied),
        ((401, b""), RegistryAccessDenied),
        ((404, b"default backend - 404"), NotARegistry),
        ((404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'), NotARegistry),
        ((404, b""), NotARegistry),
        ((400, b"The plain HTTP request was sent to HTTPS port"), RegistryError),
        ((200, b"<html>sign in</html>"), NotARegistry),
        ((200, b"{}"), NotARegistry),
        ((200, b"[]"), NotARegistry),
        ((200, b""), NotARegistry),
    ],
)
def test_only_a_response_of_the_registry_itself_means_that_a_schema_does_not_exist(
    gate: RegistryGate, answer: tuple[int, bytes], error: type[RegistryError]
) -> None:
    """Every other answer is a temporary failure, reported in one line."""
    gate.answer = answer
    with open_registry(RegistrySettings(url=gate.url), retries=0) as client:
        for ask in (
            lambda: client.schema_by_id(1),
            lambda: client.schema_by_guid(bytes(16)),
            lambda: client.framing_for("t", TASK),
        ):
            with pytest.raises(RegistryError) as caught:
                ask()
            assert isinstance(caught.value, error)
            assert gate.url in str(caught.value)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 600


def test_a_registry_without_guids_has_no_such_schema(registry_server: RegistryServer) -> None:
    """It answers GUIDs with a plain 404, as a gateway whose registry is down, but other requests normally."""
    with open_registry(RegistrySettings(url=registry_server.url)) as client:
        with pytest.raises(LoadError, match=f"has no schema {UUID(int=0)}"):
            client.schema_by_guid(bytes(16))


def test_a_registry_that_accepts_connections_but_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RegistryError, match=r"no response from the schema registry .*timed out"):
            check(url=f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_the_next_address_is_used_when_one_is_down(registry_server: RegistryServer) -> None:
    away = RegistryGate(registry_server.url).url
    check(url=f"{away}, {registry_server.url}")


def test_an_incompatible_schema_is_rejected_with_the_registrys_reason(registry_server: RegistryServer) -> None:
    with SchemaRegistryClient({"url": registry_server.url}) as theirs:
        theirs.register_schema("incompatible-value", Registered(json.dumps(ORDER), "AVRO"))
        theirs.set_compatibility("incompatible-value", "BACKWARD")
    with open_registry(RegistrySettings(url=registry_server.url)) as client:
        with pytest.raises(LoadError, match=r"rejects the registration of .* under incompatible-value") as no:
            client.framing_for("incompatible", TASK)
    assert "\n" not in str(no.value)


def test_a_check_reports_configuration_errors_and_tolerates_an_outage(gate: RegistryGate) -> None:
    events: list[Event] = []
    registry = ConsumerRegistry(RegistrySettings(url=gate.url), events.append)
    registry.check([("results", RESULT)])
    assert registry.framing_for("results", RESULT).frame[0] == 0
    gate.authorization = "Bearer x"
    with pytest.raises(RegistryAccessDenied):
        registry.check([])
    gate.answer = (404, b"")
    with pytest.raises(NotARegistry):
        registry.check([])
    assert events == []
    gate.shut()
    registry.check([])
    assert [type(event) for event in events] == [RegistryUnavailable]

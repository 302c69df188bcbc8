"""A function's return value becomes a token, or an error in one sentence; clients share a token while it is fresh."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from processor.errors import BrokerError
from processor.kafka import oauth
from processor.kafka.oauth import OAuthTokens, TokenError
from processor.telemetry.events import Event, KafkaTokenFailed, KafkaTokenRenewed
from tests.support.until import until

JSON_WEB_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."


def in_an_hour() -> float:
    return time.time() + 3600


class Function:
    """Returns its `outcome`, or raises it. `gate` blocks it until the test opens it."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.calls = 0
        self.configs: list[str | None] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, config: str | None) -> Any:
        self.calls += 1
        self.configs.append(config)
        self.gate.wait(30)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def tokens(function: Any, events: list[Event] | None = None) -> OAuthTokens:
    return OAuthTokens(function, "--oauth-callback auth:token", (lambda _: None) if events is None else events.append)


def refusal(outcome: Any) -> str:
    with pytest.raises(BrokerError) as caught:
        tokens(Function(outcome)).demand(None)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("--oauth-callback auth:token ")


def test_a_token_and_its_expiry_are_enough() -> None:
    expiry = in_an_hour()
    assert tokens(Function(("a.b-c_~+/=", expiry)))(None) == ("a.b-c_~+/=", expiry, "", {})


def test_the_principal_and_extensions_are_passed_on() -> None:
    expiry = in_an_hour()
    extensions = {"logicalCluster": "lkc-1"}
    assert tokens(Function(("t", expiry, "alice")))(None) == ("t", expiry, "alice", {})
    assert tokens(Function(["t", expiry, "alice", extensions]))(None) == ("t", expiry, "alice", extensions)
    assert tokens(Function(("t", expiry, None, None)))(None) == ("t", expiry, "", {})


def test_a_function_with_an_argument_receives_the_clients_setting() -> None:
    function = Function(("t", in_an_hour()))
    tokens(function)("scope=kafka")
    assert function.configs == ["scope=kafka"]
    assert tokens(lambda: ("t", in_an_hour()))("scope=kafka")[0] == "t"


async def asynchronous(config: object) -> tuple[str, float]:
    return "t", in_an_hour()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (RuntimeError("no\n route"), "raised RuntimeError: no route"),
        (KeyError(), "raised KeyError"),
        (SystemExit("enough"), "raised SystemExit: enough"),
        (Mute(), "raised Mute"),
        (ValueError("x" * 10_000), f"raised ValueError: {'x' * 300}…"),
        (None, "must return (token, expiry in seconds since the epoch), not NoneType"),
        ("abc", "must return (token, expiry in seconds since the epoch), not str"),
        (("t",), "must return (token, expiry in seconds since the epoch), not tuple of 1"),
        (("t", 1, "p", {}, 5), "must return (token, expiry in seconds since the epoch), not tuple of 5"),
        ((b"t", in_an_hour()), "must return a token in the characters of a bearer token (RFC 6750)"),
        (("", in_an_hour()), "must return a token in the characters of a bearer token (RFC 6750)"),
        (("a\x01auth=x", in_an_hour()), "must return a token in the characters of a bearer token (RFC 6750)"),
        (("t", "soon"), "must return an expiry in seconds since the epoch, not str"),
        (("t", True), "must return an expiry in seconds since the epoch, not bool"),
        (("t", float("nan")), "must return an expiry in seconds since the epoch, not float"),
        (("t", time.time() * 1000), "must return an expiry in seconds since the epoch, not in milliseconds"),
        (("t", 10**400), "returned a value that cannot be read: OverflowError"),
        (("t", 0), "returned a token that expired "),
        *(
            (("t", in_an_hour(), principal), "must return the principal as a text in UTF-8, without NUL characters")
            for principal in (7, "a\0b", "\ud800")
        ),
        *(
            (("t", in_an_hour(), "p", extensions), "must return the extensions as a dictionary of texts, by names of ")
            for extensions in (
                "a=b",
                {"a": 1},
                {1: "a"},
                {"auth": "x"},
                {"a-b": "x"},
                {"a": "\x01"},
                {"a": "ü"},
                {"a": ""},
            )
        ),
    ],
)
def test_an_invalid_token_is_reported_in_one_sentence(outcome: Any, message: str) -> None:
    assert refusal(outcome).startswith(message)


def test_a_coroutine_function_is_refused() -> None:
    with pytest.raises(BrokerError, match="is a coroutine function: it must return the token itself"):
        tokens(asynchronous).demand(None)


def test_a_function_that_hangs_is_abandoned_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "FIRST_SECONDS", 0.2)
    function = Function(("t", in_an_hour()))
    function.gate.clear()
    started = time.monotonic()
    with pytest.raises(BrokerError, match="has not returned for 0 s"):
        tokens(function).demand(None)
    assert time.monotonic() - started < 5
    function.gate.set()


class Clock:
    """The clocks of the product, of which the test sets the one of the day."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(oauth, "time", made)
    return made


def test_clients_share_a_token_in_the_first_half_of_its_lifetime(clock: Clock) -> None:
    function = Function(("t", clock.now + 4.0))
    shared = tokens(function)
    assert {shared(None)[0] for _ in range(10)} == {"t"}
    assert function.calls == 1
    clock.now += 2.1
    function.outcome = ("u", in_an_hour())
    assert shared(None)[0] == "u"
    assert function.calls == 2


def test_the_function_runs_once_at_a_time_for_any_number_of_clients() -> None:
    function = Function(("t", in_an_hour()))
    function.gate.clear()
    shared, got = tokens(function), list[str]()
    asking = [threading.Thread(target=lambda: got.append(shared(None)[0])) for _ in range(8)]
    for thread in asking:
        thread.start()
    until(lambda: function.calls == 1, "it is called")
    function.gate.set()
    for thread in asking:
        thread.join(30)
    assert got == ["t"] * 8
    assert function.calls == 1


def failing_after(clock: Clock, token: str, reason: str) -> tuple[Function, OAuthTokens, list[Event]]:
    """A function whose token is due for renewal, and which from now on raises an error that quotes the token."""
    events: list[Event] = []
    function = Function((token, clock.now + 3.0))
    shared = tokens(function, events)
    shared.demand(None)
    function.outcome = RuntimeError(f"{token} {reason}")
    clock.now += 1.6
    return function, shared, events


def test_a_later_failure_is_logged_once_for_all_clients_and_so_is_its_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "SHARED_SECONDS", 600.0)
    function, shared, events = failing_after(clock, JSON_WEB_TOKEN, "is not accepted")
    for _ in range(5):
        with pytest.raises(TokenError, match=r"raised RuntimeError: \*\*\* is not accepted"):
            shared(None)
    (failed,) = events
    assert isinstance(failed, KafkaTokenFailed)
    assert failed.error == "--oauth-callback auth:token raised RuntimeError: *** is not accepted"
    assert failed.last_expires_in_seconds == 1.4
    assert function.calls == 2
    monkeypatch.setattr(oauth, "SHARED_SECONDS", 0.0)
    function.outcome = ("new", in_an_hour())
    assert shared(None)[0] == "new"
    assert [type(event) for event in events] == [KafkaTokenFailed, KafkaTokenRenewed]


@pytest.mark.parametrize("token", ["opaque-" * 60, f"eyJ{'h' * 300}.payload."])
def test_a_long_error_shows_no_part_of_a_token_that_it_quotes(clock: Clock, token: str) -> None:
    _, shared, events = failing_after(clock, token, f"is not accepted: {'x' * 10_000}")
    with pytest.raises(TokenError, match=r"raised RuntimeError: \*\*\* is not accepted: x+…$"):
        shared(None)
    (failed,) = events
    assert isinstance(failed, KafkaTokenFailed)
    assert failed.error.startswith("--oauth-callback auth:token raised RuntimeError: *** is not accepted: x")


def test_a_function_that_hung_and_returns_after_all_ends_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "NEXT_SECONDS", 0.1)
    monkeypatch.setattr(oauth, "SHARED_SECONDS", 0.0)
    function = Function(("t", in_an_hour()))
    function.gate.clear()
    shared = tokens(function)
    for _ in range(3):
        with pytest.raises(TokenError, match="has not returned for"):
            shared(None)
    assert function.calls == 1
    function.gate.set()
    until(lambda: shared._token is not None, "it has returned")
    assert shared(None)[0] == "t"
    assert function.calls == 1


def test_its_representation_holds_no_token() -> None:
    shared = tokens(Function((JSON_WEB_TOKEN, in_an_hour())))
    shared.demand(None)
    assert repr(shared) == "<tokens of --oauth-callback auth:token>"

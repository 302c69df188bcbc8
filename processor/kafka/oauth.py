"""Tokens for SASL/OAUTHBEARER, from a function of the application."""

from __future__ import annotations

import inspect
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from processor.errors import BrokerError
from processor.options.connection import OAUTH_CB
from processor.options.kinds import text_fault
from processor.telemetry.events import Emit, KafkaTokenFailed, KafkaTokenRenewed

FIRST_SECONDS: Final = 10.0
"""Time limit of the function for the first token."""

NEXT_SECONDS: Final = 5.0
"""Time for which a client waits for a further token. It requests one when a fifth of the last one's lifetime is left,
and every ten seconds after a failure. Closing a client may take as long."""

SHARED_SECONDS: Final = 5.0
"""Time for which the clients of a process share a failure of the function, instead of each calling it again."""

SHARED_PART: Final = 0.5
"""The fraction of a token's lifetime during which the clients of a process share it."""

LATEST: Final = 1e11
"""The year 5138 in seconds since the epoch: a later expiry is in milliseconds."""

LONGEST_TEXT: Final = 300

_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""

_NAME: Final = re.compile(r"(?!auth\Z)[A-Za-z]+")
_VALUE: Final = re.compile(r"[\x20-\x7e\t\r\n]+")
"""The value of a SASL extension: RFC 7628, section 3.1."""

_JSON_WEB_TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w.-]*")
"""A JSON Web Token, which begins with a JSON object in base64."""


class Token(NamedTuple):
    """A token, as the function returned it."""

    value: str
    expiry: float
    """In seconds since the epoch."""
    principal: str
    extensions: Mapping[str, str]
    received: float
    """In seconds since the epoch."""

    @property
    def is_fresh(self) -> bool:
        """Whether another client may also use it."""
        return time.time() < self.received + SHARED_PART * (self.expiry - self.received)


class TokenError(Exception):
    """The function has returned no new token."""


class _Call:
    """One call of the function."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.returned = threading.Event()


class OAuthTokens:
    """The `oauth_cb` of all Kafka clients of a process. It caches the token that a function returns while it is fresh.

    Each client calls it in a separate thread before a token expires, idle or not. The function runs in another
    thread, one call at a time, so that a function that hangs blocks a client for at most `NEXT_SECONDS`.

    Mutable state, under `_guard`: `_token`, `_call`, `_failure` and `_failed_at`.
    """

    def __init__(self, function: Callable[..., object], name: str, emit: Emit) -> None:
        """The first client that needs a token calls the function.

        Args:
            function: returns (token, expiry in seconds since the epoch), optionally followed by the name of the
                principal and a dictionary of SASL extensions. Its argument, if it has one, is the value of
                `sasl.oauthbearer.config`.
            name: its name in errors, such as "--oauth-callback auth:token".
            emit: receives failures after the first token.
        """
        self._function = function
        self._name = name
        self._emit = emit
        self._guard = threading.Lock()
        self._token: Token | None = None
        self._call: _Call | None = None
        self._failure: str | None = None
        self._failed_at = -math.inf

    def __repr__(self) -> str:
        return f"<tokens of {self._name}>"

    def __call__(self, config: str | None) -> tuple[str, float, str, Mapping[str, str]]:
        """Return a token for a client.

        Raises:
            TokenError: there is no new one. The client keeps the last one while that is valid, and calls again.
        """
        return self._current(config, NEXT_SECONDS)[:4]

    def demand(self, config: str | None) -> None:
        """Get a token before a client is opened: the client would not report an error of the function.

        Raises:
            BrokerError: the function fails, or does not return in time.
        """
        try:
            self._current(config, FIRST_SECONDS)
        except TokenError as error:
            raise BrokerError(str(error)) from None

    def _current(self, config: str | None, seconds: float) -> Token:
        with self._guard:
            if self._token is not None and self._token.is_fresh:
                return self._token
            if self._failure is not None and time.monotonic() < self._failed_at + SHARED_SECONDS:
                raise TokenError(self._failure)
            call = self._call or self._begin(config)
        if not call.returned.wait(seconds):
            self._note(f"{self._name} has not returned for {time.monotonic() - call.begun:.0f} s")
        with self._guard:
            if self._token is not None and self._token.is_fresh:
                return self._token
            raise TokenError(self._failure or f"{self._name} returned no fresh token")

    def _begin(self, config: str | None) -> _Call:
        """Call the function. The caller holds the guard."""
        call = _Call()
        try:
            threading.Thread(target=self._run, args=(call, config), name="oauth-callback", daemon=True).start()
        except RuntimeError as error:  # the limit of the system, or of a container, on threads
            raise TokenError(f"{self._name} cannot be called: {error}") from None
        self._call = call
        return call

    def _run(self, call: _Call, config: str | None) -> None:
        try:
            outcome = _outcome(self._function, config, self._token)
        except BaseException as error:  # noqa: BLE001  what it returned raises, and the thread must not end with that
            outcome = f"returned a value that cannot be read: {_text_of(error, self._token)}"
        if isinstance(outcome, str):
            self._note(f"{self._name} {outcome}", ended=True)
        else:
            with self._guard:
                self._token, self._call = outcome, None
                failure, self._failure = self._failure, None
            if failure is not None:
                self._emit(KafkaTokenRenewed(expires_in_seconds=round(outcome.expiry - outcome.received, 3)))
        call.returned.set()

    def _note(self, failure: str, *, ended: bool = False) -> None:
        """Keep a failure for the other clients, and log it. At the start, the error itself is shown."""
        with self._guard:
            if ended:
                self._call = None
            last = self._token
            self._failure = _without_token(failure, last)
            self._failed_at = time.monotonic()
        if last is not None:
            seconds = round(last.expiry - time.time(), 3)
            self._emit(KafkaTokenFailed(error=_without_token(failure, last), last_expires_in_seconds=seconds))


def tokens_of(kafka_config: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Return `kafka_config` with a function `oauth_cb` replaced by an `OAuthTokens` that all clients share."""
    function = kafka_config.get(OAUTH_CB)
    if function is None or isinstance(function, OAuthTokens):
        return dict(kafka_config)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return {**kafka_config, OAUTH_CB: OAuthTokens(function, f"{OAUTH_CB} {name}", emit)}


def _outcome(function: Callable[..., object], config: str | None, last: Token | None) -> Token | str:
    """Return a token, or a message about the function that follows its name and does not quote the `last` token."""
    try:
        returned = function(config) if _takes_an_argument(function) else function()
    except BaseException as error:  # noqa: BLE001  the thread is ours: what ends it here would keep all clients waiting
        return f"raised {_text_of(error, last)}"
    if inspect.iscoroutine(returned):
        returned.close()
        return "is a coroutine function: it must return the token itself"
    if not isinstance(returned, tuple | list) or not 2 <= len(returned) <= 4:
        return f"must return (token, expiry in seconds since the epoch), not {_kind_of(returned)}"
    defaults: tuple[object, ...] = ("", {})
    return _token(*returned, *defaults[len(returned) - 2 :])


def _token(value: object, expiry: object, principal: object, extensions: object) -> Token | str:
    now = time.time()
    if not isinstance(value, str) or not _BEARER.fullmatch(value):
        return "must return a token in the characters of a bearer token (RFC 6750)"
    if (fault := _expiry_fault(expiry, now)) is not None:
        return fault
    # After a text that it cannot read, the client would never call the function again.
    if not isinstance(principal, str | None) or text_fault(principal) is not None:
        return "must return the principal as a text in UTF-8, without NUL characters"
    if not _are_extensions(extensions):
        return "must return the extensions as a dictionary of texts, by names of letters other than auth (RFC 7628)"
    return Token(value, float(expiry), principal or "", dict(extensions or {}), now)  # type: ignore[arg-type, call-overload]


def _expiry_fault(expiry: object, now: float) -> str | None:
    if not isinstance(expiry, int | float) or isinstance(expiry, bool) or not math.isfinite(expiry):
        return f"must return an expiry in seconds since the epoch, not {_kind_of(expiry)}"
    if expiry > LATEST:
        return "must return an expiry in seconds since the epoch, not in milliseconds"
    return f"returned a token that expired {now - expiry:.0f} s ago" if expiry <= now else None


def _are_extensions(extensions: object) -> bool:
    if extensions is None:
        return True
    return isinstance(extensions, Mapping) and all(
        isinstance(name, str) and _NAME.fullmatch(name) and isinstance(value, str) and _VALUE.fullmatch(value)
        for name, value in extensions.items()
    )


def _takes_an_argument(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # some callables written in C have no signature
        return True
    return True


def _kind_of(value: object) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__


def _text_of(error: BaseException, last: Token | None) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  __str__ is the application's
        text = ""
    text = _without_token(text, last)  # first: what is left of a token that is cut off could not be recognized
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}…"
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


def _without_token(text: str, token: Token | None) -> str:
    """Return an error's text without tokens: it may quote the last one, or one that the function has just received."""
    if token is not None:
        text = text.replace(token.value, "***")
    return _JSON_WEB_TOKEN.sub("***", text)

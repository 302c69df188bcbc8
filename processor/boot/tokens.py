"""Tokens for SASL/OAUTHBEARER: wraps the function that an option names as the callback of the Kafka clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from processor.boot.reference import Reference
from processor.errors import LoadError
from processor.kafka.oauth import OAuthTokens, tokens_of
from processor.options.connection import OAUTH_CB, ConnectionOptions
from processor.telemetry.events import Emit

Options = TypeVar("Options", bound=ConnectionOptions)


def with_tokens(options: Options, emit: Emit) -> Options:
    """Return `options` with a callback whose tokens all Kafka clients of this process share; unchanged without one.

    Args:
        options: those of a connection, with the function's name as `oauth_callback`, or the function in `kafka_config`.
        emit: receives events about failures of the function after its first token.

    Raises:
        LoadError: it cannot be loaded, or is not a function.
    """
    config = options.kafka_config
    if options.oauth_callback is not None:
        name = f"--oauth-callback {options.oauth_callback}"
        config = {**config, OAUTH_CB: OAuthTokens(_loaded(options.oauth_callback), name, emit)}
    return replace(options, oauth_callback=None, kafka_config=tokens_of(config, emit))


def _loaded(reference: str) -> Callable[..., object]:
    named = Reference(reference, "--oauth-callback", "token")
    found = named.load()
    if not callable(found):
        raise LoadError(f"{named} is a {type(found).__name__}, and must be a function that returns a token")
    return found

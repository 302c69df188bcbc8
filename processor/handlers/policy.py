"""A handler's policy: the keywords of `@app.task` and `@app.default`, checked when the handler is registered."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from processor.engine.retry import ErrorRules, ErrorTypes
from processor.errors import SettingsError
from processor.handlers.exceptions import Reject, Retry

_RATE: Final = re.compile(r"([0-9]{1,9})/([smh])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}

Errors = type[BaseException] | Iterable[type[BaseException]]
"""One type of exceptions, or several."""


class PolicyKeywords(TypedDict, total=False):
    """The policy of one handler. If a keyword is None or left out, the consumer's option applies, or no limit."""

    timeout: float | None
    """time limit for one attempt in seconds, in place of `--timeout`"""
    max_attempts: int | None
    """attempts before a task is dead-lettered, in place of `--max-attempts`"""
    retry_on: Errors | None
    """exceptions after which a task is attempted again, `Exception` by default; after any other it is dead-lettered at
    once"""
    reject_on: Errors | None
    """exceptions after which a task is dead-lettered at once, even if they are among those of `retry_on`"""
    outage_on: Errors | None
    """exceptions that mean an outage of a service that the handler needs: the task is attempted again until it
    succeeds, and after ten such attempts in a row the handler is suspended until one succeeds"""
    backoff: float | None
    """seconds before the second attempt, in place of `--backoff`"""
    backoff_max: float | None
    """longest delay between two attempts in seconds, in place of `--backoff-max`"""
    concurrency: int | None
    """attempts of the handler that one consumer runs at once; its other tasks wait without a worker"""
    rate: str | None
    """attempts of the handler that one consumer begins in a second, a minute or an hour, as `"100/s"`, `"30/m"` or
    `"500/h"`; its other tasks wait without a worker"""
    expires: float | None
    """seconds after its record's timestamp within which a task must begin; otherwise it is dead-lettered with
    `Expired`. The header `task-expires` takes precedence"""


def check_keywords(given: Mapping[str, object]) -> None:
    """Checks each of `PolicyKeywords` that is given.

    Raises:
        SettingsError: a keyword does not exist, or its value cannot be used.
    """
    check_names(given, "a handler", list(PolicyKeywords.__annotations__))
    _check_seconds(given, "timeout", above_zero=True)
    _check_seconds(given, "expires", above_zero=True)
    _check_seconds(given, "backoff", above_zero=False)
    _check_seconds(given, "backoff_max", above_zero=False)
    _check_count(given, "max_attempts")
    _check_count(given, "concurrency")
    first, longest = given.get("backoff"), given.get("backoff_max")
    if isinstance(first, int | float) and isinstance(longest, int | float) and longest < first:
        raise SettingsError(f"backoff_max {longest:g} is below backoff {first:g}")


def check_names(given: Iterable[str], owner: str, known: Sequence[str]) -> None:
    """Checks that each keyword of `owner` is a known one.

    Raises:
        SettingsError: a keyword is unknown; the message names a similar one, or all known ones.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise SettingsError(f"{owner} has no keyword {name}: {hint}")


def error_rules(given: Mapping[str, Any]) -> ErrorRules:
    """Return the rules for a handler's exceptions, from its keywords.

    Raises:
        SettingsError: a value is not a type of exceptions.
    """
    default = ErrorRules()
    return ErrorRules(
        retry_on=error_types("retry_on", given.get("retry_on"), default.retry_on),
        reject_on=error_types("reject_on", given.get("reject_on"), default.reject_on),
        outage_on=error_types("outage_on", given.get("outage_on"), default.outage_on),
    )


def error_types(keyword: str, given: object, default: ErrorTypes) -> ErrorTypes:
    """Return the types that a keyword names, as a tuple for `isinstance`.

    `Exception` stands for everything that a handler may raise: a `TaskTimeout`, too, is a failed attempt.

    Raises:
        SettingsError: one of them is not a type of exceptions.
    """
    if given is None:
        return default
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, type | str) else (given,)
    for one in several:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise SettingsError(f"{keyword} must be an exception type or a tuple of them, not {one!r}")
        if issubclass(one, Retry) or (issubclass(one, Reject) and keyword != "reject_on"):
            raise SettingsError(f"{keyword} must not name {one.__name__}, which decides about its task by itself")
    return (*several, BaseException) if Exception in several else several


def rate_of(given: Mapping[str, Any]) -> tuple[int, float] | None:
    """Return the keyword `rate` as a number of attempts and the seconds in which they may begin; None without it.

    Raises:
        SettingsError: it is not a rate.
    """
    text = given.get("rate")
    if text is None:
        return None
    parts = _RATE.fullmatch(text) if isinstance(text, str) else None
    if parts is None or int(parts[1]) < 1:
        raise SettingsError(
            f'rate must be a number of attempts in a time, such as "100/s", "30/m" or "500/h", not {text!r}'
        )
    return int(parts[1]), _SECONDS[parts[2]]


def _check_count(given: Mapping[str, object], name: str) -> None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SettingsError(f"{name} must be an integer of at least 1, not {value!r}")


def _check_seconds(given: Mapping[str, object], name: str, *, above_zero: bool) -> None:
    value = given.get(name)
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not (value > 0 if above_zero else value >= 0):  # type: ignore[operator]  # it is a number
        bound = "more than 0" if above_zero else "0 or more"
        raise SettingsError(f"{name} must be {bound} seconds, not {value!r}")

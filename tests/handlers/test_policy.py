"""The keywords of a handler's policy are checked when it is registered."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from processor import Processor, Reject, Retry, Task, TaskTimeout
from processor.engine.outcome import Verdict
from processor.errors import SettingsError
from processor.handlers.table import Handler


class Declined(Exception): ...


class CardExpired(Declined): ...


def handler(**keywords: Any) -> Handler:
    app = Processor()

    @app.task("charge", **keywords)
    def charge(task: Task) -> None: ...

    return app.handlers[0]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timeout": 0}, "timeout must be more than 0 seconds, not 0"),
    ({"timeout": "5"}, "timeout must be more than 0 seconds, not '5'"),
    ({"timeout": float("inf")}, "timeout must be more than 0 seconds, not inf"),
    ({"max_attempts": 0}, "max_attempts must be an integer of at least 1, not 0"),
    ({"max_attempts": 2.0}, "max_attempts must be an integer of at least 1, not 2.0"),
    ({"max_attempts": True}, "max_attempts must be an integer of at least 1, not True"),
    ({"backoff": -1}, "backoff must be 0 or more seconds, not -1"),
    ({"backoff_max": float("nan")}, "backoff_max must be 0 or more seconds, not nan"),
    ({"backoff": True}, "backoff must be 0 or more seconds, not True"),
    ({"backoff": 5, "backoff_max": 1.5}, "backoff_max 1.5 is below backoff 5"),
    ({"retry_on": "ValueError"}, "retry_on must be an exception type or a tuple of them, not 'ValueError'"),
    ({"retry_on": (ValueError, 3)}, "retry_on must be an exception type or a tuple of them, not 3"),
    ({"outage_on": Reject}, "outage_on must not name Reject, which decides about its task by itself"),
    ({"retry_on": (ValueError, Retry)}, "retry_on must not name Retry, which decides about its task by itself"),
    ({"outage_on": "Away"}, "outage_on must be an exception type or a tuple of them, not 'Away'"),
    ({"reject_on": [int]}, "reject_on must be an exception type or a tuple of them, not <class 'int'>"),
    ({"reject_on": ValueError("no")}, "reject_on must be an exception type or a tuple of them, not ValueError('no')"),
    ({"concurrency": 0}, "concurrency must be an integer of at least 1, not 0"),
    ({"concurrency": "2"}, "concurrency must be an integer of at least 1, not '2'"),
    *[
        (
            {"rate": rate},
            f'rate must be a number of attempts in a time, such as "100/s", "30/m" or "500/h", not {rate!r}',
        )
        for rate in ("100", "0/s", "-1/s", "1.5/s", "100/d", "100 / s", 100, b"1/s", "٣/s")
    ],
    ({"expires": 0}, "expires must be more than 0 seconds, not 0"),
    ({"max_attempt": 3}, "a handler has no keyword max_attempt: did you mean max_attempts?"),
    ({"queue": "q"}, "a handler has no keyword queue: there are timeout, max_attempts, retry_on"),
]


@pytest.mark.parametrize(("keywords", "sentence"), WRONG)
def test_a_wrong_keyword_is_one_sentence_at_registration(keywords: dict[str, Any], sentence: str) -> None:
    for decorate in (Processor().default, lambda **given: Processor().task("charge", **given)):
        with pytest.raises(SettingsError) as caught:
            decorate(**keywords)(lambda task: None)
        assert str(caught.value).startswith(sentence)
        assert "\n" not in str(caught.value)


def test_none_is_the_same_as_no_keyword() -> None:
    assert handler(retry_on=None, reject_on=None, backoff=None, timeout=None).rules == handler().rules
    assert handler(backoff=None, timeout=None, max_attempts=None).backoff is None


@pytest.mark.parametrize(
    ("keywords", "error", "verdict"),
    [
        ({}, ValueError(), Verdict.RETRY),
        ({}, TaskTimeout(), Verdict.RETRY),
        ({}, SystemExit(), Verdict.RETRY),
        ({"retry_on": Exception}, TaskTimeout(), Verdict.RETRY),
        ({"retry_on": OSError}, ConnectionError(), Verdict.RETRY),
        ({"retry_on": OSError}, ValueError(), Verdict.REJECT),
        ({"retry_on": OSError}, TaskTimeout(), Verdict.REJECT),
        ({"retry_on": (OSError, TaskTimeout)}, TaskTimeout(), Verdict.RETRY),
        ({"retry_on": ()}, ValueError(), Verdict.REJECT),
        ({"reject_on": Declined}, CardExpired(), Verdict.REJECT),
        ({"reject_on": Declined}, ValueError(), Verdict.RETRY),
        ({"reject_on": [CardExpired], "retry_on": [Declined]}, CardExpired(), Verdict.REJECT),
        ({"reject_on": [CardExpired], "retry_on": [Declined]}, Declined(), Verdict.RETRY),
        ({"reject_on": Exception}, TaskTimeout(), Verdict.REJECT),
        ({"outage_on": OSError}, ConnectionError(), Verdict.OUTAGE),
        ({"outage_on": OSError, "retry_on": ValueError}, ConnectionError(), Verdict.OUTAGE),
        ({"outage_on": OSError, "reject_on": ConnectionError}, ConnectionError(), Verdict.REJECT),
        ({"outage_on": OSError}, TaskTimeout(), Verdict.RETRY),
        ({"outage_on": Exception}, TaskTimeout(), Verdict.OUTAGE),
    ],
)
def test_an_exception_is_retried_or_rejected_by_the_rules_of_its_handler(
    keywords: dict[str, Any], error: BaseException, verdict: Verdict
) -> None:
    assert handler(**keywords).rules.verdict(error) is verdict


def test_a_rate_is_a_number_of_attempts_in_a_second_a_minute_or_an_hour() -> None:
    assert handler(rate="100/s").rate == (100, 1.0)
    assert handler(rate="30/m").rate == (30, 60.0)
    assert handler(rate="500/h").rate == (500, 3600.0)
    assert handler(rate=None).rate is None


def test_only_a_handler_that_sets_a_limit_is_asked_before_an_attempt() -> None:
    assert handler(retry_on=OSError, backoff=1.0).is_plain
    assert all(
        handler(**limit).is_guarded
        for limit in ({"rate": "1/s"}, {"concurrency": 1}, {"outage_on": OSError}, {"expires": 60})
    )


@pytest.mark.parametrize("after", [-1, float("inf"), float("nan"), "5", None, True])
def test_a_retry_after_no_time_is_refused_where_it_is_raised(after: Any) -> None:
    with pytest.raises(ValueError, match=r"Retry\(after=…\) must be a number of seconds from 0 on"):
        Retry(after=after)


def test_a_retry_with_a_non_boolean_counts_is_refused_where_it_is_raised() -> None:
    with pytest.raises(ValueError, match=r"Retry\(counts=…\) must be True or False, not 'no'"):
        Retry(after=1, counts="no")  # type: ignore[arg-type]


def test_a_retry_gives_its_reason_and_its_cause() -> None:
    assert str(Retry(after=2.5)) == "another attempt after 2.5 s"
    retry = Retry("the bank is busy", after=1)
    retry.__cause__ = ConnectionError("refused")
    assert str(retry) == "the bank is busy (ConnectionError: refused)"


def test_a_retry_comes_back_whole_from_another_process() -> None:
    copy = pickle.loads(pickle.dumps(Retry("busy", after=3, counts=False)))
    assert (type(copy), str(copy), copy.after, copy.counts) == (Retry, "busy", 3.0, False)

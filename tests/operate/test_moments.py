"""Points in time and targets of a reset, as a user writes them."""

from __future__ import annotations

import pytest

from processor.operate.moments import Moment, Target, moment_fault, moment_of, target_fault, target_of

TEN = 1_795_946_400_000
"""2026-11-29T10:00:00Z"""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-29T10:00", Moment(TEN, False)),
        ("2026-11-29 10:00:00", Moment(TEN, False)),
        ("2026-11-29T10:00:00Z", Moment(TEN)),
        ("2026-11-29T11:00:00.5+01:00", Moment(TEN + 500)),
        ("2026-11-29", Moment(TEN - 10 * 3_600_000, False)),
        (str(TEN), Moment(TEN)),
        ("90s", Moment(TEN - 90_000)),
        ("1.5h", Moment(TEN - 5_400_000)),
        ("2d", Moment(TEN - 172_800_000)),
        ("999999d", Moment(0)),
    ],
)
def test_a_point_in_time(text: str, moment: Moment) -> None:
    assert moment_fault(text) is None
    assert moment_of(text, TEN / 1000) == moment


def test_a_moment_is_shown_in_utc() -> None:
    assert str(Moment(TEN + 7)) == "2026-11-29T10:00:00.007Z"
    assert str(Moment(2**63 - 1)) == "9999-12-31T23:59:59.999Z"
    assert str(Moment(-(2**63))) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "10:00",
        "2026-13-01",
        "2026-11-29T25:00",
        "-5m",
        "5w",
        "12",
        "٣s",
        "9" * 30,
        "253402300800000",
        "9" * 400 + "d",
        "20261129",
    ],
)
def test_an_invalid_point_in_time_is_rejected(text: str) -> None:
    fault = moment_fault(text)
    assert fault is not None
    assert fault.startswith("must be a time such as ")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("earliest", Target("earliest")),
        ("latest", Target("latest")),
        ("0", Target("offset", 0)),
        ("99999999999", Target("offset", 99_999_999_999)),
        ("+5", Target("shift", 5)),
        ("-5", Target("shift", -5)),
        (str(TEN), Target("time", TEN)),
        ("2026-11-29T10:00", Target("time", TEN, False)),
        ("1h", Target("time", TEN - 3_600_000)),
    ],
)
def test_a_target(text: str, target: Target) -> None:
    assert target_fault(text) is None
    assert target_of(text, TEN / 1000) == target


@pytest.mark.parametrize("text", ["", "first", "+", "+-1", "1.5", "--5", "5-"])
def test_an_invalid_reset_target_is_rejected(text: str) -> None:
    fault = target_fault(text)
    assert fault is not None
    assert fault.startswith("must be earliest, latest, an offset, +N, -N, or a time such as ")

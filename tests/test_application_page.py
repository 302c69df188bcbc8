"""The examples of docs/APPLICATION.md run one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from processor.testing import run, task
from tests.support.pages import Page

PAGE = Page("APPLICATION.md")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's blocks define, all together."""
    return PAGE.run(*PAGE.blocks("python"))


def test_the_lifespan_opens_a_database_for_all_handlers(names: dict[str, Any]) -> None:
    charges = [{"session_id": f"s{n}", "name": "charge", "payload": {"cents": n}} for n in range(20)]
    report = run(names["app"], charges, value_format="json")
    assert (len(report.done), report.dead_letters) == (20, [])


def test_a_handler_is_tested_with_a_state_of_the_tests(names: dict[str, Any]) -> None:
    opened = names["database"]()
    state = next(opened)
    names["charge"](task({"cents": 7}, "anna", "charge", state=state))
    assert state.execute("select session, cents from payments").fetchall() == [("anna", 7)]
    assert list(opened) == []


def test_the_middleware_measures_each_attempt(names: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="shop"):
        run(names["app"], [{"session_id": "anna", "name": "charge", "payload": {"cents": 1}}], value_format="json")
    assert [record.getMessage()[:12] for record in caplog.records if record.name == "shop"] == ["charge took "]

"""The examples of docs/BATCHES.md run one after the other."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from processor.processor import Processor
from processor.testing import run
from tests.support.pages import Page

PAGE = Page("BATCHES.md")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's blocks define, all together. The last one checks by itself."""
    return PAGE.run(*PAGE.blocks("python"))


def test_the_examples_run_and_a_thousand_readings_are_stored(names: dict[str, Any]) -> None:
    assert len(names["report"].done) == 1000


def test_a_charge_of_nothing_fails_and_the_others_are_done(names: dict[str, Any]) -> None:
    charges = [{"session_id": f"s{n}", "name": "charge", "payload": {"cents": n}} for n in range(4)]
    report = run(names["app"], charges, value_format="json", max_attempts=2)
    assert sorted(done.session_id for done in report.done) == ["s1", "s2", "s3"]
    (letter,) = report.dead_letters
    assert (letter.session_id, letter.attempts, letter.error) == ("s0", 2, "nothing to charge")


def test_the_table_names_each_keyword_and_the_defaults() -> None:
    parameters = inspect.signature(Processor.batch).parameters
    for name in ("size", "wait", "sessions", "schema"):
        assert f"`{name}`" in PAGE.text
    assert (parameters["size"].default, parameters["wait"].default, parameters["sessions"].default) == (100, 0.05, None)

"""What tests of fleets of stand-ins need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.parent_process import Fleet, Parent


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Starts a parent whose consumers are stand-ins; what still runs after the test is killed."""
    with contextlib.ExitStack() as stack:

        def start(lives: dict[int, list[str]] | None = None, **options: Any) -> Parent:
            return stack.enter_context(Parent(tmp_path / "log", lives or {}, **options))

        yield start

"""Which engine runs: `processor --version` and `consumer.started` report the build that was imported."""

from __future__ import annotations

import os
from importlib import import_module, metadata
from importlib.machinery import EXTENSION_SUFFIXES

from processor.engine.build import BUILD
from tests.support.compiled_engine import COMPILED, MODULES

EXPECTED = os.environ.get("PROCESSOR_TEST_ENGINE", "pure")
"""`make test-compiled` sets the variable; an editable installation has the engine as Python."""


def test_the_engine_is_the_one_that_these_tests_are_for() -> None:
    assert BUILD == EXPECTED


def test_every_module_that_is_to_be_compiled_is_and_no_other() -> None:
    files = {name: import_module(f"processor.engine.{name}").__file__ or "" for name in MODULES}
    compiled = {name for name, file in files.items() if file.endswith(tuple(EXTENSION_SUFFIXES))}
    assert compiled == (COMPILED if BUILD == "compiled" else set())


def test_the_wheel_of_a_compiled_engine_is_for_one_python_on_one_platform() -> None:
    wheel = metadata.distribution("session-processor").read_text("WHEEL") or ""
    assert ("Tag: py3-none-any" in wheel) == (BUILD == "pure")

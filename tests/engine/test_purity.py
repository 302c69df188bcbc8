"""The engine only decides: it imports only what can neither observe the world nor change it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import processor.engine

ENGINE = Path(processor.engine.__file__).parent

ALLOWED = {
    "__future__",
    "array",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "struct",
    "typing",
    "zlib",
    "msgspec",
    "processor.engine",
    "processor.handlers.task.Record",  # a protocol: what a lane contains, without a dependency on Kafka
}
DOING = {"open", "print", "input", "exec", "eval", "__import__"}


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def forbidden(source: str) -> list[str]:
    """Return what a module imports or calls although it must not."""
    imports = [name for name in imported(source) if not any(name == a or name.startswith(f"{a}.") for a in ALLOWED)]
    names = [node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id in DOING]
    return imports + names


@pytest.mark.parametrize("module", sorted(ENGINE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_engine_imports_nothing_that_has_an_effect(module: Path) -> None:
    assert forbidden(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import os.path",
        "from processor.handlers.task import Task",
        "print(1)",
    ],
)
def test_what_has_an_effect_is_found(source: str) -> None:
    assert forbidden(source) != []

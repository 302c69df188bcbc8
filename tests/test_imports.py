"""No module of the package needs itself, by whatever way, whether it imports at its top or inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tests.support.kafka_jars import PROJECT

FILES = {
    ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (PROJECT / "processor").rglob("*.py")
}


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, without those for type checkers only: these need the other module's text, not it."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                for other in orelse:
                    yield from imports(other)
            case ast.Import() | ast.ImportFrom():
                yield node
            case _:
                yield from imports(node)


def needed(module: str, source: str) -> set[str]:
    found = set()
    for statement in imports(ast.parse(source)):
        for alias in statement.names:
            name = alias.name if isinstance(statement, ast.Import) else f"{statement.module}.{alias.name}"
            found.add(name if name in FILES else name.rpartition(".")[0])
    return (found & FILES.keys()) - {module}


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_imports_go_in_no_circle() -> None:
    assert circle_in({module: needed(module, file.read_text()) for module, file in FILES.items()}) == []


def test_an_import_inside_a_function_counts_and_one_for_type_checkers_does_not() -> None:
    source = """
if TYPE_CHECKING:
    from processor.engine.lanes import Lanes
def late():
    from processor.engine import flow
    import processor.errors
"""
    assert needed("processor.x", source) == {"processor.engine.flow", "processor.errors"}
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []

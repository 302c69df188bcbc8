"""No module of the package needs itself, in any way: by imports at its top, inside a function, or for type checkers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from tests.support.kafka_jars import PROJECT

PART_AND_WHOLE = ("processor.engine.loan", "processor.engine.ledger")
"""The one import for type checkers that closes a circle: a loan names the ledger that creates it. They are one idea in
two modules, because mypyc compiles the ledger and cannot compile a struct. With a type parameter instead, the struct
takes a quarter longer to create: 30 ns for each loan."""

FILES = {
    ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in (PROJECT / "processor").rglob("*.py")
}


def imports(tree: ast.AST, *, for_types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a module; those that only a type checker executes, if they are wanted."""
    match tree:
        case ast.Import() | ast.ImportFrom():
            yield tree
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse) if not for_types:
            for other in orelse:
                yield from imports(other, for_types=for_types)
        case _:
            for node in ast.iter_child_nodes(tree):
                yield from imports(node, for_types=for_types)


def needed(module: str, source: str, *, for_types: bool) -> set[str]:
    found = set()
    for statement in imports(ast.parse(source), for_types=for_types):
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


def graph(*, for_types: bool) -> dict[str, set[str]]:
    return {module: needed(module, file.read_text(), for_types=for_types) for module, file in FILES.items()}


def test_imports_go_in_no_circle() -> None:
    assert circle_in(graph(for_types=False)) == []


def test_imports_for_type_checkers_close_no_circle_but_that_of_a_part_and_its_whole() -> None:
    part, whole = PART_AND_WHOLE
    named = graph(for_types=True)
    named[part].remove(whole)
    assert circle_in(named) == []


def test_an_import_inside_a_function_counts_and_one_for_type_checkers_only_where_it_is_wanted() -> None:
    source = """
if TYPE_CHECKING:
    from processor.engine.lanes import Lanes
else:
    import processor.version
def late():
    from processor.engine import flow
    import processor.errors
"""
    executed = {"processor.engine.flow", "processor.errors", "processor.version"}
    assert needed("processor.x", source, for_types=False) == executed
    assert needed("processor.x", source, for_types=True) == {*executed, "processor.engine.lanes"}
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []

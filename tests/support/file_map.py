"""Writes the file map in docs/DESIGN.md from docstrings: `python -m tests.support.file_map`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESIGN = ROOT / "docs" / "DESIGN.md"
BEGIN = "<!-- The map, written by `python -m tests.support.file_map`; a test compares. -->\n"
END = "<!-- To here. -->\n"


def file_map() -> str:
    """Return the map: the docstring of each folder, and the first sentence of each module's docstring."""
    top = ROOT / "processor"
    folders = sorted(package.parent for package in top.rglob("__init__.py") if package.parent != top)
    return _modules(top) + "".join(
        f"\n### `{_path(folder)}/`\n\n{_purpose(folder)}\n\n{_modules(folder)}" for folder in folders
    )


def with_map(text: str) -> str:
    """Return the text of the design with the current map."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{file_map()}\n{END}{rest.split(END, 1)[1]}"


def _path(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix()


def _purpose(folder: Path) -> str:
    return " ".join(_docstring(folder / "__init__.py").split("\n\n")[0].split())


def _modules(folder: Path) -> str:
    files = sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")
    return "".join(f"- `{file.name}`: {_first_sentence(_docstring(file))}\n" for file in files)


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n", maxsplit=1)[0].split())
    return paragraph.split(". ")[0].removesuffix(".")


if __name__ == "__main__":
    DESIGN.write_text(with_map(DESIGN.read_text()))

"""Runs the examples of a page of the docs unchanged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


class Page:
    """One page of the docs, by its file name."""

    def __init__(self, name: str) -> None:
        self.path = DOCS / name
        self.text = self.path.read_text()

    def blocks(self, language: str) -> list[str]:
        """Return the page's code blocks in a language, in order."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def block(self, language: str, start: str) -> str:
        """Return the one block in a language that begins with `start`."""
        (found,) = [text for text in self.blocks(language) if text.startswith(start)]
        return found

    def run(self, *blocks: str) -> dict[str, Any]:
        """Run blocks of Python as one module, and return the names that they define."""
        names: dict[str, Any] = {"__name__": "page"}
        exec(compile("\n".join(blocks), str(self.path), "exec"), names)
        return names

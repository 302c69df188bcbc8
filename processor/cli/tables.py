"""Prints the results of operating commands on standard output: as a table for people, or as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
import typer

from processor.observe.wording import plain, visible
from processor.options.option import Option

OutputFormat = Literal["table", "json"]

Output = Annotated[
    OutputFormat, Option("Format of the output; the JSON schema is docs/operating.schema.json.", short="-o")
]

GAP: Final = "  "


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table. Columns are as wide as their longest cell.

    Args:
        headings: of the columns; a column whose heading begins with `>` is aligned to the right.
        rows: the cells, one row each, as text that may come from records: control characters are replaced.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    names = [heading.removeprefix(">") for heading in headings]
    widths = [max(len(row[column]) for row in [names, *cells]) for column in range(len(names))]
    lines = []
    for row in [names, *cells]:
        aligned = [
            cell.rjust(width) if heading.startswith(">") else cell.ljust(width)
            for heading, cell, width in zip(headings, row, widths, strict=True)
        ]
        lines.append(GAP.join(aligned).rstrip())
    return lines


def print_lines(lines: Sequence[str]) -> None:
    """Print the lines on standard output."""
    if lines:
        typer.echo("\n".join(lines))


def print_json(document: msgspec.Struct, *, one_line: bool = False) -> None:
    """Print a document on standard output as JSON, indented, or in one line."""
    typer.echo(json_text(document, one_line=one_line))


def json_text(document: object, *, one_line: bool = False) -> str:
    """Return a document as JSON that is safe for a terminal, indented, or in one line."""
    encoded = msgspec.json.encode(document, enc_hook=str)
    return visible((encoded if one_line else msgspec.json.format(encoded, indent=2)).decode())

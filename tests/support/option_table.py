"""Writes the table of options in README.md, from `processor.settings`: `python -m tests.support.option_table`."""

from __future__ import annotations

import re

from processor.cli.parameters import CONFIG
from processor.options.entry import Entry, in_order
from processor.options.option import Panel
from processor.options.option_set import entries_of
from processor.settings import Settings
from tests.support.kafka_jars import PROJECT

README = PROJECT / "README.md"

BEGIN = "<!-- From here on written by `python -m tests.support.option_table`; a test compares. -->\n"
END = "<!-- To here. -->\n"

_CODE = re.compile(
    r"--[a-z][a-z-]*|\.avsc|\bprocessor [a-z]+|[a-z-]+\[[a-z]+\]|\b(?:consumer|task)\.[a-z_]+|https://[A-Z:@]+"
)
"""Matches text to set as code: input of users, and names in the log."""


def table() -> str:
    """Return the text from `BEGIN` to `END`: one table per panel."""
    entries = list(in_order({entry.name: entry for entry in [*entries_of(Settings), CONFIG]}))
    sections = [_section(panel, [entry for entry in entries if entry.option.panel is panel]) for panel in Panel]
    return "\n".join([BEGIN, *filter(None, sections), END])


def _section(panel: Panel, entries: list[Entry]) -> str:
    if not entries:
        return ""
    rows = [f"| {_names(entry)} | {_default(entry)} | {_meaning(entry)} |" for entry in entries]
    return "\n".join([f"| {panel.value} | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _names(entry: Entry) -> str:
    names = [name for name in (entry.option.short, entry.flag) if name is not None]
    value = f" {entry.metavar}" if entry.metavar else f"/{entry.opposite}" if entry.opposite else ""
    return f"`{', '.join(names)}{value}`".replace("|", "\\|")


def _default(entry: Entry) -> str:
    is_literal = isinstance(entry.default, str) and entry.option.default_shown is None
    return f"`{entry.default_text}`" if is_literal else entry.default_text


def _meaning(entry: Entry) -> str:
    return _CODE.sub(r"`\g<0>`", entry.option.help)


def readme() -> str:
    """Return the page with the current table."""
    before, _, rest = README.read_text().partition(BEGIN)
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(readme())

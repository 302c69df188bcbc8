"""`processor doctor`: checks everything that `processor run` needs, and advises how to repair what fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Final

import typer

from processor.cli.tables import Output, print_json
from processor.observe.wording import many, plain
from processor.operate.checkup import Finding, report_of, variables_verdict
from processor.options.option import VARIABLE_PREFIX, Argument
from processor.settings import Settings

LONGEST: Final = 2000
"""The most characters of a finding that are shown."""

INDENT: Final = " " * 20


def doctor(
    settings: Settings,
    app: Annotated[
        str | None,
        Argument("MODULE:ATTRIBUTE, as for run. Without it, handlers are not checked.", metavar="APP"),
    ] = None,
    output: Output = "table",
) -> int:
    """Check what run needs, with the options of run: variables, names, login, permissions, topics, group, APP, limits.

    Each check is ok, a warning, or a failure, with its finding and what to do.
    The exit code is 1 if a check fails. Nothing is changed: no topic is created,
    and no group is joined.
    """
    from processor.boot.checkup import Checkup  # not at the top, to keep --help fast

    findings = chain(_variables(), Checkup(settings, app).findings())
    if output == "json":
        report = report_of(list(findings))
        print_json(report)
    else:
        report = report_of(_printed(findings))
        typer.echo(f"{many(report.failures, 'failure')}, {many(report.warnings, 'warning')}")
    return 1 if report.failures else 0


def _variables() -> Iterator[Finding]:
    """Yield a warning if the environment has variables that look like options and are none: `run` ignores them."""
    from processor.cli.main import variables  # not at the top: it imports this module

    given = (name for name in os.environ if name.startswith(VARIABLE_PREFIX))
    finding = variables_verdict(given, variables())
    if finding is not None:
        yield finding


def _printed(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as it is available, since some take seconds, and return all of them."""
    printed = []
    for finding in findings:
        typer.echo("\n".join(_lines(finding)))
        printed.append(finding)
    return printed


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.level:<7}  {finding.check:<9}  {plain(finding.found, LONGEST)}"]
    if finding.remedy is not None:
        lines.append(f"{INDENT}→ {plain(finding.remedy, LONGEST)}")
    return lines

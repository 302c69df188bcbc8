"""`processor report LOGS…`: a run summed up from its logs, with verdicts, causes and advice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from processor.cli.monitor import log_files
from processor.cli.output import ReadProgress
from processor.errors import SettingsError
from processor.observe.follow import read_to_end
from processor.observe.lines import ReadStats
from processor.observe.report.page import page
from processor.observe.report.text import text
from processor.observe.watch import Watch
from processor.options.option import Argument, Option

WIDTH: Final = 100
"""Columns if there is no terminal."""

WIDEST: Final = 120


def report(
    logs: Annotated[
        list[str] | None,
        Argument("JSON logs of processor run, gzipped or not; - is standard input.", metavar="LOGS"),
    ] = None,
    html: Annotated[
        str | None,
        Option("Write an HTML page with plots instead of text; - is standard output.", metavar="FILE"),
    ] = None,
    window: log_files.Window = log_files.WINDOW_DEFAULT,
) -> int:
    """Summarize a run from its logs.

    The report has a verdict on every partition with advice, the tasks that commit
    points waited for, and failures by error. With --html it is one page with
    plots over time, which loads nothing and runs no script. Several logs, of
    several pods or rotated, are merged in the order of their times.
    """
    stats, watch = ReadStats(), Watch(window)
    if html is not None:
        _check_target(html)
    read(logs or [], watch, stats)
    if html is None:
        print_text(watch, stats)
    else:
        _write(html, page(watch, watch.now, stats))
    return 0


def _check_target(html: str) -> None:
    """Check that the page can be written. To be called before the logs are read, which may take minutes."""
    if html == log_files.STANDARD_OUTPUT:
        return
    if not (folder := Path(html).parent).is_dir():
        raise SettingsError(f"--html {html!r} cannot be written: there is no folder {str(folder)!r}")
    if Path(html).is_dir():
        raise SettingsError(f"--html {html!r} cannot be written: it is a folder; give the name of a file")


def _write(html: str, text: str) -> None:
    if html == log_files.STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        Path(html).write_text(text, "utf-8", "backslashreplace")
    except OSError as caught:
        raise SettingsError(f"--html {html!r} cannot be written: {caught.strerror}") from None


def read(logs: Sequence[str], watch: Watch, stats: ReadStats) -> None:
    """Read the current content of the logs into `watch`, and standard input up to its end.

    Raises:
        SettingsError: a log cannot be read.
    """
    with (
        ReadProgress(stats, log_files.size(logs)) as progress,
        log_files.complete(logs, stats, progress.spooled) as tails,
    ):
        for event in read_to_end(tails):
            watch.handle(event)
            progress.show()
    watch.finish()


def print_text(watch: Watch, stats: ReadStats) -> None:
    """Print the report to standard output."""
    columns = shutil.get_terminal_size((WIDTH, 0)).columns
    typer.echo(text(watch, watch.now, stats, min(columns, WIDEST)), nl=False)

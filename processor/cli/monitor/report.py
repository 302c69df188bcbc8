"""`processor report LOGS…`: what a run was like, from its logs: verdicts, causes and advice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from processor.cli.monitor import log_files
from processor.cli.output import ReadProgress
from processor.errors import SettingsError
from processor.observe.follow import to_the_end
from processor.observe.lines import Passed
from processor.observe.report.page import page
from processor.observe.report.text import text
from processor.observe.watch import Watch
from processor.options.option import Argument, Option

WIDTH: Final = 100
"""Columns where there is no terminal."""

WIDEST: Final = 120


def report(
    logs: Annotated[
        list[str] | None,
        Argument("JSON logs of processor run, gzipped or not; - is standard input.", metavar="LOGS"),
    ] = None,
    html: Annotated[
        str | None, Option("Write a page with plots instead of text; - is standard output.", metavar="FILE")
    ] = None,
    window: log_files.Window = log_files.WINDOW_DEFAULT,
) -> int:
    """Tell what a run was like, from its logs.

    Verdicts on every partition with advice, what held commit points, failures
    by error; with --html as one page with plots over time, which loads
    nothing and runs no script. Several logs, of several pods or rotated, are
    read together in the order of their times.
    """
    passed, watch = Passed(), Watch(window)
    if html is not None:
        _refuse_no_place(html)
    read(logs or [], watch, passed)
    if html is None:
        print_text(watch, passed)
    else:
        _write(html, page(watch, watch.now, passed))
    return 0


def _refuse_no_place(html: str) -> None:
    """Before the logs are read: that may take minutes."""
    if html == log_files.STANDARD_OUTPUT:
        return
    if not (folder := Path(html).parent).is_dir():
        raise SettingsError(f"--html {html!r} cannot be written: there is no folder {str(folder)!r}")
    if Path(html).is_dir():
        raise SettingsError(f"--html {html!r} cannot be written: it is a folder; name a file in it")


def _write(html: str, text: str) -> None:
    if html == log_files.STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        Path(html).write_text(text, "utf-8", "backslashreplace")
    except OSError as caught:
        raise SettingsError(f"--html {html!r} cannot be written: {caught.strerror}") from None


def read(logs: Sequence[str], watch: Watch, passed: Passed) -> None:
    """All that the logs hold now; of standard input all until its writer ends.

    Raises:
        SettingsError: one cannot be read.
    """
    with (
        ReadProgress(passed, log_files.size(logs)) as progress,
        log_files.whole(logs, passed, progress.spooled) as tails,
    ):
        for heard in to_the_end(tails):
            watch.hear(heard)
            progress.show()
    watch.finish()


def print_text(watch: Watch, passed: Passed) -> None:
    """The report on standard output."""
    columns = shutil.get_terminal_size((WIDTH, 0)).columns
    typer.echo(text(watch, watch.now, passed, min(columns, WIDEST)), nl=False)

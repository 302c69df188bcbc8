"""The logs that `monitor` and `report` read: files by name, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from processor.errors import SettingsError
from processor.observe.follow import GZIP, FileTail, PipeTail, Tail
from processor.observe.lines import Passed
from processor.observe.window import FEW, WINDOW

STANDARD_INPUT: Final = "-"
STANDARD_OUTPUT: Final = "-"

Window = Annotated[
    int,
    typer.Option(
        "--window",
        metavar="N",
        min=FEW,
        max=10_000,
        help="Statistics of a partition that its verdict looks at: the last N.",
    ),
]
WINDOW_DEFAULT: Final = WINDOW


@contextmanager
def opened(files: Sequence[str], passed: Passed, last_bytes: int | None = None) -> Iterator[list[Tail]]:
    """What `files` name, standard input where they name nothing.

    Args:
        files: names, of which `-` is standard input.
        passed: where everything that is read is counted.
        last_bytes: of a longer file only the end is read; None reads all of it.

    Raises:
        SettingsError: one cannot be read.
    """
    names = list(dict.fromkeys(files)) or [STANDARD_INPUT]
    with ExitStack() as stack:
        tails = []
        for name in names:
            tails.append(_opened(name, name if len(names) > 1 else "", passed, last_bytes))
            stack.callback(tails[-1].close)
        yield tails


def size(files: Sequence[str]) -> int | None:
    """Bytes of all of them; None where nobody knows: of a pipe, or of a file that is gzipped."""
    try:
        total = 0
        for file in set(files):
            with Path(file).open("rb") as opened_file:
                if opened_file.read(2) == GZIP:
                    return None
                total += Path(file).stat().st_size
    except OSError:  # standard input has no name; what cannot be read is told where it is opened
        return None
    return total or None


def _opened(file: str, name: str, passed: Passed, last_bytes: int | None) -> Tail:
    if file == STANDARD_INPUT:
        return PipeTail(_standard_input(), passed)
    try:
        return FileTail(Path(file), name, passed, last_bytes)
    except OSError as caught:
        raise SettingsError(f"the log {file!r} cannot be read: {caught.strerror}") from None


def _standard_input() -> int:
    try:
        is_terminal, descriptor = sys.stdin.isatty(), sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        raise SettingsError("standard input is closed; name log files") from None
    if is_terminal:
        raise SettingsError(
            "name log files, or pipe a log in: kubectl logs -f deploy/shop | processor monitor, "
            "or processor run … 2>run.log and then processor monitor run.log"
        )
    return descriptor

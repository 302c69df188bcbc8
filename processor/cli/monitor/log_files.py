"""The logs that `monitor` and `report` read: named files and pipes, or standard input."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

from processor.cli.temporary_files import temporary_folder
from processor.errors import SettingsError
from processor.observe.follow import CHUNK, GZIP, FileTail, PipeTail, Tail
from processor.observe.lines import ReadStats
from processor.observe.segments import segments
from processor.observe.window import FEW, WINDOW
from processor.options.option import Option

STANDARD_INPUT: Final = "-"
STANDARD_OUTPUT: Final = "-"

Window = Annotated[
    int, Option("Number of reports of a partition that its verdict considers.", at_least=FEW, at_most=10_000)
]
WINDOW_DEFAULT: Final = WINDOW


@contextmanager
def complete(files: Sequence[str], stats: ReadStats, spooled: Callable[[int], None]) -> Iterator[list[Tail]]:
    """Open the current content of `files`, and standard input up to its end.

    Standard input is copied to a temporary file, since its lines may not be in the order of their times.

    Args:
        files: names; `-`, or no name, is standard input.
        stats: counts what is read.
        spooled: called with the number of bytes of standard input so far.

    Raises:
        SettingsError: a log cannot be read, or there is no room for standard input.
    """
    names = list(dict.fromkeys(files)) or [STANDARD_INPUT]
    with ExitStack() as stack:
        tails: list[Tail] = []
        for name in names:
            shown = name if len(names) > 1 else ""
            file = stack.enter_context(_opened_whole(name, spooled))
            if file.read(2) == GZIP and name != STANDARD_INPUT:
                tails.append(_opened(name, shown, stats, None))
                stack.callback(tails[-1].close)
            else:
                tails += segments(file, "" if name == STANDARD_INPUT else shown, stats)
        yield tails


@contextmanager
def opened(files: Sequence[str], stats: ReadStats, last_bytes: int | None = None) -> Iterator[list[Tail]]:
    """Open `files` to be followed.

    Args:
        files: names; `-`, or no name, is standard input.
        stats: counts what is read.
        last_bytes: the most to read of the end of a file; None reads all of it.

    Raises:
        SettingsError: a log cannot be read.
    """
    names = list(dict.fromkeys(files)) or [STANDARD_INPUT]
    with ExitStack() as stack:
        tails = []
        for name in names:
            tails.append(_opened(name, name if len(names) > 1 else "", stats, last_bytes))
            stack.callback(tails[-1].close)
        yield tails


def size(files: Sequence[str]) -> int | None:
    """Return the bytes of all `files`; None if unknown, as for a pipe or a gzipped file."""
    try:
        total = 0
        for file in set(files):
            if not Path(file).is_file():  # opening a named pipe would start to read it
                return None
            with Path(file).open("rb") as opened_file:
                if opened_file.read(2) == GZIP:
                    return None
                total += Path(file).stat().st_size
    except OSError:  # standard input has no name; an unreadable file is reported when it is opened
        return None
    return total or None


def _opened(file: str, name: str, stats: ReadStats, last_bytes: int | None) -> Tail:
    if file == STANDARD_INPUT:
        return PipeTail(_standard_input(), stats)
    try:
        if Path(file).is_fifo():
            # without O_NONBLOCK, the call blocks until the pipe has a writer, and no other log is shown meanwhile
            return PipeTail(os.open(file, os.O_RDONLY | os.O_NONBLOCK), stats, name, is_owned=True)
        return FileTail(Path(file), name, stats, last_bytes)
    except OSError as caught:
        raise _unreadable(file, caught) from None


def _unreadable(file: str, caught: OSError) -> SettingsError:
    return SettingsError(f"the log {file!r} cannot be read: {caught.strerror}")


def _opened_whole(name: str, spooled: Callable[[int], None]) -> IO[bytes]:
    """Return a file on a disk with the content of `name`. A pipe is read to its end first."""
    if name == STANDARD_INPUT:
        return _spooled(_standard_input(), spooled)
    try:
        file = Path(name).open("rb")  # noqa: SIM115 — the caller's to close
        if file.seekable():
            return file
    except OSError as caught:
        raise _unreadable(name, caught) from None
    with file:
        return _spooled(file.fileno(), spooled)


def _spooled(descriptor: int, spooled: Callable[[int], None]) -> IO[bytes]:
    spool = tempfile.TemporaryFile(dir=temporary_folder())  # noqa: SIM115 — the caller's to close
    try:
        while chunk := os.read(descriptor, CHUNK):
            spool.write(chunk)
            spooled(spool.tell())
        spool.flush()
    except OSError as caught:
        spool.close()
        raise SettingsError(f"standard input cannot be copied to {temporary_folder()}: {caught.strerror}") from None
    spool.seek(0)
    return spool


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

"""The logs that `monitor` and `report` read: files by name, or standard input."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

from processor.errors import SettingsError
from processor.observe.follow import CHUNK, GZIP, FileTail, PipeTail, Tail
from processor.observe.lines import Passed
from processor.observe.segments import whole as stretches_of
from processor.observe.window import FEW, WINDOW
from processor.options.option import Option

STANDARD_INPUT: Final = "-"
STANDARD_OUTPUT: Final = "-"

Window = Annotated[
    int, Option("Statistics of a partition that its verdict is based on: the last N.", at_least=FEW, at_most=10_000)
]
WINDOW_DEFAULT: Final = WINDOW


@contextmanager
def whole(files: Sequence[str], passed: Passed, spooled: Callable[[int], None]) -> Iterator[list[Tail]]:
    """What is in `files` now, or comes from standard input until its writer ends.

    Standard input is kept in a temporary file: what stands behind in it may be earlier than what stands before.

    Args:
        files: names, of which `-` is standard input.
        passed: where everything that is read is counted.
        spooled: is told how many bytes standard input has given so far.

    Raises:
        SettingsError: one cannot be read, or there is no room for standard input.
    """
    names = list(dict.fromkeys(files)) or [STANDARD_INPUT]
    with ExitStack() as stack:
        tails: list[Tail] = []
        for name in names:
            shown = name if len(names) > 1 else ""
            file = stack.enter_context(_opened_whole(name, spooled))
            if file.read(2) == GZIP and name != STANDARD_INPUT:
                tails.append(_opened(name, shown, passed, None))
                stack.callback(tails[-1].close)
            else:
                tails += stretches_of(file, "" if name == STANDARD_INPUT else shown, passed)
        yield tails


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
            if not Path(file).is_file():  # to open a pipe with a name is to begin to read it
                return None
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
        raise _unreadable(file, caught) from None


def _unreadable(file: str, caught: OSError) -> SettingsError:
    return SettingsError(f"the log {file!r} cannot be read: {caught.strerror}")


def _opened_whole(name: str, told: Callable[[int], None]) -> IO[bytes]:
    """A file of a disk that holds what `name` does: a pipe is read to its end first."""
    if name == STANDARD_INPUT:
        return _spooled(_standard_input(), told)
    try:
        file = Path(name).open("rb")  # noqa: SIM115 — the caller's to close
        if file.seekable():
            return file
    except OSError as caught:
        raise _unreadable(name, caught) from None
    with file:
        return _spooled(file.fileno(), told)


def _spooled(descriptor: int, told: Callable[[int], None]) -> IO[bytes]:
    spool = tempfile.TemporaryFile()  # noqa: SIM115 — the caller's to close
    try:
        while chunk := os.read(descriptor, CHUNK):
            spool.write(chunk)
            told(spool.tell())
        spool.flush()
    except OSError as caught:
        spool.close()
        raise SettingsError(f"what is piped in cannot be kept in {tempfile.gettempdir()}: {caught.strerror}") from None
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

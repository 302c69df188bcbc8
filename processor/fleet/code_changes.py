"""Python files that change, for `processor run --reload`. The only importer of watchfiles."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Self

from processor.errors import LoadError
from processor.version import install_command

FOREIGN: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Folders whose Python files are not the application's. Hidden folders, such as `.venv`, are left out as well."""

TURN_MILLISECONDS: Final = 100
"""Interval at which watchfiles returns while nothing changes; the first return shows that it watches."""

CLOSE_SECONDS: Final = 2.0


def is_code(file: PurePath) -> bool:
    """Return whether a file may be a module of the application. Editors' temporary files are not.

    Args:
        file: its path below the folder that is watched.
    """
    is_hidden = any(part.startswith(".") for part in file.parts)
    is_foreign = not FOREIGN.isdisjoint(file.parts)
    return file.suffix == ".py" and not is_hidden and not is_foreign and not file.name.startswith("flycheck_")


class CodeChanges:
    """Watches the Python files below a folder while it is entered. A selector can wait for it.

    Saves within 50 ms of one another are reported as one change, and a longer burst as one every 1.6 s. These are
    watchfiles' defaults.

    Args:
        folder: where the application is.
        say: called with one sentence if an error ends the watch.

    Raises:
        LoadError: on entering; watchfiles is not installed, or the folder cannot be watched.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._changed: deque[str] = deque()
        self._ended = threading.Event()
        self._is_watching = threading.Event()
        self._error: str | None = None

    def __enter__(self) -> Self:
        try:
            from watchfiles import watch
        except ImportError:
            raise LoadError(f"--reload needs watchfiles: {install_command('reload')}") from None
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, args=(watch,), name="code-changes", daemon=True)
        self._thread.start()
        self._is_watching.wait()
        if self._error is not None:
            self._close()
            raise LoadError(f"--reload cannot watch {str(self._folder)!r}: {self._error}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._ended.set()
        self._thread.join(CLOSE_SECONDS)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable once a file has changed, for a selector."""
        return self._reader.fileno()

    def arrived(self) -> list[str]:
        """Return the files that have changed since the last call, as paths below the folder, in alphabetical order."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)
        changed = set()
        while self._changed:
            changed.add(self._changed.popleft())
        return sorted(changed)

    def _run(self, watch: Callable[..., Any]) -> None:
        try:
            self._folder = self._folder.resolve(strict=True)
            for changes in watch(
                self._folder,
                watch_filter=self._is_code,
                stop_event=self._ended,
                rust_timeout=TURN_MILLISECONDS,
                yield_on_timeout=True,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._is_watching.set()
                if changes:
                    self._note([path for _, path in changes])
        except Exception as error:  # noqa: BLE001 — such as too many watches; without this thread, changes go unnoticed
            self._error = getattr(error, "strerror", None) or str(error)
            if self._is_watching.is_set():
                self._say(f"--reload does not see changes any more: {self._error}")
        finally:
            self._is_watching.set()

    def _is_code(self, _: object, path: str) -> bool:
        return is_code(PurePath(path).relative_to(self._folder))

    def _note(self, paths: list[str]) -> None:
        self._changed.extend(str(PurePath(path).relative_to(self._folder)) for path in paths)
        with contextlib.suppress(OSError):  # the socket is full, so that a byte is waiting already; or it is closed
            self._writer.send(b".")

"""`Frames`: the page as it is now, passed from the thread that reads the logs to the viewers.

Frames are not queued. A slow viewer skips some, and delays neither the reader of the logs nor other viewers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

Sections = Mapping[str, str]
"""HTML by the name of the section."""


class Frame(NamedTuple):
    """The page at one time."""

    number: int
    """rises with every frame"""
    sections: Sections


class Frames:
    """The latest frame. All methods but `is_watched` and `is_stale` belong to the thread of the event loop."""

    def __init__(self) -> None:
        self._viewers = 0
        self._number = 0
        self._latest: Frame | None = None
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def is_watched(self) -> bool:
        """Whether there is a viewer; without one, nothing needs to be drawn. Any thread may read this."""
        return self._viewers > 0

    @property
    def is_stale(self) -> bool:
        """Whether the present viewers still wait for their first frame. Any thread may read this."""
        return self._latest is None

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """Count a viewer while the context is entered. When the last one leaves, drop the frame: the next viewer must
        not see an outdated one.
        """
        self._viewers += 1
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._latest = None

    def publish(self, sections: Sections) -> None:
        """Make `sections` the latest frame, unless nothing in them has changed."""
        if not self._viewers or (self._latest is not None and self._latest.sections == sections):
            return
        self._number += 1
        self._latest = Frame(self._number, sections)
        self._wake()

    def close(self) -> None:
        """Publish no further frame, and wake every viewer, so that it ends."""
        self._closed = True
        self._wake()

    @property
    def is_closed(self) -> bool:
        """Whether there will be no further frame."""
        return self._closed

    async def after(self, number: int, seconds: float) -> Frame | None:
        """Wait for a frame later than `number`; None if none comes within `seconds`, or no more will come."""
        try:
            async with asyncio.timeout(seconds):
                while not self._closed:
                    if self._latest is not None and self._latest.number > number:
                        return self._latest
                    await self._changed.wait()
        except TimeoutError:
            pass
        return None

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

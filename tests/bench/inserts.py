"""Inserts tasks into a database, one transaction for each task or one for each batch."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from processor import Processor, Task
from tests.bench.arms.job import Clock

BATCH = 500
"""Tasks in a full batch."""


class Inserts:
    """A table of tasks in its own SQLite file. SQLite allows one writer, hence one connection; commits are durable."""

    def __init__(self, clock: Clock) -> None:
        path = Path(tempfile.mkdtemp(prefix="inserts-")) / "tasks.db"
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("create table tasks (session text, partition int, offset int, payload blob)")

    def one(self, task: Task) -> None:
        """Inserts one task in a transaction."""
        self._insert([task])

    def batches(self) -> Processor:
        """Return an application that inserts batches, each in a transaction."""
        app = Processor()
        app.batch("", size=BATCH, wait=0.05)(self._insert)
        return app

    def _insert(self, tasks: Iterable[Task]) -> None:
        if self._clock.began is None:
            self._clock.begin()
        rows = [(task.session_id, task.partition, task.offset, task.payload) for task in tasks]
        with self._lock:
            self._connection.execute("begin")
            self._connection.executemany("insert into tasks values (?, ?, ?, ?)", rows)
            self._connection.execute("commit")

"""`Processor`: an application, which has handlers and can run them from Python."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from processor.errors import SettingsError
from processor.handlers.table import Handlers
from processor.settings import Settings

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer


class Processor(Handlers):
    """Handlers by task name.

    ```python
    app = Processor()


    @app.task("charge", timeout=5, max_attempts=10)
    def charge(task): ...


    @app.task(schema="order.avsc")
    def order(task: Task[Order]): ...


    @app.default
    def anything_else(task): ...
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        """Guards the attributes below: `stop` is called from another thread than `run`."""
        self._consumers: list[Consumer] = []
        self._stop_asked = False

    def run(
        self,
        topics: str | Iterable[str],
        group: str,
        bootstrap_servers: str = "localhost:9092",
        **settings: Any,
    ) -> int:
        """Run one consumer in this process until it is stopped, and return its exit code: 0 after a clean stop.

        In the main thread, the first SIGTERM or SIGINT stops it cleanly, and the second at once; any thread may call
        `stop`. The log goes to stderr. A handler that cannot be interrupted ends the run with exit code 1, since
        nothing can replace the process. For several consumers, or for automatic replacement, use `processor run`.

        Args:
            topics: one or several topics to consume.
            group: the consumer group.
            bootstrap_servers: HOST:PORT, or several separated by commas.
            settings: the other fields of `Settings`, named like the long options: `workers=8`, `value_format="json"`.

        Raises:
            SettingsError: an option is invalid.
            LoadError: there is no handler, a topic does not exist, or a schema cannot be loaded.
            BrokerError: no broker responds, or the brokers deny access.
        """
        # Loaded here: a program that only registers handlers needs no Kafka client.
        from processor.boot.in_process import run_in_process
        from processor.telemetry import logs

        names = (topics,) if isinstance(topics, str) else tuple(topics)
        chosen = Settings(topics=names, group=group, bootstrap_servers=bootstrap_servers, **settings)
        if chosen.processes != 1:
            raise SettingsError("Processor.run is one consumer in this process; for more use processor run --processes")
        if chosen.reload:
            raise SettingsError("Processor.run cannot load changed code again; use processor run --reload")
        logs.configure(chosen.log_format, chosen.log_level, redaction=chosen.redaction)
        running: list[Consumer] = []
        try:
            emit = logs.emitter(group=chosen.group, fleet=os.getpid(), consumer=0)
            return run_in_process(self, chosen, emit=emit, on_consumer=self._joins(running))
        finally:
            self._left(running)

    def stop(self) -> None:
        """Stop `run`: it fetches no more tasks, finishes the running ones, commits and returns.

        This method does not wait, and any thread may call it. If no `run` is active, the next one ends as soon as it
        has begun, so that a stop is not lost while `run` starts.
        """
        with self._guard:
            self._stop_asked = True
            for consumer in self._consumers:
                consumer.request_stop("Processor.stop")

    def _joins(self, running: list[Consumer]) -> Callable[[Consumer], None]:
        def note(consumer: Consumer) -> None:
            with self._guard:
                running.append(consumer)
                self._consumers.append(consumer)
                if self._stop_asked:
                    consumer.request_stop("Processor.stop")

        return note

    def _left(self, running: list[Consumer]) -> None:
        with self._guard:
            for consumer in running:
                self._consumers.remove(consumer)
            if not self._consumers:
                self._stop_asked = False

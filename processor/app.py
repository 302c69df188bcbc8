"""`Processor`: the handlers of an application, by task name."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from processor.errors import LoadError, SettingsError
from processor.payload import payload_type
from processor.settings import Settings
from processor.task import Task, UnknownTask

if TYPE_CHECKING:
    from processor.runtime.consumer import Consumer

Function = Callable[[Task[Any]], Any]
F = TypeVar("F", bound=Function)


class Handler(msgspec.Struct, frozen=True):
    """One function that takes tasks, and how its attempts are bounded. None means the consumer's option."""

    function: Function
    is_async: bool
    timeout: float | None = None
    """Seconds that one attempt may take."""
    max_attempts: int | None = None
    schema: str | None = None
    """The reader's schema: an `.avsc` file, or a record's full name."""
    payload_type: Any = None
    """What the payload is converted to; None leaves it as it is."""


class Processor:
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
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._by_schema: dict[str, Handler] = {}
        self._guard = threading.Lock()
        """Of what follows: `stop` comes from another thread than `run`."""
        self._consumers: list[Consumer] = []
        self._stop_asked = False

    def task(
        self,
        name: str | None = None,
        *,
        schema: str | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> Callable[[F], F]:
        """Registers the decorated function, plain or `async`, for the tasks called `name`.

        Where its argument is annotated with `Task[Order]`, the payload is converted to an `Order`: a dataclass, a
        `msgspec.Struct`, or whatever else `msgspec.convert` makes. One that cannot be is a dead letter at once.

        Args:
            name: the task's name; it may be left out where `schema` is given.
            schema: the Avro schema that the function understands: an `.avsc` file, from `--schemas` or the current
                folder, or the full name of a record in `--schemas`. It is then registered for Avro values of this
                record and of its aliases, too, and gets them as that schema has them, whatever compatible schema
                they were written with.
            timeout: seconds that one attempt may take; `--timeout` where it is None.
            max_attempts: attempts before the task is dead-lettered; `--max-attempts` where it is None.

        Raises:
            SettingsError: the name or the schema is taken, or a bound is out of its range.
            LoadError: the function is a generator.
        """
        given: object = name  # a function, where somebody writes @app.task without its brackets
        if not isinstance(given, str) and (given is not None or schema is None):
            raise SettingsError('a task is registered by its name: @app.task("charge")')

        def register(function: F) -> F:
            handler = _handler(function, timeout, max_attempts, schema)
            if name is not None and self._handlers.setdefault(name, handler) is not handler:
                raise SettingsError(f"two handlers are registered for the task {name!r}")
            if schema is not None and self._by_schema.setdefault(schema, handler) is not handler:
                raise SettingsError(f"two handlers are registered for the schema {schema!r}")
            return function

        return register

    @overload
    def default(self, function: F, /) -> F: ...
    @overload
    def default(self, /, *, timeout: float | None = None, max_attempts: int | None = None) -> Callable[[F], F]: ...
    def default(self, function: Any = None, /, *, timeout: float | None = None, max_attempts: int | None = None) -> Any:
        """Registers the handler of every task whose name has none of its own.

        Raises:
            SettingsError: there is a default already, or a bound is out of its range.
            LoadError: the function is a generator.
        """

        def register(function: F) -> F:
            if self._default is not None:
                raise SettingsError("two default handlers are registered")
            self._default = _handler(function, timeout, max_attempts)
            return function

        return register if function is None else register(function)

    @property
    def names(self) -> list[str]:
        """The task names that have a handler of their own, sorted."""
        return sorted(self._handlers)

    @property
    def schemas(self) -> list[str]:
        """The schemas that handlers declare."""
        return list(self._by_schema)

    @property
    def handlers(self) -> list[Handler]:
        """Every registered handler, the default last."""
        known = dict.fromkeys((*self._handlers.values(), *self._by_schema.values()))
        return [*known, *([self._default] if self._default else [])]

    def bind(self, schema: str, names: Iterable[str]) -> None:
        """Registers the handler that declares `schema` for the records with these full names, once they are known.

        Raises:
            LoadError: there is another handler for one of them.
        """
        handler = self._by_schema[schema]
        for name in names:
            if self._handlers.setdefault(name, handler) is not handler:
                raise LoadError(f"two handlers take the record {name}: one by its name, or both by their schemas")

    @property
    def sole_handler(self) -> Handler | None:
        """The default handler when it is the only one: then no task needs to tell its name."""
        return self._default if not self._handlers and not self._by_schema else None

    def handler_for(self, task: Task) -> Handler:
        """The handler of `task`.

        Raises:
            UnknownTask: no handler is registered for its name, and there is no default.
        """
        handler = self._handlers.get(task.name, self._default)
        if handler is None:
            known = ", ".join(map(repr, self.names))
            raise UnknownTask(f"no handler for the task {task.name!r}; there are handlers for {known}")
        return handler

    def run(
        self,
        topics: str | Iterable[str],
        group: str,
        bootstrap_servers: str = "localhost:9092",
        **settings: Any,
    ) -> int:
        """Runs one consumer in this process until it is told to stop, and returns its exit code: 0 after a clean stop.

        In the main thread the first SIGTERM or SIGINT stops it in order and the second at once; `stop` does from
        anywhere. The log goes to stderr. A handler that cannot be interrupted ends the run, as nobody can replace the
        process: whoever needs more than one consumer, or that one replaced, starts `processor run`.

        Args:
            topics: one or several topics to consume.
            group: the consumer group.
            bootstrap_servers: HOST:PORT, several with commas.
            settings: the other fields of `Settings`, named like the long options: `workers=8`, `value_format="json"`.

        Raises:
            SettingsError: an option cannot be used.
            LoadError: there is no handler, a topic does not exist, or a schema cannot be loaded.
            BrokerError: no broker answers, or it does not let this client in.
        """
        # Loaded here: whoever only registers handlers needs no Kafka client.
        from processor import logs
        from processor.fleet.library import run_in_process

        names = (topics,) if isinstance(topics, str) else tuple(topics)
        chosen = Settings(topics=names, group=group, bootstrap_servers=bootstrap_servers, **settings)
        if chosen.processes != 1:
            raise SettingsError("Processor.run is one consumer in this process; for more use processor run --processes")
        logs.configure(chosen.log_format, chosen.log_level, redaction=chosen.redaction)
        running: list[Consumer] = []
        try:
            emit = logs.emitter(group=chosen.group, fleet=os.getpid(), consumer=0)
            return run_in_process(self, chosen, emit=emit, on_consumer=self._joins(running))
        finally:
            self._left(running)

    def stop(self) -> None:
        """Lets `run` take no more tasks, finish those that run, commit and return. Does not wait; any thread may ask.

        When nothing runs, the next `run` ends as soon as it has begun: a stop is not lost to one that is just starting.
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

    @classmethod
    def of(cls, app: object) -> Processor:
        """`app` itself, or a processor whose default handler is the function `app`.

        Raises:
            LoadError: it is neither, or it has no handlers, or it is a generator.
        """
        if isinstance(app, cls):
            if not app.handlers:
                raise LoadError("the Processor has no handlers: register one with @app.task(name) or @app.default")
            return app
        if not callable(app) or inspect.isclass(app):
            raise LoadError(f"APP must be a function or a Processor, not {type(app).__name__}")
        made = cls()
        made._default = _handler(app, None, None)
        return made


def _handler(function: Function, timeout: float | None, max_attempts: int | None, schema: str | None = None) -> Handler:
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        name = getattr(function, "__qualname__", repr(function))
        raise LoadError(f"the handler {name} has a yield: calling it would run nothing of it; return a value instead")
    if timeout is not None and not timeout > 0:
        raise SettingsError(f"timeout must be more than 0 seconds, not {timeout}")
    if max_attempts is not None and max_attempts < 1:
        raise SettingsError(f"max_attempts must be at least 1, not {max_attempts}")
    is_async = _is(inspect.iscoroutinefunction, function)
    return Handler(function, is_async, timeout, max_attempts, schema, payload_type(function))


def _is(kind: Callable[[object], bool], function: Function) -> bool:
    """Also of an object whose `__call__` is of that kind."""
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004 — its kind is asked for

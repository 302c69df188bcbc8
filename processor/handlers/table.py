"""`Handlers`: the functions of an application that take tasks, by task name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

import msgspec

from processor.errors import LoadError, SettingsError
from processor.handlers.payload import payload_type
from processor.handlers.task import Task, UnknownTask

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


class Handlers:
    """Handlers by task name. `Processor` is what an application makes of it: it runs them, too."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._by_schema: dict[str, Handler] = {}

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

    @classmethod
    def of(cls, app: object) -> Handlers:
        """`app` itself, or handlers of which the function `app` is the default.

        Raises:
            LoadError: it is neither, or it has no handlers, or it is a generator.
        """
        if isinstance(app, Handlers):
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

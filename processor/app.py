"""`Processor`: the handlers of an application, by task name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from processor.errors import LoadError, SettingsError
from processor.task import Task, UnknownTask

Function = Callable[[Task], Any]
F = TypeVar("F", bound=Function)


class Handler(msgspec.Struct, frozen=True):
    """One function that takes tasks, and how its attempts are bounded. None means the consumer's option."""

    function: Function
    is_async: bool
    timeout: float | None = None
    """Seconds that one attempt may take."""
    max_attempts: int | None = None


class Processor:
    """Handlers by task name.

    ```python
    app = Processor()


    @app.task("charge", timeout=5, max_attempts=10)
    def charge(task): ...


    @app.default
    def anything_else(task): ...
    ```
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None

    def task(self, name: str, *, timeout: float | None = None, max_attempts: int | None = None) -> Callable[[F], F]:
        """Registers the decorated function, plain or `async`, for the tasks called `name`.

        Args:
            name: the task's name.
            timeout: seconds that one attempt may take; `--timeout` where it is None.
            max_attempts: attempts before the task is dead-lettered; `--max-attempts` where it is None.

        Raises:
            SettingsError: the name is taken, or a bound is out of its range.
        """
        if not isinstance(name, str):
            raise SettingsError('a task is registered by its name: @app.task("charge")')

        def register(function: F) -> F:
            if name in self._handlers:
                raise SettingsError(f"two handlers are registered for the task {name!r}")
            self._handlers[name] = _handler(function, timeout, max_attempts)
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
    def handlers(self) -> list[Handler]:
        """Every registered handler, the default last."""
        return [*self._handlers.values(), *([self._default] if self._default else [])]

    @property
    def sole_handler(self) -> Handler | None:
        """The default handler when it is the only one: then no task needs to tell its name."""
        return self._default if not self._handlers else None

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
    def of(cls, app: object) -> Processor:
        """`app` itself, or a processor whose default handler is the function `app`.

        Raises:
            LoadError: it is neither, or it has no handlers.
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


def _handler(function: Function, timeout: float | None, max_attempts: int | None) -> Handler:
    if timeout is not None and not timeout > 0:
        raise SettingsError(f"timeout must be more than 0 seconds, not {timeout}")
    if max_attempts is not None and max_attempts < 1:
        raise SettingsError(f"max_attempts must be at least 1, not {max_attempts}")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 — an object whose __call__ is async is an async handler too
    )
    return Handler(function, is_async, timeout, max_attempts)

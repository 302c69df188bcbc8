"""`Handlers`: an application's handler functions, by task name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, Unpack, overload

import msgspec

from processor.engine.loan import BatchRule
from processor.engine.retry import DEFAULT_RULES, ErrorRules
from processor.errors import LoadError, SettingsError
from processor.handlers.batch import batch_rule, check_batch_keywords
from processor.handlers.callables import is_kind, label
from processor.handlers.exceptions import UnknownTask
from processor.handlers.lifespan import L, Lifespan
from processor.handlers.middleware import M, Middleware, check_kinds, inside
from processor.handlers.payload import payload_type
from processor.handlers.policy import PolicyKeywords, check_keywords, error_rules, rate_of
from processor.handlers.task import Task

Function = Callable[[Task[Any]], Any]
F = TypeVar("F", bound=Function)
BatchFunction = Callable[[list[Task[Any]]], Any]
B = TypeVar("B", bound=BatchFunction)


class Handler(msgspec.Struct, eq=False):
    """One handler function and its policy. None means the consumer's option."""

    function: Callable[[Any], Any]
    """It takes a task, or a list of tasks if `batch` is set."""
    call: Callable[[Any], Any]
    """The function, inside the application's middleware."""
    is_async: bool
    name: str = "default"
    """The handler's name in the log: the task name or schema for which it is registered."""
    timeout: float | None = None
    """Time limit for one attempt in seconds."""
    max_attempts: int | None = None
    schema: str | None = None
    """The reader's schema: an `.avsc` file, or a record's full name."""
    payload_type: Any = None
    """The type that payloads are converted to; None leaves them unchanged."""
    rules: ErrorRules = DEFAULT_RULES
    """How its exceptions are treated: as a failure, a rejection or an outage."""
    backoff: float | None = None
    """Seconds before the second attempt."""
    backoff_max: float | None = None
    """Longest delay between two attempts in seconds."""
    concurrency: int | None = None
    """The most attempts that one consumer runs at once."""
    rate: tuple[int, float] | None = None
    """The number of attempts that one consumer may begin, and the seconds in which it may begin them."""
    expires: float | None = None
    """Seconds after its timestamp within which a task must begin."""
    is_guarded: bool = False
    """Whether its policy has to be checked before each attempt."""
    is_plain: bool = False
    """Whether it can be called directly: it is neither async nor guarded."""
    batch: BatchRule | None = None
    """When a batch is called; None if the function takes one task."""


class Handlers:
    """Handlers by task name. Applications use the subclass `Processor`, which also runs them."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._by_schema: dict[str, Handler] = {}
        self._lifespan: Lifespan | None = None
        self._middleware: list[Middleware] = []

    def task(
        self,
        name: str | None = None,
        *,
        schema: str | None = None,
        **keywords: Unpack[PolicyKeywords],
    ) -> Callable[[F], F]:
        """Registers the decorated function, plain or `async`, for tasks named `name`.

        If its parameter is annotated with `Task[Order]`, the payload is converted to an `Order`: a dataclass, a
        `msgspec.Struct`, or another type that `msgspec.convert` supports. A payload that cannot be converted is
        dead-lettered without an attempt.

        Args:
            name: the task's name; optional if `schema` is given.
            schema: the reader's Avro schema: an `.avsc` file, looked up in `--schemas` and then in the current folder,
                or the full name of a record in `--schemas`. The function is registered for Avro records with that name
                or an alias of it. Values written with another compatible schema are resolved to this one.
            keywords: the handler's own policy, see `PolicyKeywords`: `timeout`, `max_attempts`, `retry_on` and others.

        Raises:
            SettingsError: the name or the schema has a handler already, or a keyword cannot be used.
            LoadError: the function is a generator.
        """
        check_keywords(keywords)
        _check_name("task", name, schema)

        def register(function: F) -> F:
            self._register(name, _handler(function, schema, keywords, name or schema or "default"))
            return function

        return register

    def batch(
        self,
        name: str | None = None,
        *,
        size: int = 100,
        wait: float = 0.05,
        sessions: int | None = None,
        schema: str | None = None,
        **keywords: Unpack[PolicyKeywords],
    ) -> Callable[[B], B]:
        """Registers the decorated function, plain or `async`, for batches of tasks named `name`.

        It takes a list of tasks of one or several sessions, those of one session in their order and without a gap. It
        returns None, or a list with a result for each task. An exception is a failed attempt of each task. A
        `BatchError` is a failed attempt of the tasks that it names; the others have succeeded. A failed task is
        attempted again alone, in a list of one. Middleware does not wrap the function.

        If its parameter is annotated with `list[Task[Order]]`, each payload is converted to an `Order`.

        Args:
            name: the tasks' name; optional if `schema` is given.
            size: the most tasks in a batch; the function is called as soon as a batch has this many.
            wait: longest time in seconds that a task waits for its batch to become full.
            sessions: 1 for batches of one session only, None for any number of sessions.
            schema: as for `task`.
            keywords: the handler's own policy, see `PolicyKeywords`; `timeout` is that of a whole batch.

        Raises:
            SettingsError: the name or the schema has a handler already, or a keyword cannot be used.
            LoadError: the function is a generator.
        """
        check_batch_keywords(keywords)
        check_keywords(keywords)
        _check_name("batch", name, schema)
        rule = batch_rule(size, wait, sessions)

        def register(function: B) -> B:
            self._register(name, _handler(function, schema, keywords, name or schema or "default", rule))
            return function

        return register

    def _register(self, name: str | None, handler: Handler) -> None:
        self._surround(handler)
        if name is not None and self._handlers.setdefault(name, handler) is not handler:
            raise SettingsError(f"the task {name!r} has two handlers")
        schema = handler.schema
        if schema is not None and self._by_schema.setdefault(schema, handler) is not handler:
            raise SettingsError(f"the schema {schema!r} has two handlers")

    @overload
    def default(self, function: F, /) -> F: ...
    @overload
    def default(self, /, **keywords: Unpack[PolicyKeywords]) -> Callable[[F], F]: ...
    def default(self, function: Any = None, /, **keywords: Unpack[PolicyKeywords]) -> Any:
        """Registers the decorated function for all tasks whose name has no handler; `keywords` as those of `task`.

        Raises:
            SettingsError: there is a default handler already, or a keyword cannot be used.
            LoadError: the function is a generator.
        """
        check_keywords(keywords)

        def register(function: F) -> F:
            if self._default is not None:
                raise SettingsError("there are two default handlers")
            self._default = _handler(function, None, keywords, "default")
            self._surround(self._default)
            return function

        return register if function is None else register(function)

    def middleware(self, function: M) -> M:
        """Registers the decorated function around each attempt of the handlers of its kind, plain or `async`.

        It gets the task and the next callable: `def timed(task, call): return call(task)`. Its return value is the
        result, and its exception is the error of the attempt. The middleware that is registered first is outermost. A
        handler may be registered before or after it.

        Raises:
            LoadError: the function cannot be called with two arguments, or is a generator.
        """
        self._middleware.append(Middleware.of(function))
        for handler in self.handlers:
            self._surround(handler)
        return function

    def _surround(self, handler: Handler) -> None:
        if handler.batch is None:
            handler.call = inside(self._middleware, handler.function, is_async=handler.is_async)

    def check_middleware(self) -> None:
        """Check that middleware wraps at least one handler, if there is any middleware.

        Raises:
            LoadError: all handlers are of one kind, plain or `async`, and all middleware of the other.
        """
        check_kinds(self._middleware, {handler.is_async for handler in self.handlers if handler.batch is None})

    def lifespan(self, function: L) -> L:
        """Registers the decorated generator function, plain or `async`, which yields once.

        Each consumer runs it up to its `yield` before it joins the group, and the rest after its last task. The yielded
        value is `task.state`. If it raises an exception before it yields, the consumer does not start.

        Raises:
            SettingsError: there is a lifespan already.
            LoadError: the function is not a generator function, or it needs an argument.
        """
        if self._lifespan is not None:
            raise SettingsError("there are two lifespans: open everything that the handlers share in one")
        self._lifespan = Lifespan.of(function)
        return function

    @property
    def registered_lifespan(self) -> Lifespan | None:
        """The lifespan, if one is registered."""
        return self._lifespan

    @property
    def names(self) -> list[str]:
        """The task names that have their own handler, sorted."""
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
        """Registers the handler that declares `schema` for the records with these full names.

        Raises:
            LoadError: one of them has another handler.
        """
        handler = self._by_schema[schema]
        for name in names:
            if self._handlers.setdefault(name, handler) is not handler:
                raise LoadError(f"the record {name} has two handlers, by its name or by their schemas")

    @property
    def sole_handler(self) -> Handler | None:
        """The default handler if it is the only one, so that task names need not be read; else None."""
        return self._default if not self._handlers and not self._by_schema else None

    def handler_for(self, task: Task) -> Handler:
        """The handler of `task`.

        Raises:
            UnknownTask: no handler is registered for its name, and there is no default.
        """
        handler = self._handlers.get(task.name, self._default)
        if handler is None:
            known = ", ".join(map(repr, self.names))
            raise UnknownTask(f"the task {task.name!r} has no handler; the names with a handler are {known}")
        return handler

    @classmethod
    def of(cls, app: object) -> Handlers:
        """Returns `app` itself, or new handlers with the function `app` as the default.

        Raises:
            LoadError: `app` is neither, has no handlers, or is a generator; or its middleware wraps none of them.
        """
        if isinstance(app, Handlers):
            if not app.handlers:
                raise LoadError("the Processor has no handlers: register one with @app.task(name) or @app.default")
            app.check_middleware()
            return app
        if not callable(app) or inspect.isclass(app):
            raise LoadError(f"APP must be a function or a Processor, not {type(app).__name__}")
        handlers = cls()
        handlers._default = _handler(app, None, {}, "default")
        return handlers


def _check_name(decorator: str, name: object, schema: str | None) -> None:
    """Checks that there is a name or a schema; without parentheses, the decorator gets the function as the name."""
    if not isinstance(name, str) and (name is not None or schema is None):
        raise SettingsError(f'@app.{decorator} requires the name of a task, such as @app.{decorator}("charge")')


def _handler(
    function: Callable[[Any], Any],
    schema: str | None,
    keywords: PolicyKeywords,
    name: str,
    rule: BatchRule | None = None,
) -> Handler:
    if is_kind(inspect.isgeneratorfunction, function) or is_kind(inspect.isasyncgenfunction, function):
        raise LoadError(
            f"the handler {label(function)} is a generator, so that a call runs none of its code: remove the yield"
        )
    is_async, rules = is_kind(inspect.iscoroutinefunction, function), error_rules(keywords)
    concurrency, rate = keywords.get("concurrency"), rate_of(keywords)
    expires = keywords.get("expires")
    limits = (rules.outage_on or None, concurrency, rate, expires)
    is_guarded = rule is None and any(limit is not None for limit in limits)
    return Handler(
        function,
        function,
        is_async=is_async,
        name=name,
        timeout=keywords.get("timeout"),
        max_attempts=keywords.get("max_attempts"),
        schema=schema,
        payload_type=payload_type(function, in_list=rule is not None),
        rules=rules,
        backoff=keywords.get("backoff"),
        backoff_max=keywords.get("backoff_max"),
        concurrency=concurrency,
        rate=rate,
        expires=expires,
        is_guarded=is_guarded,
        is_plain=not is_async and not is_guarded,
        batch=rule,
    )

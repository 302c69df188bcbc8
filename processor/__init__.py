"""Tasks from Kafka, the sessions of each partition in parallel, every session in order."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; `typing` would be a third of what precedes the first signal handler
if TYPE_CHECKING:
    from typing import Any

    from processor.errors import ProcessorError
    from processor.handlers.batch import BatchError
    from processor.handlers.exceptions import (
        Cancelled,
        DependencyFailed,
        Expired,
        HandlerStuck,
        InvalidHeader,
        ProcessDied,
        Reject,
        Retry,
        TaskCancelled,
        TaskTimeout,
        UnknownTask,
    )
    from processor.handlers.steps import Group, Step, group
    from processor.handlers.task import Task
    from processor.kafka.async_dispatcher import AsyncDispatcher
    from processor.kafka.dispatcher import Dispatcher
    from processor.processor import Processor
    from processor.registry_settings import RegistrySettings
    from processor.settings import Settings

    __version__: str

__all__ = [
    "AsyncDispatcher",
    "BatchError",
    "Cancelled",
    "DependencyFailed",
    "Dispatcher",
    "Expired",
    "Group",
    "HandlerStuck",
    "InvalidHeader",
    "ProcessDied",
    "Processor",
    "ProcessorError",
    "RegistrySettings",
    "Reject",
    "Retry",
    "Settings",
    "Step",
    "Task",
    "TaskCancelled",
    "TaskTimeout",
    "UnknownTask",
    "__version__",
    "group",
]

_MODULES = {
    "AsyncDispatcher": "processor.kafka.async_dispatcher",
    "BatchError": "processor.handlers.batch",
    "Cancelled": "processor.handlers.exceptions",
    "DependencyFailed": "processor.handlers.exceptions",
    "Dispatcher": "processor.kafka.dispatcher",
    "Expired": "processor.handlers.exceptions",
    "Group": "processor.handlers.steps",
    "HandlerStuck": "processor.handlers.exceptions",
    "InvalidHeader": "processor.handlers.exceptions",
    "ProcessDied": "processor.handlers.exceptions",
    "Processor": "processor.processor",
    "ProcessorError": "processor.errors",
    "RegistrySettings": "processor.registry_settings",
    "Reject": "processor.handlers.exceptions",
    "Retry": "processor.handlers.exceptions",
    "Settings": "processor.settings",
    "Step": "processor.handlers.steps",
    "Task": "processor.handlers.task",
    "TaskCancelled": "processor.handlers.exceptions",
    "TaskTimeout": "processor.handlers.exceptions",
    "UnknownTask": "processor.handlers.exceptions",
    "group": "processor.handlers.steps",
}


def __getattr__(name: str) -> Any:
    """Loads a public name on first use.

    Every process imports this package before it can handle a signal. The fleet's parent never needs the Kafka client.
    """
    globals()[name] = found = _loaded(name)
    return found


def _loaded(name: str) -> Any:
    if name == "__version__":
        from processor.version import installed_version

        return installed_version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)

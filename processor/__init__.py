"""Tasks from Kafka, the sessions of each partition in parallel, every session in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from processor.errors import ProcessorError
from processor.handlers.task import Reject, Task, TaskTimeout
from processor.processor import Processor
from processor.registry_settings import RegistrySettings
from processor.settings import Settings
from processor.version import __version__

if TYPE_CHECKING:
    from processor.kafka.dispatcher import Dispatcher

__all__ = [
    "Dispatcher",
    "Processor",
    "ProcessorError",
    "RegistrySettings",
    "Reject",
    "Settings",
    "Task",
    "TaskTimeout",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Loads what needs the Kafka client on first use: the fleet's parent imports this package and never needs it."""
    if name == "Dispatcher":
        from processor.kafka.dispatcher import Dispatcher

        return Dispatcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

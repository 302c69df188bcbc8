"""Tasks from Kafka, the sessions of each partition in parallel, every session in order."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from processor.app import Processor
from processor.errors import ProcessorError
from processor.registry_settings import RegistrySettings
from processor.settings import Settings
from processor.task import Reject, Task, TaskTimeout

if TYPE_CHECKING:
    from processor.kafka.dispatcher import Dispatcher

try:
    __version__ = version("processor")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

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

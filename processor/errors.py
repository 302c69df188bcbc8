"""Errors outside a handler, as one shallow tree. Each has a message of one sentence and an exit code.

The command line prints that message without a traceback and exits with the error's `exit_code`.
"""

from typing import ClassVar


class ProcessorError(Exception):
    """Base class of all errors; raised itself for failures that no subclass covers."""

    exit_code: ClassVar[int] = 1


class SettingsError(ProcessorError):
    """An option is missing or has an invalid value, or a Kafka setting was given that this package refuses."""

    exit_code = 2


class DrainTimeout(ProcessorError):
    """The drain timeout expired while tasks were still running. They will run again."""

    exit_code = 3


class BrokerError(ProcessorError):
    """No broker is reachable, or the brokers deny this client access."""

    exit_code = 4


class AccessDenied(BrokerError):
    """The brokers deny this client access: its login, or a permission that it lacks."""


class RegistryError(ProcessorError):
    """The schema registry is unreachable or fails to respond."""

    exit_code = 4


class RegistryAccessDenied(RegistryError):
    """The schema registry denies this client access."""


class NotARegistry(RegistryError):
    """The address responds, but not as a schema registry: possibly a gateway whose registry is down."""


class LoadError(ProcessorError):
    """Configuration, a schema, a topic or APP cannot be loaded."""

    exit_code = 5


class DecodeError(ProcessorError):
    """A record's value cannot be decoded. The record is dead-lettered with its original bytes."""


class NotReady(ProcessorError):
    """A record cannot be decoded yet, as its schema is temporarily unavailable. It waits; no attempt is used up."""

    def __init__(self, message: str, retry_in: float) -> None:
        """`retry_in`: seconds until a retry makes sense."""
        super().__init__(message)
        self.retry_in = retry_in


class EncodeError(ProcessorError):
    """A payload or a handler's return value cannot be encoded in the chosen value format."""


class DeliveryError(ProcessorError):
    """A record could not be delivered to the broker; the message states the reason."""


class RecordTooLarge(DeliveryError):
    """A topic, or the client, does not accept a record of this size, or the batch that contains it."""

"""What can go wrong outside a handler, as one shallow tree: each error is one sentence and one exit code.

An error that reaches the command line is printed as that sentence, without a traceback, and its
`exit_code` becomes the process's.
"""

from typing import ClassVar


class ProcessorError(Exception):
    """The root: a failure that is nobody's mistake in particular."""

    exit_code: ClassVar[int] = 1


class SettingsError(ProcessorError):
    """An option is missing or has a value that cannot be used, or a refused Kafka setting was given."""

    exit_code = 2


class DrainTimeout(ProcessorError):
    """Tasks still ran when the drain timeout was over; they will run again."""

    exit_code = 3


class BrokerError(ProcessorError):
    """No broker answers, or it does not let this client in."""

    exit_code = 4


class RegistryError(ProcessorError):
    """The schema registry does not answer."""

    exit_code = 4


class RegistryRefusal(RegistryError):
    """The schema registry does not let this client in."""


class RegistryUnknown(RegistryError):
    """Something answers at the schema registry's address that is none: a gateway, perhaps, whose registry is away."""


class LoadError(ProcessorError):
    """Configuration, a schema, a topic or APP cannot be loaded."""

    exit_code = 5


class DecodeError(ProcessorError):
    """A record's value cannot be read; the record is dead-lettered with its bytes as they were."""


class NotNow(ProcessorError):
    """What is needed to read a record cannot be had at the moment: the record waits, and no attempt is used up."""

    def __init__(self, message: str, retry_in: float) -> None:
        """`retry_in`: seconds after which asking again makes sense."""
        super().__init__(message)
        self.retry_in = retry_in


class EncodeError(ProcessorError):
    """A payload or a handler's return value cannot be written in the chosen format."""


class DeliveryError(ProcessorError):
    """The broker did not take a record; the message says why."""

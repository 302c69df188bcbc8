"""`Access`: whether the brokers deny a consumer access, from the errors that its client reports."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from processor.errors import ProcessorError
from processor.kafka.config import Config
from processor.kafka.errors import ACCESS_DENIED, error_of
from processor.options.connection import OAUTH_CB
from processor.settings import Settings

LOGIN_REFUSED: Final = frozenset((KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED))


class Access:
    """Decides when a denial of access ends the consumer. Belongs to the poller's thread.

    After a change of its password, a client would retry with the old one forever. The consumer that replaces this one
    reads the files of the secrets again. So a denial ends this one once no broker is left that may admit it, or the
    group has evicted it.
    """

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings = settings
        self._has_tokens = OAUTH_CB in config
        self._refused: KafkaError | None = None
        """The error of a broker that denied access, if it was the last error of any broker."""
        self._has_lost = False
        """Whether the group has evicted this member and not admitted it again."""
        self.shut_out_by: KafkaError | None = None
        """The denial that shuts the client out, until `take_error`."""

    def on_error(self, error: KafkaError) -> None:
        """Note an error. A denial shuts the client out once no broker is left, or the group has evicted it."""
        if self.is_denied(error.code()):
            self._refused = error
            self.shut_out_by = error if self._has_lost else None
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.shut_out_by = self._refused
        else:
            self._refused = self.shut_out_by = None  # one broker denies access, and others are down: they may admit it

    def on_assign(self) -> None:
        """Take an assignment: the group has admitted this member."""
        self._has_lost = False

    def on_lose(self) -> None:
        """Take the loss of all partitions: the group has evicted this member."""
        self._has_lost = True

    def is_denied(self, code: int) -> bool:
        """Return whether a broker denies access until the consumer is replaced. A client gets a new token by itself."""
        return code in ACCESS_DENIED and not (code in LOGIN_REFUSED and self._has_tokens)

    def take_error(self) -> ProcessorError:
        """Return the error that shuts the client out, once: the drain that follows keeps polling."""
        assert self.shut_out_by is not None
        error, self.shut_out_by = self.shut_out_by, None
        return self.error_of(error)

    def error_of(self, denial: KafkaError, topic: str | None = None) -> ProcessorError:
        """Return the error to raise for a denial. `topic` is what was asked for, if it was a topic."""
        of_group = denial.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        about = f"group {self._settings.group}" if of_group else f"topic {topic}" if topic else ""
        return error_of(denial, self._settings.bootstrap_servers, about=about)

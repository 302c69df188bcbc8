"""`ClientErrors`: what follows from an error of a member's client: it is raised, waited out, or ends the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError

from processor.errors import ProcessorError
from processor.kafka.access import Access
from processor.kafka.admin import broker_settings
from processor.kafka.config import CLIENT_SESSION_MS, SESSION_MS, Config, admin_config
from processor.kafka.errors import ACCESS_DENIED, reason_of
from processor.kafka.joining import Joining
from processor.kafka.refusals import TEMPORARY, code_of, mistake_of
from processor.settings import Settings
from processor.telemetry.events import Emit, KafkaClientError

REOPEN_SECONDS: Final = 1.0
"""Time between two tries to join after a temporary refusal has ended the client. Its own pause is as long."""


class ClientErrors:
    """Belongs to the poller's thread."""

    def __init__(self, settings: Settings, config: Config, access: Access, joining: Joining, emit: Emit) -> None:
        """Take what decides on errors.

        Args:
            settings: the fleet's settings.
            config: the client's configuration. A session that is too short for the brokers is changed in it, for the
                client that is opened next.
            access: which errors deny access.
            joining: knows whether the member has been in the group, and reports refusals that are waited out.
            emit: receives log events.
        """
        self._settings = settings
        self._config = config
        self._access = access
        self._joining = joining
        self._emit = emit
        self.final: KafkaError | None = None
        """The error of a commit that was refused for good. Other calls report it later, and with less detail."""
        self.reopen_at: float | None = None
        """When the client is to be replaced by another one: it has ended before it was in the group."""

    def on_answer(self, error: KafkaError | None) -> None:
        """Take the error of a commit, if it had one."""
        if error is not None and is_final(error):
            self.final = error

    def follow(self, error: KafkaError, topic: str | None) -> None:
        """Raise for a permanent refusal; wait for the end of a temporary one; report any other error.

        Args:
            error: as the client delivers it in place of a record.
            topic: what it is about, if that is a topic.

        Raises:
            BrokerError: the brokers deny access.
            LoadError: the brokers do not accept a setting.
            ProcessorError: the client cannot continue.
        """
        code = code_of(error, tuple(ACCESS_DENIED))
        if self._access.is_denied(code):
            raise self._access.error_of(KafkaError(code, error.str()), topic)
        if code == KafkaError.INVALID_SESSION_TIMEOUT and self._lengthen_session():
            return
        if code in TEMPORARY and not self._joining.has_ended:
            self._joining.refuse(TEMPORARY[code])
            if is_final(error):
                self.reopen_at = monotonic() + REOPEN_SECONDS
            return
        self._refuse_mistake(code)
        if is_final(error):
            raise end_of(self.final or error)
        self._emit(KafkaClientError(code=error.name(), message=reason_of(error)))

    def _lengthen_session(self) -> bool:
        """Join again with the client's default if ours is too short for these brokers. Return whether it is."""
        is_ours = "session.timeout.ms" not in self._settings.kafka_config
        if not is_ours or self._config["session.timeout.ms"] == str(CLIENT_SESSION_MS):
            return False
        self._joining.refuse(f"the brokers do not allow a session of {SESSION_MS} ms: trying {CLIENT_SESSION_MS} ms")
        self._config["session.timeout.ms"] = str(CLIENT_SESSION_MS)
        self.reopen_at = monotonic()
        return True

    def _refuse_mistake(self, code: int) -> None:
        if code == KafkaError.GROUP_ID_NOT_FOUND and self._joining.has_ended:
            return
        mistake = mistake_of(code, self._settings, self._config, self._broker_settings)
        if mistake is not None:
            raise mistake

    def _broker_settings(self, names: Sequence[str]) -> Mapping[str, str]:
        return broker_settings(admin_config(self._settings.bootstrap_servers, self._settings.kafka_config), names)


def is_final(error: KafkaError) -> bool:
    """Return whether the client cannot continue after this error."""
    return bool(error.fatal()) or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)


def end_of(error: KafkaError) -> ProcessorError:
    """Return the error to raise where the client cannot continue."""
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        return ProcessorError("fenced: another consumer of this group has the same group.instance.id")
    return ProcessorError(f"the Kafka client cannot continue: {reason_of(error)}")

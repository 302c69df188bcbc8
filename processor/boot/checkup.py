"""`Checkup`: checks each thing that `processor run` needs, one after the other. It changes nothing."""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Final, Never

from processor.avro.schemas import load_schemas
from processor.boot.cluster_checkup import UNCHECKED, ClusterCheckup
from processor.boot.extras import extras_findings
from processor.boot.load_app import load
from processor.boot.tokens import with_tokens
from processor.codec.select import codec_of
from processor.errors import LoadError, ProcessorError, RegistryAccessDenied, SettingsError
from processor.kafka.cluster_facts import ClusterFacts
from processor.kafka.reach import Address, addresses_of, connect, resolve, verifies, verify
from processor.kafka.registry.consumer import open_registry
from processor.observe.wording import many
from processor.operate.checkup import (
    Finding,
    expiry_verdict,
    failure,
    files_verdict,
    names_verdict,
    ok,
    servers_verdict,
    warning,
)
from processor.options.bounds import bounds_of
from processor.options.value_formats import VALUE_FORMATS
from processor.registry_settings import RegistrySettings
from processor.settings import Settings

APP_SECONDS: Final = 10.0
"""Time limit for the import of APP."""

TLS: Final = frozenset(("ssl", "sasl_ssl"))


class Checkup:
    """The checks of one configuration. A check that fails leaves out only those that depend on it."""

    def __init__(self, settings: Settings, app: str | None) -> None:
        """Opens the Kafka clients, without a request.

        Args:
            settings: those of `run`.
            app: MODULE:ATTRIBUTE of the handlers; None to leave out their check.

        Raises:
            SettingsError: the Kafka client rejects a setting.
        """
        self._settings = settings
        self._app = app
        self._addresses = addresses_of(settings.bootstrap_servers)
        self._brokers = len(self._addresses)
        self._cluster: ClusterCheckup | ProcessorError
        """The checks for which a broker must respond, or the error that prevents a client from being opened."""
        try:
            self._cluster = ClusterCheckup(settings, ClusterFacts(with_tokens(settings, lambda _: None)))
        except SettingsError:
            raise
        except ProcessorError as error:
            self._cluster = error

    def findings(self) -> Iterator[Finding]:
        """Run the checks; each finding is yielded as soon as it is available."""
        yield from self._kafka()
        if self._settings.registry is not None:
            yield _registry_finding(self._settings.registry)
        if VALUE_FORMATS[self._settings.value_format].has_schemas:
            yield self._schemas()
        if self._app is not None:
            yield self._loaded(self._app)
        yield from extras_findings(self._settings)
        yield self._files()

    def _kafka(self) -> Iterator[Finding]:
        names = resolve(self._addresses)
        yield names_verdict(names)
        resolved = {probe.address for probe in names if probe.error is None}
        servers = connect([address for address in self._addresses if address.host in resolved])
        if servers:
            yield servers_verdict(servers)
        reached = {probe.address for probe in servers if probe.error is None}
        if reached and str(self._settings.kafka_config.get("security.protocol", "")).lower() in TLS:
            yield self._tls([address for address in self._addresses if str(address) in reached])
        if isinstance(self._cluster, ProcessorError):
            yield failure("login", f"{self._cluster}; {UNCHECKED}", "correct the -X settings, or --oauth-callback")
        elif reached:
            yield from self._cluster.findings()
            self._brokers = self._cluster.brokers or self._brokers

    def _tls(self, addresses: list[Address]) -> Finding:
        config = self._settings.kafka_config
        if not verifies(config):
            remedy = "remove -X enable.ssl.certificate.verification, and set -X ssl.ca.location"
            return warning("tls", "the brokers' certificates are not verified", remedy)
        try:
            certificates = verify(addresses, config)
        except (OSError, ProcessorError) as error:
            return failure("tls", f"a file with certificates cannot be used: {error}", "correct the -X ssl.… settings")
        if certificates.refused:
            return failure(
                "tls",
                f"a certificate is refused: {', '.join(certificates.refused)}",
                "set -X ssl.ca.location to the authority of the brokers, connect to the names in their certificates, "
                "renew what has expired, and see that this host's clock is right",
            )
        if certificates.expires_in is None:
            return warning(
                "tls", "no TLS handshake has succeeded, so no certificate was verified", "see what login reports"
            )
        return expiry_verdict(certificates.expires_in)

    def _schemas(self) -> Finding:
        folder = self._settings.schemas
        try:
            loaded = load_schemas(folder)
        except LoadError as error:
            return failure("schemas", str(error), "correct the file: processor schema check shows more")
        place = "the shipped ones" if folder is None else f"{folder} and the shipped ones"
        return ok("schemas", f"{many(len(loaded.by_name), 'type')} in {place}")

    def _loaded(self, app: str) -> Finding:
        settings = self._settings
        try:
            with redirect_stdout(sys.stderr), _time_limit(APP_SECONDS):
                handlers = load(app)
            codec_of(handlers, settings.value_format, settings.schemas)
        except ProcessorError as error:
            return failure("app", str(error), "correct APP, or what it imports")
        names = [handler.name for handler in handlers.handlers]
        return ok("app", f"{app}: {many(len(names), 'handler')}: {', '.join(names)}")

    def _files(self) -> Finding:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_unlimited = limit == resource.RLIM_INFINITY
        settings = self._settings
        return files_verdict(
            sys.maxsize if is_unlimited else limit,
            self._brokers,
            bounds_of(settings.processes).most,
            bounds_of(settings.workers).most,
        )


def _registry_finding(settings: RegistrySettings) -> Finding:
    try:
        with open_registry(settings, retries=0) as client:
            client.check()
    except RegistryAccessDenied as error:
        return failure("registry", str(error), "correct the --schema-registry-… options for the user or the token")
    except LoadError as error:
        return failure("registry", str(error), "install the extra, or correct the files of --schema-registry-…")
    except ProcessorError as error:
        return failure("registry", str(error), "correct --schema-registry, or start the registry")
    return ok("registry", f"{settings.address}: a schema registry")


class _TakesTooLong(BaseException):
    """Raised inside APP's import when its time is up. Not an `Exception`, so that an application does not catch it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise an exception inside the context after `seconds`. Outside the main thread, nothing limits it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_number: int, _frame: FrameType | None) -> Never:
        raise _TakesTooLong(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

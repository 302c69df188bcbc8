"""OpenTelemetry spans of attempts, and the headers that propagate a span. The only importer of OpenTelemetry.

Spans have the names and attributes of OpenTelemetry's semantic conventions for messaging and Kafka, version 1.38.0. The
SDK's own environment variables configure everything else: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_PROPAGATORS` and so on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from processor.errors import LoadError
from processor.telemetry.trace_context import Trace
from processor.version import install_command, installed_version

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, TracerProvider

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.38.0"

FLUSH_SECONDS: Final = 5.0
"""How long a consumer waits at its end for the export of its last spans."""

PROTOCOLS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""Exporters by the values of `OTEL_EXPORTER_OTLP_PROTOCOL`, as the SDK names them."""


class Fault(NamedTuple):
    """Why an attempt failed."""

    error_type: str
    message: str
    traceback: str | None


class OpenSpan:
    """A span that has begun. It is the current span of the thread or coroutine that began it."""

    __slots__ = ("_span", "_thread", "_token", "trace")

    def __init__(self, span: Span) -> None:
        from opentelemetry.context import attach
        from opentelemetry.propagate import inject
        from opentelemetry.trace import format_span_id, format_trace_id, set_span_in_context

        context, ids = set_span_in_context(span), span.get_span_context()
        carrier: dict[str, str] = {}
        inject(carrier, context)
        self.trace = Trace(format_trace_id(ids.trace_id), format_span_id(ids.span_id), _headers(carrier))
        """Its IDs, and the headers of a record that follows from it."""
        self._span = span
        self._token: Token[Context] | None = attach(context)
        self._thread = threading.get_ident()

    def drop(self) -> None:
        """Make it the current span no longer. If it is never ended, it is not exported."""
        from opentelemetry.context import detach

        token, self._token = self._token, None
        if token is not None and threading.get_ident() == self._thread:
            detach(token)

    def end(self, fault: Fault | None) -> None:
        """Ends the span, as failed if there is a fault. Another thread may call this while the handler still runs."""
        from opentelemetry.trace import Status, StatusCode

        self.drop()
        if fault is not None:
            attributes = {"exception.type": fault.error_type, "exception.message": fault.message}
            if fault.traceback is not None:
                attributes["exception.stacktrace"] = fault.traceback
            self._span.add_event("exception", attributes)
            self._span.set_attribute("error.type", fault.error_type)
            self._span.set_status(Status(StatusCode.ERROR, fault.message))
        self._span.end()


class Spans:
    """Begins spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("processor", installed_version(), schema_url=SCHEMA_URL)

    def begin(self, topic: str, headers: Mapping[str, bytes | None], attributes: Mapping[str, str | int]) -> OpenSpan:
        """Begin the span of an attempt, as a child of the span that the record's headers name."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carrier = {name: value.decode("utf-8", "replace") for name, value in headers.items() if value is not None}
        span = self._tracer.start_span(
            f"process {topic}", context=extract(carrier), kind=SpanKind.CONSUMER, attributes=attributes
        )
        return OpenSpan(span)

    def flush(self) -> None:
        """Export the spans that have ended, and wait for that at most `FLUSH_SECONDS`."""
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            thread = threading.Thread(target=flush, name="spans", daemon=True)
            with suppress(RuntimeError):  # the system lets no more threads run
                thread.start()
                thread.join(FLUSH_SECONDS)


def open_spans(service: str) -> Spans:
    """Return spans of the provider that the application has set, or else of one that the environment configures.

    Args:
        service: name of the service, where the environment names none.

    Raises:
        LoadError: OpenTelemetry or an exporter is not installed, or an exporter cannot be configured.
    """
    try:
        from opentelemetry import trace

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(_provider(service))
    except ImportError:
        raise LoadError(f"--tracing needs OpenTelemetry: {install_command('otel')}") from None
    return Spans(trace.get_tracer_provider())


def _provider(service: str) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if is_named else {"service.name": service})
    # No shutdown at exit: spans that the collector does not accept within `FLUSH_SECONDS` must not delay the exit.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in _exporters():
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporters() -> Sequence[SpanExporter]:
    """Return the exporters that `OTEL_TRACES_EXPORTER` names; by default, OTLP over HTTP."""
    names = [name.strip() for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")]
    return [_exporter(_entry_point_name(name)) for name in names if name and name != "none"]


def _entry_point_name(name: str) -> str:
    if name != "otlp":
        return name
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, map(os.environ.get, variables)), "http/protobuf").strip()
    if protocol not in PROTOCOLS:
        raise LoadError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    return PROTOCOLS[protocol]


def _exporter(name: str) -> SpanExporter:
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        raise LoadError(f"no exporter {name!r} for OpenTelemetry's traces is installed: see OTEL_TRACES_EXPORTER")
    try:
        exporter: SpanExporter = found.load()()
    except Exception as error:
        raise LoadError(f"the exporter {name!r} for OpenTelemetry's traces cannot be used: {error}") from error
    return exporter


def current_trace() -> Trace | None:
    """Return the IDs of the current span, and the headers that propagate it; None without a valid span.

    A program that has not imported OpenTelemetry has no span. The check costs it one look-up.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    current = getattr(api, "get_current_span", None)  # missing while another thread imports it
    if current is None:
        return None
    ids = current().get_span_context()
    if not ids.is_valid:
        return None
    return Trace(api.format_trace_id(ids.trace_id), api.format_span_id(ids.span_id))


def current_headers() -> tuple[tuple[str, bytes], ...]:
    """Return the headers that propagate the current span; none without a span."""
    if current_trace() is None:
        return ()
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return _headers(carrier)


def _headers(carrier: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode()) for name, value in carrier.items())

"""A collector of traces: accepts OTLP over HTTP from exporters, and keeps the spans."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.receiver import Receiver


class StoredSpan(NamedTuple):
    """A received span; IDs are hexadecimal, and `parent_id` is "" without a parent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    error: str
    service: str


class TraceStore(Receiver):
    """Keeps the spans of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[StoredSpan] = []

    def take(self, body: bytes) -> None:
        self.spans += _spans(ExportTraceServiceRequest.FromString(body))


def _spans(request: ExportTraceServiceRequest) -> list[StoredSpan]:
    return [
        _stored(span, dict(_values(resource.resource.attributes)).get("service.name", ""))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _stored(span: Span, service: str) -> StoredSpan:
    return StoredSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=dict(_values(span.attributes)),
        error=span.status.message,
        service=service,
    )


def _values(attributes: Any) -> Any:
    return [(one.key, getattr(one.value, one.value.WhichOneof("value"))) for one in attributes]

"""Writes otel-collector.yaml from processor/telemetry/metrics.py, which a test compares.

`python -m deploy.monitoring.collector` runs it.

A log line becomes gauges, counters too: their values since the start are in the line, and a sum would have to add
differences up. signal_to_metrics takes flat fields only, so the histogram is a metric a bucket.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from processor.engine.durations import REPORTED
from processor.telemetry.metrics import CONSUMER, FAMILIES, HISTOGRAM, HISTOGRAM_HELP, Family

CONFIG = Path(__file__).with_name("otel-collector.yaml")

HEAD = """\
# OpenTelemetry Collector (contrib, 0.160): processor's log lines become metrics and log records, by OTLP over HTTP.
# Written by `python -m deploy.monitoring.collector`. It reads these environment variables:
#   PROCESSOR_LOGS     the files, as a glob: plain JSON lines, Docker's json-file or the Kubernetes' node's format
#   METRICS_ENDPOINT   where metrics go, without /v1/metrics: http://prometheus:9090/api/v1/otlp, or
#                      http://victoria-metrics:8428/opentelemetry
#   LOGS_ENDPOINT      where log records go, without /v1/logs: http://loki:3100/otlp
# Where no log store is, take the pipeline `logs/store` and its exporter out.
"""

CONTAINER_LINE = r"^({\"log\":|[0-9TZ:.+-]+ (stdout|stderr) [FP] )"
"""Docker's json-file driver, or the CRI's."""

_FIELDS = frozenset(metric.field for family in FAMILIES for metric in family.metrics)

SEVERITIES = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}


def config() -> dict[str, Any]:
    """The whole configuration."""
    return {
        "receivers": {"file_log": _receiver()},
        "processors": {
            "transform/metrics": _flattened(),
            "transform/labels": _unlabelled(),
            "transform/store": _named_by_convention(),
        },
        "connectors": {"signal_to_metrics": {"error_mode": "ignore", "logs": _metrics()}},
        "exporters": {
            "otlp_http/metrics": {"metrics_endpoint": "${env:METRICS_ENDPOINT}/v1/metrics"},
            "otlp_http/logs": {"logs_endpoint": "${env:LOGS_ENDPOINT}/v1/logs"},
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "logs/metrics": {
                    "receivers": ["file_log"],
                    "processors": ["transform/metrics"],
                    "exporters": ["signal_to_metrics"],
                },
                "metrics": {
                    "receivers": ["signal_to_metrics"],
                    "processors": ["transform/labels"],
                    "exporters": ["otlp_http/metrics"],
                },
                "logs/store": {
                    "receivers": ["file_log"],
                    "processors": ["transform/store"],
                    "exporters": ["otlp_http/logs"],
                },
            },
        },
    }


def _receiver() -> dict[str, Any]:
    is_event = 'body matches "^{"'
    return {
        "include": ["${env:PROCESSOR_LOGS}"],
        "start_at": "end",
        "poll_interval": "1s",
        "include_file_path": True,
        "max_log_size": "1MiB",
        "operators": [
            {
                "type": "container",
                "if": f'body matches "{CONTAINER_LINE}"',
                "add_metadata_from_filepath": False,
            },
            {
                "type": "json_parser",
                "if": is_event,
                "on_error": "send_quiet",
                "timestamp": {
                    "parse_from": "attributes.timestamp",
                    "layout_type": "gotime",
                    "layout": "2006-01-02T15:04:05.000Z07:00",
                },
                "severity": {"parse_from": "attributes.level", "mapping": SEVERITIES},
            },
            # Docker's files are of every container, the Collector's own too: what is no event of ours goes nowhere.
            {"type": "filter", "expr": "attributes.log_version == nil"},
        ],
    }


def _flattened() -> dict[str, Any]:
    """What has no head is held up by nothing: a gauge that was not set to 0 would keep its last value."""
    statements = []
    for family, metric in [(one, metric) for one in FAMILIES for metric in one.metrics if "." in metric.field]:
        part, field = metric.field.split(".")
        statements += [
            f"set({_path(metric.field)}, 0) where {_is(family)} and {_path(part)} == nil",
            f'set({_path(metric.field)}, {_path(part)}["{field}"]) where {_path(part)} != nil',
        ]
    return {"error_mode": "ignore", "log_statements": statements}


def _unlabelled() -> dict[str, Any]:
    """Which collector read a line, and with what, is no label: a new collector would begin every series anew."""
    statements = ["keep_keys(resource.attributes, [])", 'set(scope.name, "")', 'set(scope.version, "")']
    return {"error_mode": "ignore", "metric_statements": statements}


def _named_by_convention() -> dict[str, Any]:
    """OpenTelemetry's names for what they exist for, beside ours; docs/LOGS.md has the table."""
    named = {
        "messaging.destination.name": "topic",
        "messaging.destination.partition.id": "partition",
        "messaging.kafka.offset": "offset",
        "messaging.consumer.group.name": "group",
        "messaging.kafka.message.key": "session_id",
        "messaging.message.id": "task_id",
        "error.type": "error_type",
        "exception.message": "error",
        "exception.stacktrace": "traceback",
        "host.name": "host",
        "process.pid": "pid",
    }
    is_ours = 'log.attributes["log_version"] != nil'
    statements = [f'set(log.attributes["messaging.system"], "kafka") where {is_ours}']
    statements += [f"set({_path(theirs)}, {_text(ours)}) where {_path(ours)} != nil" for theirs, ours in named.items()]
    statements += [
        f'set(resource.attributes["service.name"], "processor") where {is_ours}',
        'set(log.trace_id.string, log.attributes["trace_id"]) where log.attributes["trace_id"] != nil',
        'set(log.span_id.string, log.attributes["span_id"]) where log.attributes["span_id"] != nil',
    ]
    return {"error_mode": "ignore", "log_statements": statements}


def _text(field: str) -> str:
    path = _path(field)
    return f"String(Int({path}))" if field == "partition" else f"Int({path})" if field in ("offset", "pid") else path


def _metrics() -> list[dict[str, Any]]:
    told = [
        _gauge(family, metric.name, metric.help, _path(metric.field))
        for family in FAMILIES
        for metric in family.metrics
    ]
    return [*told, *_histogram()]


def _histogram() -> list[dict[str, Any]]:
    buckets = _path("handler_seconds_buckets")
    everything = f'{buckets}["+Inf"]'
    name, bounds = f"{HISTOGRAM}_bucket", [*(f"{bound:g}" for bound in REPORTED), "+Inf"]
    return [
        _gauge(CONSUMER, f"{HISTOGRAM}_sum", HISTOGRAM_HELP, _path("handler_seconds")),
        _gauge(CONSUMER, f"{HISTOGRAM}_count", HISTOGRAM_HELP, everything),
        *(_gauge(CONSUMER, name, HISTOGRAM_HELP, f'{buckets}["{bound}"]', le=bound) for bound in bounds),
    ]


def _gauge(family: Family, name: str, text: str, value: str, **fixed: str) -> dict[str, Any]:
    labels: list[dict[str, Any]] = [{"key": label} for label in family.labels]
    return {
        "name": name,
        "description": text,
        "conditions": [f"{_is(family)} and {value} != nil"],
        "attributes": [*labels, *({"key": key, "default_value": fixed[key]} for key in fixed)],
        "gauge": {"value": _number(value)},
    }


def _number(value: str) -> str:
    return f"Double(Int({value}))" if '"fetch_paused"' in value else f"Double({value})"


def _is(family: Family) -> str:
    return f'log.attributes["event"] == "{family.event.event}"'


def _path(field: str) -> str:
    """OpenTelemetry's names have dots too, and are the attribute's own."""
    return f'log.attributes["{field.replace(".", "_") if field in _FIELDS else field}"]'


class _Dumper(yaml.SafeDumper):
    """Without anchors: a person reads it."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def text() -> str:
    """The file."""
    return HEAD + yaml.dump(config(), Dumper=_Dumper, sort_keys=False, width=200, allow_unicode=True)


if __name__ == "__main__":
    CONFIG.write_text(text())

"""Writes the Grafana dashboard: `python -m deploy.monitoring.dashboard`; a test compares, and runs every query.

Panels ask the metrics themselves and not the recording rules, so that the dashboard works without them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.monitoring.panels import OF_GROUP, ROWS, Panel

DASHBOARD = Path(__file__).parent / "grafana" / "dashboards" / "processor.json"

STORE = {"type": "prometheus", "uid": "${store}"}
LOGS = {"type": "loki", "uid": "${logs}"}

OPTIONS: dict[str, Any] = {
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"],
            "sortBy": "Last *",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"},
}

OF_PROCESSOR = '{service_name="processor"} | json | group=~"$group"'
HOLDERS = (
    f'{OF_PROCESSOR} | event="partition.stats" | topic=~"$topic" | head_age_seconds > 10'
    ' | line_format "{{.topic}}[{{.partition}}] session {{.head_session_id}}, offset {{.head_offset}}: {{.head_state}}'
    " for {{.head_state_seconds}} s, here for {{.head_age_seconds}} s, attempt {{.head_attempt}}"
    ' {{.head_error_type}} {{.head_error}}"'
)
TROUBLES = f'{OF_PROCESSOR} | level=~"warning|error"'
"""In Loki's own language. They are not tried: this needs a Loki, and the page says so."""


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    return {
        "uid": "processor",
        "title": "processor",
        "description": "A fleet by its own log: docs/MONITORING.md",
        "tags": ["kafka", "processor"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_rebalances()]},
        "panels": _panels(),
    }


def queries() -> list[str]:
    """Every expression that the store is asked."""
    panels = [panel for _, row in ROWS for panel in row]
    return [query.expression for panel in panels for query in panel.queries] + [_rebalances()["expr"]]


def _variables() -> list[dict[str, Any]]:
    def of(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name, "type": "query", "datasource": STORE, "query": {"query": query, "refId": name}, "refresh": 2,
            "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        }  # fmt: skip

    return [
        {"name": "store", "type": "datasource", "query": "prometheus", "label": "Metrics"},
        {"name": "logs", "type": "datasource", "query": "loki", "label": "Logs"},
        of("group", "label_values(processor_fleet_consumers, group)"),
        of("topic", f"label_values(processor_partition_lag_records{{{OF_GROUP}}}, topic)"),
    ]


def _rebalances() -> dict[str, Any]:
    expression = f"sum by (group) (changes(processor_rebalances_total{{{OF_GROUP}}}[1m])) > 0"
    return {"name": "Rebalances", "datasource": STORE, "enable": True, "expr": expression, "iconColor": "orange",
            "titleFormat": "rebalance of {{group}}", "step": "1m"}  # fmt: skip


def _panels() -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        told.append(_row(len(told), title, top))
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > 24:
                top, left = top + height, 0
            told.append(_panel(len(told), panel, left, top))
            left, height = left + panel.width, panel.height
        top += height
    held = "From Loki, where the Collector sends log records to one: which session each partition waits for, and why."
    return [
        *told,
        _row(len(told), "Log", top),
        _log_panel(len(told) + 1, top + 1, "What holds partitions up", held, HOLDERS),
        _log_panel(len(told) + 2, top + 11, "Warnings and errors", "From Loki, too.", TROUBLES),
    ]


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "row",
        "title": title,
        "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
        "panels": [],
    }


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": STORE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel)},
            "overrides": [],
        },
        "options": OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": STORE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    """Given always: Grafana's own make any number red from 80 on."""
    steps: list[dict[str, Any]] = [{"color": "green" if panel.bad is not None else "text", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    return {"mode": "absolute", "steps": steps}


def _log_panel(number: int, top: int, title: str, about: str, query: str) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "logs",
        "title": title,
        "description": about,
        "datasource": LOGS,
        "gridPos": {"x": 0, "y": top, "w": 24, "h": 10},
        "options": {"showTime": True, "enableLogDetails": True, "sortOrder": "Descending"},
        "targets": [{"refId": "A", "datasource": LOGS, "expr": query}],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text())

"""Writes the Grafana dashboard: `python -m deploy.monitoring.dashboard`. A test compares it, and runs every query.

Panels query the metrics and not the recording rules, so that the dashboard works without the rules.
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
BLOCKING = (
    f'{OF_PROCESSOR} | event="partition.stats" | topic=~"$topic" | head_age_seconds > 10'
    ' | line_format "{{.topic}}[{{.partition}}] session {{.head_session_id}}, offset {{.head_offset}}: {{.head_state}}'
    " for {{.head_state_seconds}} s, fetched {{.head_age_seconds}} s ago, attempt {{.head_attempt}}"
    ' {{.head_error_type}} {{.head_error}}"'
)
WARNINGS = f'{OF_PROCESSOR} | level=~"warning|error"'
"""The queries of the log panels, in LogQL. They are not tested: that would need a Loki. docs/MONITORING.md says so."""


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard, as Grafana imports it."""
    return {
        "uid": "processor",
        "title": "processor",
        "description": "Fleets of processor, from their logs or metrics: docs/MONITORING.md",
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
    """Return every query of the metrics store."""
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
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        panels.append(_row(len(panels), title, top))
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > 24:
                top, left = top + height, 0
            panels.append(_panel(len(panels), panel, left, top))
            left, height = left + panel.width, panel.height
        top += height
    blocking = "The session that each commit point waits for, and why. From Loki, if the Collector sends logs to one."
    return [
        *panels,
        _row(len(panels), "Log", top),
        _log_panel(len(panels) + 1, top + 1, "Tasks that block partitions", blocking, BLOCKING),
        _log_panel(len(panels) + 2, top + 11, "Warnings and errors", "From Loki as well.", WARNINGS),
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
    """Return the thresholds. They are always set: by Grafana's default, any number is red from 80 on."""
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
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text())

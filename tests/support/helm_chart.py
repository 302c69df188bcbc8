"""Generates the derived files of the Helm chart: `python -m tests.support.helm_chart`.

The options under `config` in `values.schema.json` come from `processor.settings`, `README.md` from the comments in
`values.yaml`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from processor.options.entry import Entry
from processor.options.option_set import entries_of
from processor.settings import Settings
from tests.deploy.custom_resources import KAFKA_TRIGGER, schema_of
from tests.support.kafka_jars import PROJECT

CHART = PROJECT / "deploy" / "helm" / "processor"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
VALUES = CHART / "values.yaml"

OWN = frozenset({"topic", "heartbeat_file", "kafka_config", "reload"})
"""Settings that the chart sets itself or in a different form, or that are for development."""

SCALAR = {"type": ["string", "number", "boolean"]}

OF_THE_CHART = frozenset(
    {
        *("bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold"),
        *("offsetResetPolicy", "allowIdleConsumers", "excludePersistentLag"),
    }
)
"""Keys that `keda.metadata` must not contain, since the chart sets them."""

README_HEAD = """# processor

{description}.

```sh
helm install shop deploy/helm/processor --set app=shop:app --set image.repository=registry.example/shop \\
  --set config.bootstrap-servers=kafka:9092 --set 'config.topic={{orders}}' --set config.group=shop
```

Requires Kafka, and an image with your handlers (or the handlers in `handlers`); see `docs/DEPLOY.md`.
`ci/` contains example values. The table is generated from the comments in `values.yaml` by
`python -m tests.support.helm_chart`.
"""


def schema() -> str:
    """Return the schema of the values, with the current options of the command line."""
    document = json.loads(SCHEMA.read_text())
    document["properties"]["config"] = _config()
    document["properties"]["keda"]["properties"]["metadata"] = _metadata()
    # Helm drops values that are null, but the templates require these maps.
    defaults = yaml.safe_load(VALUES.read_text())
    document["required"] = sorted(name for name, value in defaults.items() if isinstance(value, dict))
    return json.dumps(document, indent=2) + "\n"


def _config() -> dict[str, Any]:
    entries = [entry for entry in entries_of(Settings) if entry.name not in OWN]
    properties = {entry.key: _property(entry) for entry in entries}
    properties["topic"] = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    properties["kafka-config"] = {
        "type": ["object", "null"],
        "additionalProperties": SCALAR,
    }
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(properties.items()))}


def _metadata() -> dict[str, Any]:
    """Return the schema of further keys that KEDA reads. KEDA ignores unknown keys, so the schema rejects them."""
    names = schema_of(KAFKA_TRIGGER)["properties"].keys() - OF_THE_CHART
    properties = {name: {"type": "string"} for name in sorted(names)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(entry: Entry) -> dict[str, Any]:
    """Return the schema of one option. Every option may be null, which omits it."""
    if entry.kind.choices:
        return {"enum": [*entry.kind.choices, None]}
    bounds = {"minimum": entry.option.at_least, "maximum": entry.option.at_most}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    types = entry.kind.schema["type"]
    pattern = {"pattern": entry.kind.schema["pattern"]} if "pattern" in entry.kind.schema else {}
    return {"type": [*([types] if isinstance(types, str) else types), "null"], **given, **pattern}


def readme() -> str:
    """Return the chart's README."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    sections = [README_HEAD.format(description=chart["description"]), "## Values", ""]
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | `{default}` | {meaning} |" for name, default, meaning in _values(VALUES)]
    return "\n".join([*sections, *rows, ""])


def _values(file: Path) -> list[tuple[str, str, str]]:
    """Return name, default and comment of each value that has a default on its line or a comment above it."""
    defaults = yaml.safe_load(file.read_text())
    found: list[tuple[str, str, str]] = []
    path: list[str] = []
    comment: list[str] = []
    for line in file.read_text().splitlines():
        if text := re.match(r" *# ?(.*)", line):
            comment.append(text[1])
        elif key := re.match(r"( *)([\w-]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            value = _at(defaults, path)
            if comment or not isinstance(value, dict) or not value or "{" in line:
                found.append((".".join(path), json.dumps(value) if _is_leaf(value, line) else "…", " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def _is_leaf(value: Any, line: str) -> bool:
    return not isinstance(value, dict) or not value or "{" in line


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value[name]
    return value


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    README.write_text(readme())

"""Schemas of the custom resources in the chart, derived from the operators' own definitions.

`python -m tests.deploy.custom_resources` writes them anew; it needs Go, which fetches the operators' modules. Their
definitions (CustomResourceDefinition) are what Kubernetes is given. What is derived is as strict as
`kubectl --validate=strict`: a field that a definition does not know is refused. Rules in CEL
(`x-kubernetes-validations`) are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

FOLDER: Final = Path(__file__).with_name("definitions")

DRAFT: Final = "http://json-schema.org/draft-07/schema#"

KAFKA_TRIGGER: Final = "KafkaTriggerMetadata"


class Origin(NamedTuple):
    """A file of a Go module."""

    module: str
    version: str
    path: str

    def text(self) -> str:
        """The file's contents.

        Raises:
            subprocess.CalledProcessError: Go cannot fetch the module.
        """
        command = ["go", "mod", "download", "-json", f"{self.module}@{self.version}"]
        told = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True)
        return Path(json.loads(told.stdout)["Dir"], self.path).read_text()

    def comment(self) -> str:
        """The file's origin and license."""
        return f"Derived from {self.path} of {self.module} {self.version}, which is under the Apache License 2.0."


KEDA: Final = ("github.com/kedacore/keda/v2", "v2.19.0")
OPERATOR: Final = ("github.com/prometheus-operator/prometheus-operator", "v0.88.0")

DEFINITIONS: Final = {
    "ScaledObject": Origin(*KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "PodMonitor": Origin(*OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
}
SCALER: Final = Origin(*KEDA, "pkg/scalers/kafka_scaler.go")
"""The definition allows any metadata of a trigger; the valid keys are only in the source of the scaler."""


def schema_of(kind: str) -> dict[str, Any]:
    """The stored schema of a kind, or of `KAFKA_TRIGGER`."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{kind}.json").read_text())
    return schema


def derived(origin: Origin) -> dict[str, Any]:
    """The schema of a definition's storage version."""
    definition = yaml.safe_load(origin.text())["spec"]
    version = next(version for version in definition["versions"] if version["storage"])
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["apiVersion"] = {"const": f"{definition['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": definition["names"]["kind"]}
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return {"$schema": DRAFT, "$comment": origin.comment(), **schema}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes what is not JSON Schema. An object that lists its properties allows no others."""
    kept = {
        key: value
        for key, value in schema.items()
        if key not in ("description", "default", "format") and not key.startswith("x-")
    }
    if "properties" in kept:
        kept["properties"] = {name: strict(field) for name, field in kept["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = strict(kept[key])
    return kept


def trigger_metadata(origin: Origin) -> dict[str, Any]:
    """The keys that the scaler looks up, as literals or constants; all values are strings."""
    source = origin.text()
    constants = dict(re.findall(r'^\s*(\w+)\s*=\s*"(\w+)"$', source, re.MULTILINE))
    names = {constants.get(name, name) for name in re.findall(r'\bTriggerMetadata\["?(\w+)"?\]', source)}
    assert {"topic", "lagThreshold"} <= names, f"{origin.path} reads its metadata in another way"
    properties = {name: {"type": "string"} for name in sorted(names)}
    told = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"$schema": DRAFT, "$comment": origin.comment(), **told}


def main() -> None:
    """Writes the files."""
    schemas = {kind: derived(origin) for kind, origin in DEFINITIONS.items()}
    schemas[KAFKA_TRIGGER] = trigger_metadata(SCALER)
    for kind, schema in schemas.items():
        (FOLDER / f"{kind}.json").write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Renders the Helm chart with Helm as a library; `python -m tests.deploy.chart` updates the golden files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.support.helm_chart import CHART

GOLDEN = Path(__file__).with_name("golden")
CASES = {file.name.removesuffix("-values.yaml"): file for file in sorted((CHART / "ci").glob("*-values.yaml"))}


def values_of(case: str) -> dict[str, Any]:
    """The values of a case."""
    values: dict[str, Any] = yaml.safe_load(CASES[case].read_text())
    return values


def rendered(values: dict[str, Any]) -> dict[str, str]:
    """The rendered text by template, without empty ones.

    Raises:
        helm_python.HelmError: the chart refuses the values.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        texts: dict[str, str] = chart.render(values, name="r", namespace="shop")
    return {Path(name).name: text for name, text in sorted(texts.items()) if text.strip()}


def resources(values: dict[str, Any]) -> dict[str, Any]:
    """The rendered resources, by kind and name."""
    texts = [text for name, text in rendered(values).items() if name != "NOTES.txt"]
    found = [resource for text in texts for resource in yaml.safe_load_all(text) if resource]
    return {f"{resource['kind']}/{resource['metadata']['name']}": resource for resource in found}


def golden(case: str) -> str:
    """All rendered templates of a case in one text."""
    return "".join(f"# --- {name}\n{text.strip()}\n\n" for name, text in rendered(values_of(case)).items())


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in CASES:
        (GOLDEN / f"{each}.yaml").write_text(golden(each))

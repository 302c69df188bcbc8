"""Checks whether the extras of this package that the options need are installed, for `processor doctor`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Final, NamedTuple

from processor.operate.checkup import Finding, failure, ok
from processor.settings import Settings
from processor.version import install_command


class _Extra(NamedTuple):
    option: str
    name: str
    modules: tuple[str, ...]


_EXTRAS: Final = (
    _Extra("reload", "reload", ("watchfiles",)),
    _Extra("tracing", "otel", ("opentelemetry", "opentelemetry.sdk")),
    _Extra("metrics_port", "metrics", ("prometheus_client",)),
)


def extras_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each option that is set and needs an extra. The registry's own check covers its extra."""
    for extra in _EXTRAS:
        if getattr(settings, extra.option) in (None, False):
            continue
        option = f"--{extra.option.replace('_', '-')}"
        missing = next((module for module in extra.modules if importlib.util.find_spec(module) is None), None)
        if missing is None:
            yield ok("extras", f"{option}: {extra.name} is installed")
        else:
            yield failure("extras", f"{option}: the module {missing} is not installed", install_command(extra.name))

"""The browser of other tests, with a program in its place that opens its page late."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.browser import Browser

PROGRAM = """#!{python}
import json, os

TABS = {{"targetId": "list of tabs", "type": "other"}}
PAGE = {{"targetId": "page", "type": "page"}}
asked = 0

def result_of(method, parameters):
    global asked
    if method == "Target.getTargets":
        asked += 1
        return {{"targetInfos": [TABS] if asked < 3 else [TABS, PAGE]}}
    if method == "Target.attachToTarget":
        return {{"sessionId": parameters["targetId"]}}
    return {{}}

received = b""
while chunk := os.read(3, 1 << 16):
    *messages, received = (received + chunk).split(b"\\0")
    for message in map(json.loads, messages):
        answer = {{"id": message["id"], "result": result_of(message["method"], message["params"])}}
        if message["method"] == "Emulation.setDeviceMetricsOverride" and message["sessionId"] != "page":
            answer = {{"id": message["id"], "error": {{"message": "Target does not support metrics override"}}}}
        os.write(4, json.dumps(answer).encode() + b"\\0")
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    file = tmp_path / "browser"
    file.write_text(PROGRAM.format(python=sys.executable))
    file.chmod(0o755)
    return str(file)


def test_it_waits_for_its_page_and_takes_no_other_surface_of_the_browser_for_it(program: str, tmp_path: Path) -> None:
    with Browser(program, tmp_path / "profile") as browser:
        size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        assert browser.ask("Emulation.setDeviceMetricsOverride", **size) == {}

"""Takes the pictures of the live page for docs/MONITORING.md: `python -m tests.support.monitor_picture`."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support import browser
from tests.support.until import until

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "images"
RECORDED = ROOT / "tests" / "observe" / "recorded" / "shop.jsonl.gz"

LINES = 560
"""How many lines of the recorded log to use: they end while one partition is stalled and another falls behind."""

WIDTH, HEIGHT = 1360, 1010
_TIMESTAMP = re.compile(r'"timestamp": ?"([^"]+)"')
_MARKUP = re.compile(r"<script>alert\(1\)</script>|</?b>")


def take() -> None:
    """Write both pictures, one for the light and one for the dark colour scheme."""
    program = browser.program()
    assert program is not None, "no Chromium: install one (Debian: apt-get install chromium)"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "shop.log"
        for scheme in ("light", "dark"):
            log.write_text(recent(), "utf-8")
            command = [sys.executable, "-m", "processor", "monitor", "--serve", "0", str(log)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as monitor:
                assert monitor.stderr is not None
                url = monitor.stderr.readline().split()[5]
                with browser.Browser(program, Path(folder) / scheme) as page:
                    _picture(page, url, scheme)
                monitor.terminate()


def recent() -> str:
    """Return the recorded log with times shifted to end now, and without the names that test escaping."""
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(LINES)]
    text = _MARKUP.sub(lambda found: "s7" if "script" in found[0] else "", "".join(lines))
    times = [datetime.fromisoformat(found) for found in _TIMESTAMP.findall(text)]
    shift = datetime.now(UTC) - max(times) + timedelta(seconds=1)
    return _TIMESTAMP.sub(lambda found: f'"timestamp":"{(datetime.fromisoformat(found[1]) + shift).isoformat()}"', text)


def _picture(page: browser.Browser, url: str, scheme: str) -> None:
    page.open(url, WIDTH, HEIGHT, scheme)
    until(lambda: page.evaluate("document.getElementById('partitions').innerText"), seconds=60.0)
    taken = page.ask("Page.captureScreenshot", format="webp", quality=75)
    (PICTURES / f"monitor-page-{scheme}.webp").write_bytes(base64.b64decode(taken["data"]))


if __name__ == "__main__":
    take()

"""The page: complete in itself, safe, readable, and the same in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from processor.cli.main import main
from processor.observe.lines import ReadStats
from processor.observe.report.page import SHOWN, page
from processor.observe.report.tables import FIRST, MOST
from processor.observe.watch import Watch
from tests.observe.building import BEGAN, consumer, head, line, partition, watching
from tests.support import browser

RECORDED = Path(__file__).parents[1] / "recorded" / "shop.jsonl.gz"
VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;</style>"


class Parsed(HTMLParser):
    """The elements, with their attributes, and the text; nesting is checked on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(RECORDED), "--html", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def parsed(written: Path) -> Parsed:
    return Parsed(written.read_text())


def test_the_page_has_plots_verdicts_and_the_tasks_that_held_commit_points(parsed: Parsed) -> None:
    headings = ("Throughput", "Duration of attempts", "Lag", "Gap", "In flight", "Failed attempts", "Partitions")
    for heading in (*headings, "Head of line", "Failures by error", "Sessions with the most waiting", "Events"):
        assert heading in parsed.text
    assert len(parsed.all("figure")) == 6
    assert "session anna" in parsed.text
    assert "orders[7]" in parsed.text
    assert "falling behind" in parsed.text


def test_the_page_fetches_nothing_and_runs_no_script(written: Path, parsed: Parsed) -> None:
    source = written.read_text()
    assert {tag for tag, _ in parsed.elements} & {"script", "link", "img", "iframe", "object", "form", "base"} == set()
    for attribute in ("src", "href", "action", "style", "onload", "onerror", "onclick"):
        assert [element for element in parsed.elements if attribute in element[1]] == []
    assert "url(" not in source
    assert "@import" not in source
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_page_supports_phones_and_both_colour_schemes(written: Path, parsed: Parsed) -> None:
    metas = {meta.get("name"): meta.get("content") for meta in parsed.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in written.read_text()


def test_the_page_has_text_alternatives_and_headings_in_order(parsed: Parsed) -> None:
    assert parsed.all("html")[0]["lang"] == "en"
    for drawing in parsed.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-label"]
    assert all(cell.get("scope") == "col" or not cell for cell in parsed.all("th"))
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_all_texts_of_a_log_are_text_on_the_page(tmp_path: Path) -> None:
    """In every place where a text from the log appears."""
    texts = {"session_id": HOSTILE, "error_type": HOSTILE, "error": HOSTILE}
    busiest = [{"session_id": HOSTILE, "topic": HOSTILE, "partition": 0, "waiting": 9}]
    lines = [
        line("fleet.started", app=HOSTILE, group=HOSTILE, version=HOSTILE),
        line("consumer.assigned", 1, consumer=0, partitions=[HOSTILE]),
        *(partition(at, topic=HOSTILE, gap=5, in_flight=3, head=head(**texts)) for at in range(0, 120, 10)),
        *(consumer(at, busiest_sessions=busiest) for at in (0, 10, 20)),
        line("task.dead_lettered", 30, task_id=HOSTILE, topic=HOSTILE, **texts),
        line("fleet.consumer_exited", 40, reason=HOSTILE),
        line("consumer.stopping", 41, consumer=0, reason=HOSTILE),
        line("task.stuck", 42, stack=HOSTILE, session_id=HOSTILE),
    ]
    source = page(watching(*lines), BEGAN + 119, ReadStats())
    parsed = Parsed(source)
    assert parsed.all("script") == parsed.all("img") == []
    assert parsed.text.count("alert(1)") > 10
    assert len(parsed.all("style")) == 1


def test_a_log_without_events_is_a_page_with_advice() -> None:
    parsed = Parsed(page(Watch(), 0.0, ReadStats(lines=3, foreign=3)))
    assert "--log-format json" in parsed.text


def rows_below(parsed: Parsed, heading: str) -> int:
    """Rows of all tables between this heading and the next."""
    _, found, rest = parsed.source.partition(f"<h2>{heading}")
    assert found, heading
    return rest.partition("<h2>")[0].count("<tr>") - rest.partition("<h2>")[0].count("<thead>")


def page_of(watch: Watch) -> Parsed:
    return Parsed(page(watch, watch.now, ReadStats(lines=9)))


def stalled(number: int) -> list[bytes]:
    return [partition(at, number, gap=9, in_flight=3, head=head(state_seconds=at)) for at in range(0, 100, 10)]


def test_the_header_counts_the_faults_at_the_end_and_earlier() -> None:
    assert "2 of 3 partitions at fault" in page_of(watching(*stalled(0), *stalled(1), partition(90, 2, lag=0))).text
    recovered = partition(110, 0, committed=900, commit_point=900, lag=0)
    assert "No partition at fault at the end; 1 at fault earlier" in page_of(watching(*stalled(0), recovered)).text
    assert (
        "1 of 2 partitions at fault; 1 more at fault earlier"
        in page_of(watching(*stalled(0), *stalled(1), recovered)).text
    )
    assert "No partition at fault at the end" in page_of(watching(partition(0, lag=0))).text


def test_the_tiles_have_the_totals() -> None:
    lines = [
        consumer(0, succeeded=12_345_678, retried=3, dead_lettered=2, tasks_per_second=9.5),
        consumer(10, succeeded=12_345_678, retried=3, dead_lettered=2, timed_out=1),
        consumer(20, succeeded=12_345_678),
    ]
    text = page_of(watching(*lines)).text
    for tile in ("tasks succeeded12.3M", "max tasks/s9.5", "retried3", "timed out1", "dead letters2"):
        assert tile in text


def test_a_partition_at_fault_has_its_figures_its_reason_and_its_advice() -> None:
    text = page_of(watching(*stalled(7))).text
    assert "orders[7]stalledlag 5 · gap 9 · committed 100 · oldest unsettled 0 ms · longest wait for a worker" in text
    assert "Nothing was committed for 1 m 30 s" in text
    assert "--timeout ends an attempt" in text


def test_a_slow_task_is_not_called_a_fault() -> None:
    slow = [
        partition(at, gap=9, in_flight=3, lag=50 - at // 10, committed=100 + at, head=head(state_seconds=at + 20.0))
        for at in range(0, 100, 10)
    ]
    text = page_of(watching(*slow)).text
    assert "Slow tasks" in text
    assert "Partitions at fault" not in text


def test_a_paused_partition_is_described_and_not_counted_as_a_fault() -> None:
    paused = [
        partition(at, lag=50, in_flight=3, head=head(state="paused"), head_paused=True) for at in range(0, 100, 10)
    ]
    text = page_of(watching(*paused)).text
    assert "No partition at fault at the end" in text
    assert "at fault earlier" not in text
    assert "Paused or slow tasks" in text
    assert "orders[0]pausedlag 50" in text


def test_of_many_partitions_at_fault_some_are_described_and_all_are_in_the_table() -> None:
    parsed = page_of(watching(*(one for number in range(SHOWN + 7) for one in stalled(number))))
    assert len(parsed.all("article")) == SHOWN
    assert "And 7 partitions more, below." in parsed.text
    assert rows_below(parsed, "Partitions<") == SHOWN + 7


def test_of_long_lists_the_first_rows_are_visible_and_the_rest_is_folded_up_to_a_limit() -> None:
    def dead(n: int) -> bytes:
        return line("fleet.started", n, app=f"app{n}", processes=1)

    few, many = page_of(watching(*map(dead, range(FIRST)))), page_of(watching(*map(dead, range(2 * MOST))))
    assert rows_below(few, "Events") == FIRST
    assert rows_below(many, "Events") == MOST
    assert f"{MOST - FIRST:,} more" in many.text


def test_a_single_event_is_enough_for_a_page() -> None:
    assert "1 partition" in Parsed(page(watching(partition(0)), BEGAN, ReadStats())).text


def themes() -> list[dict[str, str]]:
    """The colours by name: the light ones, and the dark ones."""
    style = resources.files("processor.observe.report").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([a-z]+): #([0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_every_text_colour_has_enough_contrast_on_both_backgrounds(theme: dict[str, str]) -> None:
    """WCAG AA: 4.5 to 1."""
    for name in ("ink", "soft", "ok", "early", "behind", "bad", "rewound", "a", "b"):
        for ground in ("paper", "card"):
            bright, dark = sorted((luminance(theme[name]), luminance(theme[ground])), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    program = browser.program()
    if program is None:
        pytest.skip("no Chromium: install one (Debian: apt-get install chromium) to look at the page in a browser")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 640), (1280, 900)])
def test_in_a_browser_nothing_is_wider_than_the_screen_and_nothing_is_fetched(
    chromium: browser.Browser, written: Path, width: int, height: int, scheme: str
) -> None:
    chromium.requests.clear()
    chromium.open(written.as_uri(), width, height, scheme)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 22, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert (
        chromium.evaluate("[...document.querySelectorAll('path.line')].filter(p => p.getTotalLength() > 0).length") > 6
    )
    assert chromium.requests == [written.as_uri()]
    assert chromium.complaints == []


def test_in_a_browser_hostile_names_remain_text(chromium: browser.Browser, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    long = "x" * 300
    lines = [partition(at, topic="t" * 200, gap=9, in_flight=3, head=head(session_id=HOSTILE + long)) for at in (0, 10)]
    file.write_text(page(watching(*lines, consumer(10)), BEGAN + 10, ReadStats()))
    chromium.open(file.as_uri(), 390, 844)
    assert chromium.evaluate("document.scripts.length + document.images.length") == 0
    assert chromium.evaluate("document.body.innerText.includes('<script>alert(1)</script>')")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_hot_session_is_listed_with_its_share_and_what_was_read_again_for_such_sessions() -> None:
    load = {"session_id": "hot", "topic": "orders", "partition": 0, "waiting": 900, "partition_waiting": 1000}
    cost = {"records_read_again": 2000, "tasks_read_again": 800}
    parsed = Parsed(page(watching(consumer(0, busiest_sessions=[load], **cost)), BEGAN + 1, ReadStats()))
    assert "90 %" in parsed.text
    assert "2,000 records read again for 800 tasks set aside, 2.5 each." in parsed.text

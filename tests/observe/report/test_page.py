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
from processor.observe.report.page import page
from processor.observe.report.plot import Span, nice, plot
from processor.observe.watch import Watch
from processor.observe.wording import number
from tests.observe.building import BEGAN, consumer, head, line, partition, watching
from tests.support import browser

RECORDED = Path(__file__).parents[1] / "recorded" / "shop.jsonl.gz"
VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;</style>"


class Parsed(HTMLParser):
    """The elements, with their attributes, and the text; nesting is checked on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
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


def test_it_has_plots_verdicts_and_the_tasks_that_commit_points_waited_for(parsed: Parsed) -> None:
    headings = ("Throughput", "Duration of attempts", "Lag", "Gap", "In flight", "Failed attempts", "Partitions")
    for heading in (*headings, "Head of line", "Failures by error", "Sessions with the most waiting", "Events"):
        assert heading in parsed.text
    assert len(parsed.all("figure")) == 6
    assert "session anna" in parsed.text
    assert "orders[7]" in parsed.text
    assert "falling behind" in parsed.text


def test_it_fetches_nothing_and_runs_nothing(written: Path, parsed: Parsed) -> None:
    source = written.read_text()
    assert {tag for tag, _ in parsed.elements} & {"script", "link", "img", "iframe", "object", "form", "base"} == set()
    for attribute in ("src", "href", "action", "style", "onload", "onerror", "onclick"):
        assert [element for element in parsed.elements if attribute in element[1]] == []
    assert "url(" not in source
    assert "@import" not in source
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_it_is_for_phones_and_for_both_colour_schemes(written: Path, parsed: Parsed) -> None:
    metas = {meta.get("name"): meta.get("content") for meta in parsed.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in written.read_text()


def test_it_has_text_alternatives_and_headings_in_order(parsed: Parsed) -> None:
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


def test_a_single_event_is_enough_for_a_page() -> None:
    assert "1 partition" in Parsed(page(watching(partition(0)), BEGAN, ReadStats())).text


def test_a_line_breaks_where_nothing_was_noted() -> None:
    from processor.observe.report.plot import Line

    values = [(0.0, 1.0), (10.0, 1.0), (20.0, 2.0), (100.0, 1.0), (110.0, 1.0)]
    drawn = plot("h", "a", [Line("x", "line a", values)], [], Span(0, 110), str)
    (path,) = drawn.iter("path")
    assert path.get("d", "").count("M") == 2


@pytest.mark.parametrize(
    ("most", "end"),
    [
        *((0, 1), (0.031, 0.04), (1, 1), (1.01, 2), (3, 3), (7, 8), (9, 10), (12, 15), (24, 25)),
        *((999, 1000), (1000, 1000), (1001, 1500), (20_967, 25_000), (1_600_000, 2_000_000)),
    ],
)
def test_an_axis_ends_at_a_round_number_whose_half_is_one_too(most: float, end: float) -> None:
    assert nice(most) == pytest.approx(end)
    assert float(f"{end / 2:.2g}" if end < 1 else number(end / 2).replace(",", "")) == pytest.approx(end / 2)


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
def test_every_colour_of_letters_stands_out_on_both_grounds(theme: dict[str, str]) -> None:
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


def test_in_a_browser_hostile_names_stay_names(chromium: browser.Browser, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    long = "x" * 300
    lines = [partition(at, topic="t" * 200, gap=9, in_flight=3, head=head(session_id=HOSTILE + long)) for at in (0, 10)]
    file.write_text(page(watching(*lines, consumer(10)), BEGAN + 10, ReadStats()))
    chromium.open(file.as_uri(), 390, 844)
    assert chromium.evaluate("document.scripts.length + document.images.length") == 0
    assert chromium.evaluate("document.body.innerText.includes('<script>alert(1)</script>')")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 390

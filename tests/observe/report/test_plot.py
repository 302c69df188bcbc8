"""Plots as SVG: what is drawn where."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.observe.report.markup import Element
from processor.observe.report.plot import HEIGHT, ROWS, WIDTH, Line, Mark, Span, means, mosts, nice, plot, small, strip
from processor.observe.series import Point
from processor.observe.wording import number

SPAN = Span(1000.0, 1100.0)


def drawn(*lines: Line, marks: tuple[Mark, ...] = ()) -> Element:
    return plot("Lag", "records", list(lines), list(marks), SPAN, number)


def line(*values: tuple[float, float], name: str = "lag") -> Line:
    return Line(name, "line a", list(values))


def paths(element: Element) -> list[str]:
    return [path.attrib["d"] for path in element.iter("path")]


def text_of(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_a_line_spans_the_axes() -> None:
    (path,) = paths(drawn(line((1000.0, 0.0), (1050.0, 5.0), (1100.0, 10.0))))
    assert path == f"M0 {HEIGHT}L{WIDTH // 2} {HEIGHT // 2}L{WIDTH} 0"


def test_two_lines_share_one_axis() -> None:
    first, second = paths(drawn(line((1000.0, 10.0)), line((1000.0, 5.0), name="gap")))
    assert (first, second) == ("M0 0", f"M0 {HEIGHT // 2}")


def test_a_line_breaks_at_a_gap_of_three_times_the_usual_distance() -> None:
    values = [(1000.0 + at, 1.0) for at in (0, 10, 20, 50, 60, 91, 100)]
    (path,) = paths(drawn(line(*values)))
    assert [step[0] for step in path.replace("M", " M").replace("L", " L").split(" ") if step[:1] in "ML" and step] == [
        "M", "L", "L", "L", "L", "M", "L",
    ]  # fmt: skip


def test_a_figure_without_values_is_an_empty_plot() -> None:
    figure = drawn(line())
    assert paths(figure) == [""]
    assert not list(figure.iter("details"))
    assert not list(figure.iter("ul"))


def test_events_are_vertical_lines_at_their_times() -> None:
    marks = (Mark("rebalance", "rebalance", [1000.0, 1050.0]),)
    found = [one for one in drawn(line((1000.0, 1.0)), marks=marks).iter("line") if "mark" in one.attrib["class"]]
    assert [one.attrib["x1"] for one in found] == ["0", "500"]
    assert {one.attrib["class"] for one in found} == {"mark rebalance"}


def test_a_legend_is_for_several_figures_or_events() -> None:
    assert not list(drawn(line((1000.0, 1.0))).iter("ul"))
    legend = drawn(line((1000.0, 1.0)), marks=(Mark("restart", "restart", [1000.0]),)).iter("ul")
    assert [text_of(one) for one in legend] == ["lagrestart"]


def test_the_axes_have_labels() -> None:
    labels = [text_of(span) for span in drawn(line((1000.0, 10.0))).iter("span")]
    assert labels == ["10", "5", "0", "00:16:40", "00:17:30", "00:18:20"]


def test_a_long_axis_has_the_day() -> None:
    assert Span(0.0, 86_400.0).label(3600.0) == "01:00:00"
    assert Span(0.0, 86_401.0).label(3600.0) == "01-01 01:00"


def test_every_value_can_be_read_at_its_time() -> None:
    figure = drawn(line((1000.0, 1.0), (1050.0, 2.0)), line((1000.0, 3.0), name="gap"))
    assert [text_of(title) for title in figure.iter("title")] == ["00:16:40 lag 1, gap 3", "00:17:30 lag 2"]


def test_the_table_has_some_rows_of_each_figure() -> None:
    values = [(1000.0 + at, float(at)) for at in range(100)]
    figure = drawn(line(*values), line((1000.0, 5.0), name="gap"))
    (table,) = figure.iter("table")
    rows = [[text_of(cell) for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["time", "lag", "gap"]
    assert rows[1] == ["00:16:40", "0", "5"]
    assert rows[2] == ["00:16:48", "8", "–"]
    assert ROWS <= len(rows) - 1 <= 2 * ROWS


def test_a_plot_has_a_text_alternative() -> None:
    (svg,) = drawn(line((1000.0, 1.0))).iter("svg")
    assert (svg.attrib["role"], svg.attrib["aria-label"]) == ("img", "Lag: records")


def test_a_small_plot_is_a_line_without_labels() -> None:
    svg = small([(1000.0, 0.0), (1100.0, 4.0)], SPAN, "lag over time")
    assert paths(svg) == [f"M0 {HEIGHT}L{WIDTH} 0"]
    assert svg.attrib["aria-label"] == "lag over time"
    assert text_of(svg) == ""


def test_a_strip_merges_what_stays_the_same() -> None:
    values = [(1000.0, "ok", "ok"), (1010.0, "ok", "ok"), (1050.0, "stalled", "stalled"), (1060.0, "ok", "ok")]
    bands = list(strip(values, SPAN, "verdicts").iter("rect"))
    assert [(band.attrib["x"], band.attrib["width"], band.attrib["class"]) for band in bands] == [
        ("0", "500", "ok"),
        ("500", "100", "stalled"),
        ("600", "400", "ok"),
    ]
    assert text_of(bands[1]) == "stalled, 00:17:30 to 00:17:40"


def test_a_strip_without_values_is_empty() -> None:
    assert not list(strip([], SPAN, "verdicts").iter("rect"))


def test_a_short_band_is_still_visible() -> None:
    values = [(1000.0, "ok", "ok"), (1000.001, "stalled", "stalled"), (1000.002, "ok", "ok")]
    assert min(float(band.attrib["width"]) for band in strip(values, SPAN, "v").iter("rect")) >= 2


def test_a_moment_has_no_span_and_is_drawn_all_the_same() -> None:
    assert paths(plot("Lag", "x", [line((5.0, 1.0))], [], Span(5.0, 5.0), number)) == ["M0 0"]


@given(st.floats(1e-9, 1e15))
def test_an_axis_ends_at_a_short_number_not_far_above_the_largest(most: float) -> None:
    end = nice(most)
    assert most * (1 - 1e-9) <= end <= 2 * most * (1 + 1e-9)
    assert len(f"{end:.6g}".rstrip("0").replace(".", "")) <= 16


@pytest.mark.parametrize(
    ("most", "end"),
    [
        *((0, 1), (0.031, 0.04), (1, 1), (1.01, 2), (3, 3), (7, 8), (9, 10), (12, 15), (24, 25)),
        *((999, 1000), (1000, 1000), (1001, 1500), (20_967, 25_000), (1_600_000, 2_000_000)),
    ],
)
def test_an_axis_ends_at_a_short_number_whose_half_is_short_too(most: float, end: float) -> None:
    assert nice(most) == pytest.approx(end)
    assert float(f"{end / 2:.2g}" if end < 1 else number(end / 2).replace(",", "")) == pytest.approx(end / 2)


@pytest.mark.parametrize("most", [0.0, -1.0])
def test_an_empty_axis_ends_at_one(most: float) -> None:
    assert nice(most) == 1.0


def test_points_have_a_mean_and_a_peak() -> None:
    points = [Point(1.0, 2.0, 5.0, 4.0), Point(2.0, 3.0, 3.0, 3.0)]
    assert means(points) == [(1.0, 2.0), (2.0, 3.0)]
    assert mosts(points) == [(1.0, 5.0), (2.0, 3.0)]


def test_a_plot_is_markup() -> None:
    assert ElementTree.tostring(drawn(line((1000.0, 1.0))), encoding="unicode").startswith("<figure>")

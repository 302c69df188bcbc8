"""The benchmark measures what it claims to, and computes its figures from its rounds correctly."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from tests.bench import chart, ends
from tests.bench.__main__ import main, write
from tests.bench.report import Results, markdown, merged
from tests.bench.row import Outcome, Row, run
from tests.bench.stage import ArmFailed, Stage
from tests.bench.statistics import Measure, Spread, figure, ratio, share
from tests.bench.table import ROWS
from tests.bench.topics import Load, hottest, rows
from tests.conftest import MakeTopic
from tests.support.broker import Broker
from tests.support.cluster import admin_of, end_offsets, wait_gone


def stage_on(servers: str, folder: Path, *arms: str) -> Stage:
    return Stage(servers, folder, scale=0.001, arms=arms, say=lambda _: None)


@pytest.fixture
def stage(broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    made = stage_on(broker.bootstrap_servers, tmp_path, "consume", "processor")
    yield made
    made.delete_topics()


ROUNDS = [
    {"consume": {"rate": 1000.0}, "processor": {"rate": 400.0}},
    {"consume": {"rate": 2000.0}, "processor": {"rate": 500.0}},
    {"consume": {"rate": 1000.0}, "processor": {"rate": 300.0}},
]


def test_a_spread_is_the_median_and_both_ends() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_is_taken_in_each_round_and_then_its_median() -> None:
    verdict = Measure(name="", of=ratio("processor", "consume"), at_least=0.3).verdict(ROUNDS)
    assert verdict is not None
    assert verdict.spread == Spread(0.3, 0.25, 0.4)  # the ratio of the medians would be 0.4
    assert (verdict.target, verdict.reached) == ("≥ 0.3", True)


@pytest.mark.parametrize(
    ("bound", "reached"),
    [({"at_least": 400.0}, True), ({"at_least": 401.0}, False), ({"at_most": 399.0}, False), ({}, None)],
)
def test_a_target_is_reached_by_the_median(bound: dict[str, float], reached: bool | None) -> None:
    verdict = Measure(name="", of=figure("processor"), **bound).verdict(ROUNDS)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.reached is reached


def test_what_needs_an_arm_that_did_not_run_is_left_out() -> None:
    assert Measure(name="", of=ratio("pool", "consume")).verdict(ROUNDS) is None
    one_failed = [ROUNDS[0], {"processor": {"rate": 1.0}}]
    verdict = Measure(name="", of=share("consume", 500)).verdict(one_failed)
    assert verdict is not None
    assert verdict.spread == Spread(2.0, 2.0, 2.0)


def test_arms_take_turns_and_one_that_fails_is_reported_and_not_tried_again() -> None:
    order: list[str] = []

    def good() -> dict[str, float]:
        order.append("good")
        return {"rate": 1.0}

    def bad() -> dict[str, float]:
        order.append("bad")
        raise RuntimeError("no such thing")

    row = Row(
        name="row",
        work="work",
        trials=lambda _: {"good": good, "bad": bad},
        measures=lambda _: [Measure(name="good", of=figure("good")), Measure(name="bad", of=figure("bad"))],
    )
    outcome = run(row, stage_on("", Path()), 3)
    assert order == ["good", "bad", "good", "good"]
    assert [verdict.name for verdict in outcome.verdicts] == ["good"]
    assert outcome.failures == ["bad: no such thing"]


def test_the_load_by_zipf_has_the_share_that_the_law_gives_its_busiest_session() -> None:
    load = Load(name="", records=20_000, spreading="zipf")
    assert hottest(load) / load.records == pytest.approx(1 / sum(1 / rank for rank in range(1, 1001)), rel=0.05)


def test_the_first_row_runs_from_end_to_end_on_a_real_broker(stage: Stage) -> None:
    outcome = run(ROWS["nothing"], stage, 1)
    assert outcome.failures == []
    (round_,) = outcome.rounds
    for arm in ("consume", "processor"):
        figures = round_[arm]
        assert figures["tasks"] == stage.tasks(2_000_000)
        assert figures["rate"] == pytest.approx(figures["tasks"] / figures["seconds"])
        assert 0 < figures["rss_start_mb"] <= figures["rss_peak_mb"]
    named = {verdict.name: verdict.spread.median for verdict in outcome.verdicts}
    assert named["processor / consume()"] == pytest.approx(named["processor"] / named["consume"])
    assert stage.versions.keys() == {"consume", "processor"}


def test_a_handler_that_sleeps_takes_the_time_that_it_sleeps(stage: Stage) -> None:
    outcome = run(ROWS["zipf"], stage, 1)
    assert outcome.failures == []
    ideal = next(verdict for verdict in outcome.verdicts if verdict.reached is not None)
    assert 0 < ideal.spread.median <= 1.0


def test_the_clock_stops_at_its_limit_with_what_is_settled_then(stage: Stage) -> None:
    topic = stage.topic(Load(name="limit", records=500))
    for arm in ("processor", "plain"):
        figures = stage.run(arm, stage.job(topic, 500, handler="sleep", seconds=0.1, workers=2, limit=1.0))
        assert 0.99 < figures["seconds"] < 12  # all 500 would take 25 s
        assert 0 < figures["tasks"] <= 2 * figures["seconds"] / 0.1


def test_an_arm_that_cannot_run_reports_the_reason(tmp_path: Path) -> None:
    stage = stage_on("127.0.0.1:1", tmp_path)
    with pytest.raises(ArmFailed, match=r"nobody measured nothing \(exit code 1\): .*No module named"):
        stage.run("nobody", stage.job("nowhere", 1))


def test_a_load_has_the_specified_records_in_each_partition(stage: Stage) -> None:
    hot = stage.topic(Load(name="hot", records=80, hot_every=1, keyed=False))
    assert end_offsets(stage.servers, hot) == {0: 90, **dict.fromkeys(range(1, 8), 10)}
    stuck = stage.topic(Load(name="stuck", records=10, partitions=1, stuck=True))
    assert end_offsets(stage.servers, stuck) == {0: 11}
    assert stage.topic(Load(name="hot", records=80, hot_every=1, keyed=False)) == hot


def test_values_have_the_size_that_they_should_and_noise_does_not_shrink() -> None:
    for shrinks, ratio_ in ((True, 0.2), (False, 1.0)):
        values = [value for _, value, _ in rows(Load(name="", records=200, size=300, shrinks=shrinks))]
        assert {len(value) for value in values} == {300}
        assert len(zlib.compress(b"".join(values), 1)) / 60_000 <= ratio_ + 0.01
        assert len(zlib.compress(b"".join(values), 1)) / 60_000 >= ratio_ - 0.2
    avro = [value for _, value, _ in rows(Load(name="", records=200, value_format="avro"))]
    assert {len(value) for value in avro} <= set(range(250, 260))


def test_the_topics_of_a_run_can_be_deleted_and_no_others(stage: Stage, topic: MakeTopic) -> None:
    others = topic(1)
    made = stage.topic(Load(name="short", records=10))
    stage.delete_topics()
    wait_gone(stage.servers, made)  # the controller answers before the broker updates its metadata
    assert others in admin_of(stage.servers).list_topics(timeout=10).topics


def test_a_row_that_was_not_run_again_stays_unless_the_machine_is_another() -> None:
    def results(conditions: str, *names: str) -> Results:
        outcomes = [Outcome(name=name, work=conditions, rounds=[], verdicts=[]) for name in names]
        return Results(conditions=conditions, load_averages=[1.0], scale=1.0, versions={}, outcomes=outcomes)

    both = merged(results("one", "avro", "idle"), results("one", "nothing", "idle"), ROWS)
    assert [outcome.name for outcome in both.outcomes] == ["nothing", "avro", "idle"]
    assert both.load_averages == [1.0, 1.0]
    newer = results("two", "nothing")
    assert merged(results("one", "avro"), newer, ROWS) is newer


def test_the_ends_that_handlers_note_are_read_in_order(tmp_path: Path) -> None:
    path = str(tmp_path / "ends")
    assert (ends.count(path), ends.read(path)) == (0, [])
    noting = ends.Ends(path)
    noting.note()
    noting.note()
    first, second = ends.read(path)
    assert first <= second
    assert ends.count(path) == 2


def test_charts_are_well_formed_and_name_what_they_show() -> None:
    lines = chart.lines("title", "workers", "records/s", {"no-op": [(1, 10.0), (256, 5e6)], "1 ms": [(1, 9.0)]})
    bars = chart.bars("work <&>", "records/s", {"processor": 5000.0, "plain": 50.0})
    assert "no-op" in _texts(lines)
    assert {"5M", "256"} <= _texts(lines)
    assert {"processor", "5,000", "work <&> (records/s, logarithmic)"} <= _texts(bars)


def _texts(svg: str) -> set[str]:
    return {element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


def test_the_results_are_written_as_json_charts_and_markdown(tmp_path: Path) -> None:
    verdicts = [
        verdict
        for measure in (
            Measure(name="consume", unit="records/s", of=figure("consume")),
            Measure(name="processor", unit="records/s", of=figure("processor")),
            Measure(name="processor / consume()", of=ratio("processor", "consume"), at_least=0.25),
        )
        if (verdict := measure.verdict(ROUNDS)) is not None
    ]
    outcome = Outcome(name="nothing", work="no-op", rounds=list(ROUNDS), verdicts=verdicts)
    versions = {"consume": "client 1", "processor": "processor 2"}
    results = Results(conditions="2 cores", load_averages=[0.5], scale=1.0, versions=versions, outcomes=[outcome])
    write(results, tmp_path)
    assert msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results) == results
    assert (tmp_path / "nothing.svg").exists()
    text = markdown(results)
    assert text.startswith("2 cores; load average before each run 0.5.")
    assert "| no-op | processor | 400 (300–500) records/s |  |  |" in text
    assert "|  | processor / consume() | 0.3 (0.25–0.4) | ≥ 0.25 | yes |" in text
    assert "| consume | 1,000 (1,000–2,000) |" in text


@pytest.mark.parametrize(
    "wrong", [["--rows", "nothing,nowhere"], ["--arms", "me"], ["--rounds", "0"], ["--rows", "idle", "--arms", "pool"]]
)
def test_an_unknown_choice_is_a_usage_error(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err

"""Groups and their joins, by `processor.testing.run`: what runs when, what it gets, and what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from processor import Processor, Reject, Step, Task, group
from processor.errors import EncodeError, SettingsError
from processor.testing import Report, run

FORMATS = ("avro", "json", "bytes")


class Shop:
    """An application that notes what runs, with its inputs; a branch returns its name."""

    def __init__(self, fails: str = "") -> None:
        self.ran: list[str] = []
        self.inputs: dict[str, list[Any]] = {}
        self.ids: dict[str, str] = {}
        self.fails = fails
        self.app = Processor()
        self.app.default(self.work)
        self._lock = threading.Lock()

    def work(self, task: Task) -> Any:
        with self._lock:
            self.ran.append(task.name)
            self.inputs[task.name] = task.inputs
            self.ids[task.name] = task.id
        if task.name == self.fails:
            raise Reject("no")
        return task.name

    def run(self, given: Any, **options: Any) -> Report:
        return run(self.app, [given], **options)


def step(name: str, session: str = "") -> Step:
    return Step(session or f"session of {name}", None, name)


@pytest.mark.parametrize("value_format", FORMATS)
@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_what_follows_a_group_runs_once_when_all_branches_have_succeeded(value_format: Any, delivery: str) -> None:
    shop = Shop()
    report = shop.run(group([step("a"), step("b"), step("c")], id="7").then(step("d")), delivery=delivery,
                      value_format=value_format)  # fmt: skip
    assert sorted(shop.ran[:3]) == ["a", "b", "c"]
    assert shop.ran[3:] == ["d"]
    assert shop.inputs["d"] == ["a", "b", "c"]
    assert shop.ids == {"a": "7/1", "b": "7/2", "c": "7/3", "d": "7/then"}
    assert (report.dead_letters, report.exit_code) == ([], 0)


def test_a_group_may_follow_a_task_and_each_branch_gets_what_that_returned() -> None:
    shop = Shop()
    first = Step("s", None, "first", id="7")
    shop.run(first.then(group([step("a"), step("b")])).then(step("d")).then(step("e")))
    assert shop.inputs == {"first": [], "a": ["first"], "b": ["first"], "d": ["a", "b"], "e": ["d"]}
    assert shop.ids == {"first": "7", "a": "7/1/1", "b": "7/1/2", "d": "7/1/then", "e": "7/1/then/1"}


def test_a_branch_may_be_a_chain_and_counts_when_its_last_task_has_succeeded() -> None:
    shop = Shop()
    shop.run(group([step("a").then(step("b")).then(step("c")), step("x")], id="7").then(step("d")))
    assert [name for name in shop.ran if name != "x"] == ["a", "b", "c", "d"]
    assert (shop.inputs["d"], shop.ids["c"]) == (["c", "x"], "7/1/1/1")


def test_a_branch_may_be_a_group_with_something_that_follows_or_without() -> None:
    shop = Shop()
    inner = group([step("a"), step("b")]).then(step("c"))
    bare = group([step("x"), step("y")])
    shop.run(group([inner, bare, step("z")], id="7").then(step("d")))
    assert shop.inputs["d"] == ["c", ["x", "y"], "z"]
    assert shop.inputs["c"] == ["a", "b"]
    assert (shop.ids["a"], shop.ids["c"], shop.ids["y"]) == ("7/1/1", "7/1/then", "7/2/2")


def test_a_group_may_follow_a_group_and_all_its_branches_get_all_inputs() -> None:
    shop = Shop()
    shop.run(group([step("a"), step("b")], id="7").then(group([step("c"), step("d")])).then(step("e")))
    assert shop.inputs == {"a": [], "b": [], "c": ["a", "b"], "d": ["a", "b"], "e": ["c", "d"]}
    assert shop.ids["e"] == "7/then/then"


def test_bytes_that_a_branch_returns_are_inputs_at_any_depth() -> None:
    app, seen = Processor(), []

    @app.default
    def work(task: Task) -> Any:
        if task.name == "d":
            seen.append(task.inputs)
        return b"\xff"

    run(app, [group([group([step("a")]), step("b")], id="7").then(step("d"))])
    assert seen == [[[b"\xff"], b"\xff"]]


def test_a_group_that_nothing_follows_is_a_task_for_each_branch() -> None:
    shop = Shop()
    report = shop.run(group([step("a"), step("b")]))
    assert sorted(shop.ran) == ["a", "b"]
    assert len(report.done) == 2


def test_groups_without_an_id_do_not_meet() -> None:
    shop = Shop()
    report = run(shop.app, [group([step("a", "s"), step("b", "s")]).then(step("d", "s")) for _ in range(20)])
    assert shop.ran.count("d") == 20
    assert report.dead_letters == []


def test_two_groups_with_the_same_id_are_two_groups() -> None:
    """As where an application submits one again, since it does not know whether it has."""
    shop = Shop()
    run(shop.app, [group([step("a"), step("b")], id="7").then(step("d")) for _ in range(2)])
    assert shop.ran.count("d") == 2


def test_a_thousand_branches_are_joined() -> None:
    shop = Shop()
    branches = [Step(f"s{number}", None, f"b{number}") for number in range(1000)]
    shop.run(group(branches, id="7").then(step("d")), value_format="json")
    assert shop.inputs["d"] == [f"b{number}" for number in range(1000)]
    assert shop.ran.count("d") == 1


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_branch_that_is_a_dead_letter_takes_along_all_that_was_to_follow(delivery: str) -> None:
    shop = Shop(fails="b")
    given = group([step("a"), step("b").then(step("c"))], id="7").then(step("d")).then(step("e"))
    report = shop.run(given, delivery=delivery)
    assert sorted(shop.ran) == ["a", "b"]
    letters = {(letter.session_id, letter.error_type) for letter in report.dead_letters}
    unmet = {(f"session of {name}", "processor.DependencyFailed") for name in "cde"}
    assert letters == {("session of b", "processor.Reject"), *unmet}
    ids = {letter.headers["task-id"] for letter in report.dead_letters if letter.error_type.endswith("Failed")}
    assert ids == {b"7/2/1", b"7/then", b"7/then/1"}
    assert {letter.headers.get("task-after") for letter in report.dead_letters} == {None, b"7/2"}


def test_a_join_that_is_not_complete_when_it_expires_is_a_dead_letter_that_names_what_is_missing() -> None:
    shop = Shop(fails="b")
    given = group([step("a"), step("b"), step("c"), step("x")], id="7", expires_in=4).then(step("d"))
    report = shop.run(given)
    late = [letter for letter in report.dead_letters if letter.error_type == "processor.Expired"]
    assert {letter.payload for letter in late} == {"a", "c", "x"}
    assert {letter.session_id for letter in late} == {"7/then"}
    assert all("its join 7/then had to be complete by" in letter.error for letter in late)
    assert all(letter.error.endswith("and waited for 7/2") for letter in late)
    unmet = [letter for letter in report.dead_letters if letter.error_type == "processor.DependencyFailed"]
    assert [letter.headers["task-id"] for letter in unmet] == [b"7/then", b"7/then"]  # of the branch, and of the join
    assert "d" not in shop.ran


def test_inputs_that_are_too_large_together_make_dead_letters_of_the_arrivals() -> None:
    app, ran = Processor(), []

    @app.default
    def work(task: Task) -> str:
        ran.append(task.name)
        return "x" * 100_000

    report = run(app, [group([step(name) for name in "abc"], id="7").then(step("d"))])
    assert "d" not in ran
    errors = [letter.error_type for letter in report.dead_letters]
    assert sorted(errors) == ["processor.DependencyFailed"] + ["processor.errors.EncodeError"] * 3
    assert any("too large to be inputs" in letter.error for letter in report.dead_letters)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda: group([step("a")], id="7").then(Step("s", None, id="8")), "takes no id"),
        (lambda: group([group([step("a")], id="8")], id="7"), "takes no id"),
        (lambda: group([Step("", None)]).then(step("d")), "session_id"),
        (lambda: group([step("a")], expires="soon").then(step("d")), "expires"),
        (lambda: group([step("a")], expires_in=-1).then(step("d")), "expires_in"),
        (lambda: group([step("a")], expires=5, expires_in=5).then(step("d")), "not both"),
    ],
)
def test_a_group_that_cannot_be_sent_is_refused_with_its_reason(given: Callable[[], Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        run(Shop().app, [given()])


def test_a_group_that_is_too_large_is_refused() -> None:
    large = group([Step("s", "x" * 300_000)]).then(step("d"))
    with pytest.raises(EncodeError, match="what follows from the task is too large"):
        run(Shop().app, [large])


def test_a_group_needs_a_branch() -> None:
    with pytest.raises(ValueError, match="a group needs a branch"):
        group([])

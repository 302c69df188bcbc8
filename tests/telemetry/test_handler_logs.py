"""What an application logs, as events: without a consumer, so without the fields of a task."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, NamedTuple

import pytest
import structlog

from processor.telemetry import logs
from processor.telemetry.events import Emit, Event, HandlerLog
from processor.telemetry.handler_logs import NO_TASK, captured, origin
from processor.telemetry.redaction import NOT_LOGGED, LogFormat, LogLevel, Redaction, hashed
from tests.support.unconfigured_logging import unconfigured


@contextmanager
def heard(log_level: LogLevel = "info") -> Iterator[list[Any]]:
    events: list[Event] = []
    with unconfigured(), captured(events.append, log_level, wanted=True):
        yield events


def own(event: HandlerLog) -> tuple[str, str | None, str, Mapping[str, Any]]:
    return event.level, event.logger, event.message, event.fields


def test_a_line_of_logging_keeps_its_level_its_logger_and_what_is_extra() -> None:
    with heard() as events:
        logging.getLogger("shop.limits").warning("%d cents of %s", 1200, "anna", extra={"cents": 1200})
        logging.info("through the root")  # noqa: LOG015  as many programs do
        logging.getLogger("shop").critical("very bad")
        logging.getLogger("shop").log(25, "between two levels")
    assert [own(event) for event in events] == [
        ("warning", "shop.limits", "1200 cents of anna", {"cents": 1200}),
        ("info", "root", "through the root", {}),
        ("error", "shop", "very bad", {}),
        ("info", "shop", "between two levels", {}),
    ]
    assert {name: getattr(events[0], name) for name in NO_TASK} == NO_TASK


def test_a_line_of_structlog_keeps_its_level_its_logger_and_its_values() -> None:
    with heard() as events:
        structlog.get_logger("shop").bind(order="o-1").warning("charged %s", "anna", cents=1200)
        structlog.get_logger().info("of no name")
        structlog.get_logger("shop").critical("very bad")
        with structlog.contextvars.bound_contextvars(request="r-1"):
            structlog.get_logger("shop").info("with context")
    assert [own(event) for event in events] == [
        ("warning", "shop", "charged anna", {"order": "o-1", "cents": 1200}),
        ("info", None, "of no name", {}),
        ("error", "shop", "very bad", {}),
        ("info", "shop", "with context", {"request": "r-1"}),
    ]


@pytest.mark.parametrize(("log_level", "kept"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")])
def test_lines_below_the_level_are_left_out(log_level: LogLevel, kept: str) -> None:
    with heard(log_level) as events:
        for log in (logging.getLogger("shop"), structlog.get_logger("shop")):
            log.debug("d")
            log.info("i")
            log.warning("w")
            log.error("e")
    assert "".join(event.message for event in events) == kept * 2


def test_an_exception_has_its_type_its_text_and_its_frames() -> None:
    with heard() as events:
        try:
            raise ConnectionError("the bank does not respond")
        except ConnectionError as error:
            logging.getLogger("shop").exception("not charged")
            structlog.get_logger("shop").exception("not charged")
            structlog.get_logger("shop").error("not charged", exc_info=error)
        logging.getLogger("shop").error("no exception at all", exc_info=True)  # noqa: LOG014
    *raised, without = events
    for event in raised:
        assert (event.error_type, event.error) == ("builtins.ConnectionError", "the bank does not respond")
        assert 'raise ConnectionError("the bank does not respond")' in event.traceback
        assert event.fields == {}
    assert (without.error_type, without.error, without.traceback) == (None, None, None)


def test_a_stack_is_kept_where_it_is_asked_for() -> None:
    with heard() as events:
        logging.getLogger("shop").warning("here", stack_info=True)
        structlog.get_logger("shop").warning("here", stack_info=True)
        structlog.get_logger("shop").warning("here", stack="of bricks")
    assert "test_a_stack_is_kept" in events[0].stack
    assert "test_a_stack_is_kept" in events[1].stack
    assert (events[2].stack, events[2].fields) == (None, {"stack": "of bricks"})


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_a_line_with_wrong_arguments_is_still_logged() -> None:
    with heard() as events:
        logging.getLogger("shop").warning("%d cents", "many")
        logging.getLogger("shop").warning(Unprintable())
        structlog.get_logger("shop").warning("value", value=Unprintable())
    assert events[0].message.startswith("%d cents (its arguments do not fit: ")
    assert "its text cannot be had: builtins.ValueError" in events[1].message
    assert events[2].fields == {"value": "(its text cannot be had: builtins.ValueError)"}


def test_values_that_json_does_not_have_are_logged_as_text() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop

    class Secret(NamedTuple):
        card: str

    with heard() as events:
        structlog.get_logger("shop").warning("values", of=[1, None, {2: b"two"}, Unprintable], loop=loop, s=Secret("4"))
        logging.getLogger("shop").warning("values", extra={"path": object})
    fields = events[0].fields
    assert fields["of"] == [1, None, {"2": "b'two'"}, str(Unprintable)]
    json.dumps(fields)
    assert events[1].fields == {"path": "<class 'object'>"}


@pytest.mark.parametrize("structured", [True, False])
def test_a_value_that_another_thread_changes_meanwhile_is_logged(structured: bool) -> None:
    class Adding:
        """Adds entries while it is turned into text, at the moment in which another thread might."""

        def __str__(self) -> str:
            counts[f"another {len(counts)}"] = 1
            seen.add(len(seen))
            return "adding"

    adding = Adding()
    counts: dict[str, Any] = {"first": adding, "second": 2}
    seen: set[Any] = {adding, "b"}
    with heard() as events:
        if structured:
            structlog.get_logger("shop").info("so far", counts=counts, seen=seen)
        else:
            logging.getLogger("shop").info("so far", extra={"counts": counts, "seen": seen})
    (event,) = events
    assert event.fields["counts"] == {"first": "adding", "second": 2}
    assert "adding" in event.fields["seen"]


def test_lines_of_loggers_that_were_bound_at_import_are_logged_too() -> None:
    with unconfigured():
        early = structlog.get_logger("shop").bind(service="shop")
        events: list[Any] = []
        with captured(events.append, "info", wanted=True):
            early.info("charged")
    assert [own(event)[2:] for event in events] == [("charged", {"service": "shop"})]


def test_an_application_with_a_handler_on_the_root_logger_keeps_its_logging() -> None:
    with unconfigured():
        written, events = io.StringIO(), list[Event]()
        logging.basicConfig(stream=written, format="%(message)s")
        with captured(events.append, "info", wanted=True):
            logging.getLogger("shop").warning("mine")
            logging.getLogger("shop").info("below the root logger's own level")
    assert (written.getvalue(), events) == ("mine\n", [])


def test_an_application_that_configured_structlog_keeps_its_configuration() -> None:
    with unconfigured():
        written, events = io.StringIO(), list[Event]()
        structlog.configure([structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(written))
        with captured(events.append, "info", wanted=True):
            structlog.get_logger("shop").warning("mine")
        structlog.get_logger("shop").warning("still mine")
    assert (written.getvalue(), events) == ('{"event": "mine"}\n{"event": "still mine"}\n', [])


def test_an_application_that_sets_up_logging_later_takes_precedence(capsys: pytest.CaptureFixture[str]) -> None:
    with heard() as events:
        logging.getLogger("shop").warning("first")
        structlog.get_logger("shop").warning("first")
        structlog.configure([structlog.processors.KeyValueRenderer()])
        structlog.get_logger("shop").warning("mine")
        written = io.StringIO()
        of_shop = logging.StreamHandler(written)
        logging.getLogger("shop").addHandler(of_shop)
        logging.getLogger("shop.limits").warning("of shop")
        logging.getLogger("other").warning("second")
        logging.getLogger("shop").removeHandler(of_shop)
        logging.root.addHandler(logging.StreamHandler(written))
        logging.getLogger("other").warning("of the root")
        logging.basicConfig(stream=written, format="new: %(message)s", force=True)
        logging.getLogger("other").warning("of the root")
    assert [event.message for event in events] == ["first", "first", "second"]
    assert written.getvalue() == "of shop\nof the root\nnew: of the root\n"
    assert capsys.readouterr().out == "event='mine'\n"


def test_the_logging_configuration_is_restored_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured():
        before = logging.root.handlers[:], structlog.get_config()
        early = structlog.get_logger("shop").bind(service="shop")
        events: list[Event] = []
        for _ in range(2):
            with captured(events.append, "info", wanted=True):
                structlog.get_logger("shop").info("heard")
        assert (logging.root.handlers, structlog.get_config()) == before
        assert (logging.root.level, structlog.is_configured()) == (logging.WARNING, False)
        early.info("as by default")
    assert len(events) == 2
    assert "as by default" in capsys.readouterr().out


def test_without_capturing_no_logging_configuration_is_replaced() -> None:
    with unconfigured():
        before = logging.root.handlers[:], structlog.get_config()
        with captured(list[Event]().append, "info", wanted=False):
            assert (logging.root.handlers, structlog.get_config()) == before


class Speaker(NamedTuple):
    emit: Emit
    offset: int | None

    def task_fields(self) -> Mapping[str, Any] | None:
        return None if self.offset is None else {**NO_TASK, "offset": self.offset}


def test_two_consumers_in_one_process_each_log_the_lines_of_their_own_handlers() -> None:
    def speak(emit: Emit, offset: int | None) -> None:
        origin.set(Speaker(emit, offset))
        structlog.get_logger("shop").info("here")

    one, two = list[Event](), list[Event]()
    with unconfigured(), captured(one.append, "info", wanted=True):
        with captured(two.append, "info", wanted=True):
            copy_context().run(speak, one.append, 1)
            copy_context().run(speak, two.append, 2)
            copy_context().run(speak, two.append, None)
            logging.getLogger("a.library").warning("in a thread of its own")
        logging.getLogger("a.library").warning("in a thread of its own")
    assert [(event.message, event.offset) for event in one if isinstance(event, HandlerLog)] == [
        ("here", 1),
        ("in a thread of its own", None),
    ]
    assert [(event.message, event.offset) for event in two if isinstance(event, HandlerLog)] == [
        ("here", 2),
        ("here", None),
        ("in a thread of its own", None),
    ]


def line(redaction: Redaction, log_format: str = "json") -> str:
    stream = io.StringIO()
    logs.configure("json" if log_format == "json" else "console", "info", stream, redaction)
    with unconfigured(), captured(logs.emitter(), "info", wanted=True):
        try:
            raise KeyError("card 4111")
        except KeyError:
            structlog.get_logger("shop").exception("not charged", session_id="anna", task_id="t" * 500, cents=1200)
    return stream.getvalue()


def test_sessions_and_errors_of_a_line_are_redacted_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_configured", None)
    written = json.loads(line(Redaction("hashed", "type")))
    assert written["fields"] == {"session_id": hashed("anna"), "task_id": "t" * 199 + "…", "cents": 1200}
    assert (written["error_type"], written["error"]) == ("builtins.KeyError", NOT_LOGGED)
    assert written["level"] == "error"
    plain = json.loads(line(Redaction("plain", "full")))
    assert (plain["fields"]["session_id"], plain["error"]) == ("anna", "'card 4111'")


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("value", [["name"], "name", {"session_id": 7}])
def test_a_value_may_be_named_like_the_values_of_a_line(
    monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, value: Any
) -> None:
    monkeypatch.setattr(logs, "_configured", None)
    stream = io.StringIO()
    logs.configure(log_format, stream=stream)
    with unconfigured(), captured(logs.emitter(), "info", wanted=True):
        structlog.get_logger("shop").info("checked", fields=value)
    assert "checked" in stream.getvalue()
    if log_format == "json":
        assert json.loads(stream.getvalue())["fields"] == {"fields": value}


def test_the_console_shows_the_values_of_a_line_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_configured", None)
    shown = line(Redaction(), "console")
    first, *frames = shown.splitlines()
    assert "handler.log" in first
    assert "cents=1200" in first
    assert "not charged" in first
    assert any('raise KeyError("card 4111")' in frame for frame in frames)

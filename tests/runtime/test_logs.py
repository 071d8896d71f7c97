"""What comes out on stderr: JSON lines, or text that no peer can steer a terminal with."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from adapter.runtime import logs

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "\x1b[2J\x07\x9b31m\u202eevil\r"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_lines(monkeypatch: pytest.MonkeyPatch, level: str = "info") -> Callable[[], list[dict[str, Any]]]:
    """Configured; gives what has been logged since."""
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    logs.configure("json", level)
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


class TestJson:
    def test_a_line_is_an_object(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = json_lines(monkeypatch)
        structlog.get_logger().warning("fallback", correlation_id="sbc1:1:2:3", outcome="timeout")
        (entry,) = lines()
        assert entry.pop("timestamp").endswith("Z")
        assert entry == {
            "event": "fallback",
            "level": "warning",
            "correlation_id": "sbc1:1:2:3",
            "outcome": "timeout",
        }

    def test_whatever_is_logged_is_one_line_of_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = json_lines(monkeypatch)
        values: dict[str, Any] = {
            "text": f"{HOSTILE}\n\ud800é",
            "bytes": b"\xff",
            "object": object(),
            "set": {1},
        }
        structlog.get_logger().info("odd", **values)
        logging.getLogger("some.library").error("odd %s\n", HOSTILE)
        first, second = lines()
        assert first["text"] == f"{HOSTILE}\n\ud800é"
        assert first["bytes"] == r"b'\xff'"
        assert second["event"] == f"odd {HOSTILE}\n"

    def test_exceptions_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = json_lines(monkeypatch)
        try:
            raise ValueError("boom")
        except ValueError as exc:
            structlog.get_logger().error("failed", exc_info=exc)
            logging.getLogger("some.library").exception("failed")
        for entry in lines():
            assert entry["event"] == "failed"
            assert "ValueError: boom" in entry["exception"]
            assert entry["level"] == "error"

    def test_context_is_added(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = json_lines(monkeypatch)
        structlog.contextvars.bind_contextvars(correlation_id="a:1:2:3")
        structlog.get_logger().info("ours")
        logging.getLogger("some.library").warning("theirs")
        assert [entry["correlation_id"] for entry in lines()] == ["a:1:2:3"] * 2

    @pytest.mark.parametrize(
        ("level", "ours", "theirs"),
        [
            ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
            ("info", ["info", "warning", "error"], ["warning", "error"]),
            ("warning", ["warning", "error"], ["warning", "error"]),
            ("error", ["error"], ["error"]),
        ],
    )
    def test_levels(
        self, monkeypatch: pytest.MonkeyPatch, level: str, ours: list[str], theirs: list[str]
    ) -> None:
        lines = json_lines(monkeypatch, level)
        for name in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger(), name)("ours")
            getattr(logging.getLogger("some.library"), name)("theirs")
        assert [entry["level"] for entry in lines() if entry["event"] == "ours"] == ours
        assert [entry["level"] for entry in lines() if entry["event"] == "theirs"] == theirs

    @pytest.mark.parametrize("name", ["aio_pika.robust_connection", "aiormq.connection"])
    def test_what_the_broker_reports_itself_is_not_said_twice(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        lines = json_lines(monkeypatch, "debug")
        logging.getLogger(name).error("connection lost")
        assert lines() == []

    def test_configured_again_there_is_one_line_still(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = json_lines(monkeypatch)
        logs.configure("json", "info")
        logging.getLogger("some.library").warning("once")
        assert len(lines()) == 1


class TestConsole:
    def test_text_from_peers_is_escaped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", out := io.StringIO())
        logs.configure("console", "info")
        structlog.get_logger().warning("malformed reply", correlation_id=HOSTILE, body=HOSTILE.encode())
        structlog.get_logger().warning(HOSTILE, nested={"x": HOSTILE}, spaced=f"a b {HOSTILE}")
        logging.getLogger("some.library").warning("%s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            structlog.get_logger().exception("failed")
            logging.getLogger("some.library").exception("failed")
        assert not set(out.getvalue()) & (set(HOSTILE) - set("[2J31mevil"))
        assert out.getvalue().count("evil") >= 8

    def test_no_local_variable_of_a_traceback_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", out := io.StringIO())
        logs.configure("console", "info")
        parts = ["hun", "ter2"]

        def connect(password: str) -> None:
            raise ConnectionError("refused")

        try:
            connect("".join(parts))
        except ConnectionError as exc:
            structlog.get_logger().error("failed", exc_info=exc)
            logging.getLogger("some.library").exception("failed")
        assert out.getvalue().count("ConnectionError: refused") == 2
        assert "hunter2" not in out.getvalue()

    def test_colours_are_for_terminals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for out in (Terminal(), io.StringIO()):
            monkeypatch.setattr(sys, "stderr", out)
            logs.configure("console", "info")
            structlog.get_logger().info("hello")
            assert ("\x1b[" in out.getvalue()) is out.isatty()


class TestByItself:
    def test_console_on_a_terminal_and_json_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for out in (Terminal(), io.StringIO()):
            monkeypatch.setattr(sys, "stderr", out)
            logs.configure(None, "info")
            structlog.get_logger().info("hello")
            assert out.getvalue().startswith("{") is not out.isatty()


def test_who_logged_while_a_test_had_logs_set_up_is_heard_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, logger = json_lines(monkeypatch), structlog.get_logger()
    logger.info("now")
    assert [line["event"] for line in lines()] == ["now"]
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        logger.debug("later")
    assert [entry["event"] for entry in entries] == ["later"]

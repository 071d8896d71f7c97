"""What lines of the log say beside their text."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from adapter.contract import Request, encode_request
from consumers import Message, Service, allow, logs

if TYPE_CHECKING:
    from collections.abc import Callable

own = logging.getLogger("my_service")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """The entries of the log so far."""
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    logs.set_up("info")
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


def asked(event: str, data: Any, correlation_id: str | None = "n:1:2:3") -> Message:
    ids = (1, 2, 3) if correlation_id else (None, None, None)
    return Message(encode_request(Request(event, "n", data, *ids)), correlation_id)


async def test_what_a_handler_logs_names_service_and_request(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    service = Service("screening")

    @service.on("later")
    async def later(request: Request) -> dict[str, Any]:
        own.info("looked up", extra={"table": "blocked"})
        structlog.get_logger().info("looked up again")
        return allow()

    @service.on("at_once")
    def at_once(request: Request) -> dict[str, Any]:
        own.info("computed")
        return allow()

    logs.tell_requests(service)
    await service.answer(asked("at_once", {}))
    await service.answer(asked("at_once", {}, correlation_id=None))
    own.info("between")
    await service.answer(asked("later", {"call_id": "abc@sbc1"}))
    found = lines()
    about = {"service": "screening", "correlation_id": "n:1:2:3", "level": "info"}
    for entry in found:
        assert entry.pop("timestamp").endswith("Z")
    assert found == [
        {"event": "computed", **about},
        {"event": "computed", "service": "screening", "level": "info"},
        {"event": "between", "level": "info"},
        {"event": "looked up", **about, "call_id": "abc@sbc1", "table": "blocked"},
        {"event": "looked up again", **about, "call_id": "abc@sbc1"},
    ]


async def test_what_the_sdk_logs_names_service_and_request(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    service = Service("screening")
    service.on("e")(lambda request: {"x": 1 / 0})
    await service.answer(asked("e", {}))
    await service.answer(Message(b"\xc1", "n:1:2:4"))
    failed, rejected = lines()
    assert "ZeroDivisionError" in failed.pop("exception")
    assert (failed["service"], failed["correlation_id"], failed["level"]) == ("screening", "n:1:2:3", "error")
    assert (rejected["service"], rejected["correlation_id"]) == ("screening", "n:1:2:4")


def test_people_on_a_terminal_get_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    logs.set_up("console,warning")
    own.info("not said")
    own.warning("said", extra={"service": "screening"})
    logging.getLogger("aiormq").error("not said")
    (line,) = out.getvalue().splitlines()
    assert "said" in line
    assert "service=screening" in line


def test_all_is_told_of_libraries_at_level_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    logging.getLogger("aiormq").setLevel(logging.NOTSET)
    logs.set_up("json,debug")
    logging.getLogger("aiormq").debug("said")
    assert "said" in out.getvalue()


def test_a_wrong_word_is_told() -> None:
    with pytest.raises(ValueError, match="'loud' is none of json, console, debug, info, warning, error"):
        logs.set_up("json,loud")

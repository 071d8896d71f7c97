"""Whose requests a service takes: RabbitMQ verifies the property ``user_id``."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from consumers import Request, Service, allow
from consumers.__main__ import names, parser
from consumers.amqp.delivery import Delivery, PropertiesError
from consumers.messages import Message, Result

texts = st.text("abé:", min_size=1, max_size=9)
PROPERTIES = {
    **dict.fromkeys(
        (
            *("content_type", "content_encoding", "correlation_id", "reply_to", "expiration"),
            *("message_id", "message_type", "user_id", "app_id"),
        ),
        texts,
    ),
    "headers": st.just({"x-node": "sbc1", "x-version": 1}),
    "delivery_mode": st.sampled_from([1, 2]),
    "priority": st.integers(0, 9),
    "timestamp": st.just(datetime(2026, 1, 2, tzinfo=UTC)),
}


def delivery(properties: dict[str, Any]) -> Delivery:
    header = ContentHeader(body_size=1, properties=Basic.Properties(**properties)).marshal()
    return Delivery(1, header, b"x")


@given(st.fixed_dictionaries({}, optional=PROPERTIES))
def test_the_sender_is_found_among_any_properties(properties: dict[str, Any]) -> None:
    found = delivery(properties)
    found.read()
    assert found.user_id == properties.get("user_id")


def test_a_header_that_is_cut_off() -> None:
    whole = delivery({"reply_to": "r", "timestamp": datetime(2026, 1, 2, tzinfo=UTC), "user_id": "adapter"})
    cut = Delivery(1, whole._header[:18], b"x")
    cut.read()
    with pytest.raises(PropertiesError):
        _ = cut.user_id


def test_what_is_refused_is_counted_and_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    service, now = Service("s", clock=lambda: now), 100.0

    @service.on("e")
    def decide(_: Request) -> Any:
        return allow()

    for user in ("screening", None):
        for _ in range(5):
            answer = service.refuse(Message(b"", "sbc1:1:1:1:AAAAAAAAAAAA"), user)
            assert (answer.rejected, answer.body, answer.result) == (True, None, Result.REFUSED)
        now += 1.0
    assert service.counts == {Result.REFUSED: 10}
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(lines) == 2
    assert "a request by screening" in lines[0]
    assert "a request by nobody known" in lines[1]


def test_the_flag_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVAPI_REQUESTS_FROM", "evapi-adapter, operator,")
    assert names(parser().parse_args(["m:s"]).requests_from) == ["evapi-adapter", "operator"]
    assert names(parser().parse_args(["m:s", "--requests-from", "a"]).requests_from) == ["a"]
    monkeypatch.delenv("EVAPI_REQUESTS_FROM")
    assert names(parser().parse_args(["m:s"]).requests_from) == []

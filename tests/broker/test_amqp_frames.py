"""The frames of a publication, as the library reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pamqp import frame

from adapter.broker.rabbitmq import frames
from adapter.ports.broker import Publication

if TYPE_CHECKING:
    from pamqp.commands import Basic
    from pamqp.header import ContentHeader

NOW = 1_790_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def read(raw: bytes) -> tuple[Basic.Publish, ContentHeader, bytes]:
    """The method, the header and the body."""
    found: list[Any] = []
    while raw:
        size, channel, one = frame.unmarshal(raw)
        assert channel == 7
        found.append(one)
        raw = raw[size:]
    method, header, *bodies = found
    return method, header, b"".join(body.value for body in bodies)


@pytest.mark.parametrize("trace", ["", TRACE])
@pytest.mark.parametrize("body", [b"", b"x", b"x" * 99])
def test_a_request(trace: str, body: bytes) -> None:
    asked = Publication("invite_request", "sbc1", body, "sbc1:1:2:1", NOW + 2.0, trace)
    method, header, found = read(frames.encode(7, 32, asked, "sbc1:1:2:1", NOW, 2000, "evapi.results.sbc1"))
    assert (method.exchange, method.routing_key, method.mandatory) == (
        "evapi.events",
        "invite_request.sbc1",
        True,
    )
    headers = {"x-node": "sbc1", "x-version": 1, "x-deadline": (NOW + 2) * 1000, "x-time-left": 2000}
    told = header.properties
    assert told.headers == ({**headers, "traceparent": trace} if trace else headers)
    assert (told.correlation_id, told.message_id, told.reply_to) == (
        "sbc1:1:2:1",
        "sbc1:1:2:1",
        "evapi.results.sbc1",
    )
    assert (told.expiration, told.delivery_mode, told.message_type) == ("2000", 1, "invite_request")
    assert (header.body_size, found) == (len(body), body)


@pytest.mark.parametrize("trace", ["", TRACE])
def test_a_request_that_may_be_answered_by_mqtt(trace: str) -> None:
    asked = Publication("invite_request", "sbc1", b"x", "sbc1:1:2:1", NOW + 2.0, trace)
    for mqtt in (True, False):
        raw = frames.encode(7, 99, asked, "m", NOW, 2000, "evapi.results.sbc1.0a", "", mqtt)
        _, header, _ = read(raw)
        told = header.properties.headers or {}
        assert told.get("x-reply-to-topic") == ("evapi.results.sbc1.0a" if mqtt else None)
        assert (told["x-deadline"], told.get("traceparent", "")) == ((NOW + 2) * 1000, trace)
    _, header, _ = read(frames.encode(7, 99, Publication("e", "n", b"x"), "m", NOW, 0, "", "", True))
    assert "x-reply-to-topic" not in (header.properties.headers or {})


@pytest.mark.parametrize("of", ["sbc1:1:2:1", None])
def test_who_sends_it(of: str | None) -> None:
    asked = Publication("invite_request", "sbc1", b"x", of, NOW + 2.0)
    for user in ("evapi-adapter", ""):
        _, header, _ = read(frames.encode(7, 32, asked, "m", NOW, 2000, "evapi.results.sbc1", user))
        told = header.properties
        assert (told.user_id, told.app_id) == (user or None, "evapi-adapter")
        assert told.message_type == "invite_request"


def test_a_notice_has_no_trace() -> None:
    _, header, _ = read(frames.encode(7, 32, Publication("call_ended", "sbc1", b"x"), "m", NOW, 0, ""))
    assert header.properties.headers == {"x-node": "sbc1", "x-version": 1}
    assert header.properties.correlation_id is None

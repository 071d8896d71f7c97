from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.contract import Request, encode_request
from consumers import DecisionError, Service, allow, cached, redirect, reject, route
from consumers.decisions import MAX_CACHE
from consumers.messages import Answer, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

URI = "sip:441632960000@gw1.example.net:5060;transport=tcp"


def test_the_maps() -> None:
    assert route(URI) == {"action": "route", "uri": URI}
    assert route("tel:+441632960000", ring=20) == {"action": "route", "uri": "tel:+441632960000", "ring": 20}
    assert reject(403, "Forbidden") == {"action": "reject", "code": 403, "reason": "Forbidden"}
    assert redirect(URI) == {"action": "redirect", "contacts": [URI], "code": 302}
    assert redirect([URI, "sips:b@[2001:db8::1]"], 300)["contacts"] == [URI, "sips:b@[2001:db8::1]"]
    assert allow(note="vip") == {"action": "allow", "note": "vip"}


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "sip:",
        "gw1.example.net",
        "http://a",
        "sip:a b",
        "sip:a\r\nVia: x",
        "sip:a>,<sip:b",
        'sip:"a"',
        "sip:ä",
        None,
        7,
        "sip:" + "a" * 1021,
    ],
)
def test_what_is_no_uri_is_told(uri: str) -> None:
    with pytest.raises(DecisionError, match="no SIP URI"):
        route(uri)
    with pytest.raises(DecisionError, match="no SIP URI"):
        redirect([URI, uri])


@pytest.mark.parametrize("code", [200, 399, 700, "403", 403.0, True, None])
def test_what_is_no_final_failure_is_told(code: int) -> None:
    with pytest.raises(DecisionError, match="from 400 to 699"):
        reject(code, "No")


def test_a_redirection_has_a_contact_and_a_3xx() -> None:
    with pytest.raises(DecisionError, match="at least one"):
        redirect([])
    with pytest.raises(DecisionError, match="from 300 to 399"):
        redirect(URI, 404)


@pytest.mark.parametrize("reason", ["a\r\nb", "a\0", "x" * 129, None])
def test_what_is_no_reason_phrase_is_told(reason: str) -> None:
    with pytest.raises(DecisionError, match="reason phrase"):
        reject(403, reason)


@given(st.text(max_size=40))
def test_no_text_breaks_out_of_the_header_it_is_put_into(text: str) -> None:
    try:
        uri = route(f"sip:{text}")["uri"]
    except DecisionError:
        return
    assert not set(uri) & set('\r\n\0 <>"\t')
    assert uri.isascii()


@pytest.mark.parametrize("one", [route(URI), {}, ChainMap({"action": "queue"})])
def test_a_decision_that_holds_for_a_while_is_sent_as_it_is(one: Mapping[str, Any]) -> None:
    service = Service("s")
    service.on("e")(lambda request: cached(one, seconds=30))
    service.on("plain")(lambda request: one)
    answers = [
        service.begin(Message(encode_request(Request(event, "n", {}, 1, 1, 1)), "id"))
        for event in ("e", "plain")
    ]
    assert all(isinstance(each, Answer) for each in answers)
    found, plain = (each for each in answers if isinstance(each, Answer))
    assert found.body == plain.body
    assert found.headers == {"x-service": "s", "x-cache": 30}
    assert plain.headers == {"x-service": "s"}


@pytest.mark.parametrize("seconds", [0, -1, 1.5, True, "30", None, MAX_CACHE + 1])
def test_what_is_no_number_of_seconds_is_told(seconds: int) -> None:
    with pytest.raises(DecisionError, match="no number of seconds from 1"):
        cached(allow(), seconds=seconds)

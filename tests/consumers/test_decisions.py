from __future__ import annotations

import json
from collections import ChainMap
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.contract import Request, encode_request
from consumers import DecisionError, Route, Service, allow, cached, redirect, reject, route, routes
from consumers.decisions import MAX_CACHE
from consumers.messages import Answer, Message
from tests.harness.readme import README, block

if TYPE_CHECKING:
    from collections.abc import Mapping

URI = "sip:441632960000@gw1.example.net:5060;transport=tcp"


def test_the_maps() -> None:
    assert route(URI) == {"action": "route", "uri": URI}
    assert route("tel:+441632960000", ring=20) == {"action": "route", "uri": "tel:+441632960000", "ring": 20}
    assert reject(403, "Forbidden") == {"action": "reject", "code": 403, "reason": "Forbidden"}
    assert redirect(URI) == {"action": "redirect", "uris": [URI], "code": 302}
    assert redirect([URI, "sips:b@[2001:db8::1]"], 300)["uris"] == [URI, "sips:b@[2001:db8::1]"]
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


def test_several_gateways() -> None:
    assert routes([URI]) == {"action": "route", "routes": [{"uri": URI}]}
    full: Route = {
        "uri": URI,
        "timeout_ms": 2500,
        "reroute_on": [486, "5xx"],
        "headers": {"X-A": "ä"},
        "caller": "+44",
    }
    made = routes([full, URI], mode="parallel", max_duration=60, note=1)
    more = {"mode": "parallel", "max_duration": 60, "note": 1}
    assert made == {"action": "route", "routes": [full, {"uri": URI}], **more}
    assert reject(486, "Busy", headers={"Retry-After": "5"})["headers"] == {"Retry-After": "5"}


WRONG: list[tuple[str, str, list[Any]]] = [
    ("uri", "tel has no host", ["tel:+44"]),
    ("uri", "no SIP URI", ["sip:a b", "", 7, None]),
    ("timeout_ms", "no whole number", [0, -1, 1.5, "5", True, None, 10**7]),
    ("caller", "no caller", ["", "a b", "tel:1", 7, None, "sip:a\r\nb"]),
    ("reroute_on", "reroute_on", [503, "5xx", [200], ["5x"], [True], None]),
    ("headers", "headers are", ["X: y", [], None]),
    ("headers", "may set", [{"Via": "x"}, {"cseq": "x"}, {"X Y": "x"}, {"X.Y": "x"}, {"": "x"}, {7: "x"}]),
    ("headers", "printable", [{"X": "a\r\nb"}, {"X": "a\tb"}, {"X": 7}, {"X": None}]),
    ("headers", "more than 4000", [{"X": "y" * 4000}]),
    ("timeout", "timeout_ms is meant", [5]),
]


NO_ROUTES: list[Any] = [{}, 7, None]


@pytest.mark.parametrize(
    ("one", "told"),
    [
        *[({"uri": URI, key: value}, told) for key, told, values in WRONG for value in values],
        *[(one, "no map that has one as uri") for one in NO_ROUTES],
    ],
)
def test_what_is_wrong_with_a_route_is_told_with_its_place(one: Any, told: str) -> None:
    with pytest.raises(DecisionError, match=rf"^routes\[1\]: .*{told}"):
        routes([URI, one])


def test_the_decision_in_the_readme_is_one() -> None:
    shown = json.loads(block("json", '"max_duration"', README))
    assert routes(shown["routes"], max_duration=shown["max_duration"]) == shown


@pytest.mark.parametrize("listed", [[], URI, [URI] * 11])
def test_from_one_to_ten_routes(listed: Any) -> None:
    with pytest.raises(DecisionError, match="1 to 10 routes"):
        routes(listed)


def test_what_is_no_mode_and_no_duration() -> None:
    with pytest.raises(DecisionError, match="serial or parallel"):
        routes([URI], mode="both")  # type: ignore[arg-type]
    anything: list[Any] = [0, -1, 1.5, "60", True]
    for wrong in anything:
        with pytest.raises(DecisionError, match="no whole number"):
            routes([URI], max_duration=wrong)
    unfit: list[Any] = [{"Via": "x"}, {"X": "a\r\nb"}, "X: y"]
    for headers in unfit:
        with pytest.raises(DecisionError, match="header"):
            reject(486, "Busy", headers=headers)


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

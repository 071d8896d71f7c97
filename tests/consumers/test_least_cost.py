from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.watched import TableError
from consumers import LoadError, least_cost, load
from consumers.least_cost import EXAMPLE_RATES, make_service, parse_rates
from consumers.testing import Undecided, ask

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "prefix,gateway,rate,priority\n"
NOT_FOUND = {"action": "reject", "code": 404, "reason": "No route"}


@pytest.mark.parametrize(
    "data, uri",
    [
        ({"user": "441632960000"}, "sip:441632960000@gw1.example.net"),
        ({"user": "+44 1632-960000"}, "sip:441632960000@gw1.example.net"),
        ({"user": "00441632960000", "ruri": "sip:1@x"}, "sip:441632960000@gw1.example.net"),
        ({"ruri": "sip:+442079460000@proxy;user=phone"}, "sip:442079460000@gw2.example.net"),
        ({"user": "", "ruri": "tel:+12125550100"}, "sip:12125550100@gw2.example.net"),
        ({"user": "493023125000"}, "sip:493023125000@gw2.example.net"),
    ],
)
async def test_the_packaged_example(data: dict[str, str], uri: str) -> None:
    assert await ask(make_service(EXAMPLE_RATES), "invite_request", data) == {"action": "route", "uri": uri}


@pytest.mark.parametrize(
    "data", [{"user": "999"}, {"user": "alice"}, {"ruri": "sip:gw.example.net"}, {"user": "4"}]
)
async def test_no_route(data: dict[str, str]) -> None:
    assert await ask(make_service(EXAMPLE_RATES), "invite_request", data) == NOT_FOUND


@pytest.mark.parametrize("data", [{}, {"user": 44}, b"raw", [], None])
async def test_a_request_that_names_nobody_fails(data: Any) -> None:
    with pytest.raises(Undecided, match="failed: ValueError: data"):
        await ask(make_service(EXAMPLE_RATES), "invite_request", data)


def test_the_cheapest_gateway_then_the_priority_then_the_order() -> None:
    rates = parse_rates(
        HEAD
        + "1,a,0.10,1\n1,b,0.09,9\n2,a,0.1,2\n2,b,0.10,1\n3,a,1,1\n3,b,1,1\n"
        + "*,z,5,\n4,z,10,1\n4,y,9.99,1\n"
    )
    assert [rates.gateway(number) for number in ("15", "25", "35", "45", "9", "")] == [
        "b",
        "b",
        "a",
        "y",
        "z",
        "z",
    ]


def test_what_the_file_may_hold() -> None:
    rates = parse_rates(
        '# said before\n\n Rate , PREFIX,gateway,note\n0.1,+44,[2001:db8::1]:5060,"a, b"\n'
        '#x,"\n  \n0.2,0049,gw;transport=tcp,\n'
    )
    assert rates.gateways == {"44": "[2001:db8::1]:5060", "49": "gw;transport=tcp"}


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "there are no rates"),
        (HEAD, "there are no rates"),
        ("prefix,gateway\n44,a\n", "line 1, column rate: is missing"),
        (HEAD + "44,a,1,1\n# no\nx4,a,1,1\n", "line 4, column prefix: 'x4' is no prefix"),
        (HEAD + "44,,1,1\n", "line 2, column gateway: is empty"),
        (HEAD + "44,a@b,1,1\n", "line 2, column gateway: 'a@b' is no gateway"),
        (HEAD + "44,a b,1,1\n", "line 2, column gateway"),
        (HEAD + "44,a\n", "line 2, column rate: is empty"),
        (HEAD + "44,a,cheap,1\n", "line 2, column rate: 'cheap' is no rate"),
        (HEAD + "44,a,-1,1\n", "line 2, column rate"),
        (HEAD + "44,a,nan,1\n", "line 2, column rate"),
        (HEAD + "44,a,1,first\n", "line 2, column priority: 'first' is no whole number"),
        (HEAD + '44,"a,1,1\n', "line 2: is no CSV"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_column(text: str, told: str) -> None:
    with pytest.raises(TableError, match=told):
        parse_rates(text)


digits = st.text("0123", min_size=1, max_size=5)
rows = st.lists(
    st.tuples(digits, st.sampled_from("abcd"), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=30
)


@given(rows, st.lists(st.text("0123", max_size=8), min_size=1, max_size=20))
def test_as_a_naive_search_would_find(table: list[tuple[str, str, int, int]], numbers: list[str]) -> None:
    rates = parse_rates(HEAD + "".join(f"{p},{g},{r},{o}\n" for p, g, r, o in table))
    for number in numbers:
        # Prefixes are normalised as numbers are: 00 in front of digits is the international prefix.
        known = [(p[2:] if p.startswith("00") and len(p) > 2 else p, g, r, o) for p, g, r, o in table]
        fitting = [row for row in known if number.startswith(row[0])]
        longest = max((len(row[0]) for row in fitting), default=0)
        of_longest = [row for row in fitting if len(row[0]) == longest]
        naive = min(of_longest, key=lambda row: (Decimal(row[2]), row[3])) if of_longest else None
        assert rates.gateway(number) == (naive and naive[1])


def test_a_missing_or_broken_file_is_told_before_the_service_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rates.csv"
    monkeypatch.setattr(least_cost, "service", make_service(path))
    with pytest.raises(LoadError, match=f"consumers.least_cost:service cannot begin: {path} cannot be read"):
        load("consumers.least_cost:service")
    path.write_text(HEAD + "x,a,1,1\n")
    with pytest.raises(LoadError, match="line 2, column prefix"):
        load("consumers.least_cost:service")
    path.write_text(HEAD + "1,a,1,1\n")
    assert load("consumers.least_cost:service").events == ("invite_request",)

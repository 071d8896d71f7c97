from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.phone import is_number, normal, user_of


@pytest.mark.parametrize(
    "address, user",
    [
        ("sip:441632960000@gw", "441632960000"),
        ("SIPS:+44@gw;transport=tls", "+44"),
        ("sip:44;phone-context=x:secret@gw", "44"),
        ('"<sip:vip@h>\\" " <sip:bob@h>', "bob"),
        ('"a', '"a'),
        ('"Bob" <sip:bob@h;a=b>;tag=1', "bob"),
        ("tel:+44-1632-960000;ext=1", "+44-1632-960000"),
        ("sip:gw.example.net", ""),
        ("sip:%2B44@gw", "+44"),
        ("+44 1632", "+44 1632"),
        ("alice@h", "alice"),
        ("", ""),
    ],
)
def test_the_user_of_an_address(address: str, user: str) -> None:
    assert user_of(address) == user


@pytest.mark.parametrize(
    "spelling", ["441632960000", "+441632960000", "00441632960000", "+44 (1632) 960-000"]
)
def test_spellings_of_one_number(spelling: str) -> None:
    assert normal(spelling) == "441632960000"


@pytest.mark.parametrize(
    "other, spelling",
    [("", ""), ("Anonymous", "anonymous"), ("+", "+"), ("+44x", "+44x"), ("٤٤", "٤٤"), ("*21#", "*21#")],
)
def test_what_is_no_number_keeps_its_spelling_in_lower_case(other: str, spelling: str) -> None:
    assert normal(other) == spelling
    assert not is_number(spelling)


def test_zeros_alone_are_a_number() -> None:
    assert normal("00") == "00"
    assert normal("+0044") == "0044"


@given(st.text(max_size=200))
def test_the_spelling_is_stable(text: str) -> None:
    once = normal(text)
    assert is_number(once) or normal(once) == once
    assert len(once) <= 3 * 128  # folding case lengthens some letters

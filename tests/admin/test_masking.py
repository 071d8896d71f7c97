"""Secrets in payloads are not shown, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.admin.masking import MASK, MAX_DEPTH, is_secret, masked, masked_text


@pytest.mark.parametrize(
    "key",
    [
        *("password", "Password", "user_password", "passwd", "pass", "pwd", "passphrase", "pin"),
        *("secret", "client-secret", "clientSecret", "token", "accessToken", "x-auth-token", "tokens"),
        *("authorization", "Proxy-Authorization", "authorisation", "api_key", "apiKey", "X-API-Key"),
        *("private key", "credentials", "cookie", "ha1"),
    ],
)
def test_what_goes_by_such_a_name_is_masked(key: str) -> None:
    assert is_secret(key)
    for value in ("hunter2", 1234, b"hunter2", ["hunter2"], {"a": "hunter2"}, 0, 1.5):
        assert masked({key: value}) == {key: MASK}


@pytest.mark.parametrize(
    "key", ["user", "ruri", "passenger", "pinned", "author", "bypass", "call_id", "key", "apis", "", 7, None]
)
def test_what_does_not_is_not(key: Any) -> None:
    assert not is_secret(key)
    assert masked({key: "value"}) == {key: "value"}


@pytest.mark.parametrize("nothing", [None, "", True, False])
def test_that_there_is_none_is_no_secret(nothing: Any) -> None:
    assert masked({"password": nothing}) == {"password": nothing}


def test_at_any_depth_and_the_value_itself_is_left_as_it_is() -> None:
    given_ = {"a": [{"b": ({"password": "x"}, 1)}], "c": {"token": "y", "d": 2}}
    assert masked(given_) == {"a": [{"b": [{"password": MASK}, 1]}], "c": {"token": MASK, "d": 2}}
    assert given_["c"] == {"token": "y", "d": 2}


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "sip:a@b", [], {}, {"a": [1, None]}])
def test_everything_else_stays(value: Any) -> None:
    assert masked(value) == value


def test_what_is_too_deep_to_be_looked_at_is_masked_as_a_whole() -> None:
    value: Any = {"password": "hunter2"}
    for number in range(MAX_DEPTH + 50):
        value = {"a": value} if number % 2 else [value]
    assert "hunter2" not in repr(masked(value))


def test_bytes_become_text_and_are_looked_through() -> None:
    assert masked({"data": b'\xff{"password": "x"}'}) == {"data": f'\\xff{{"password": {MASK}}}'}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'INVITE sip:b@h SIP/2.0\r\nAuthorization: Digest username="a", response="6"\r\nFrom: <sip:a@h>',
            f"INVITE sip:b@h SIP/2.0\r\nAuthorization: {MASK}\r\nFrom: <sip:a@h>",
        ),
        ("proxy-authorization: Digest nonce='x', response=y", f"proxy-authorization: {MASK}"),
        ("password=hunter2&user=a", f"password={MASK}&user=a"),
        ('{"user_password": "a b", "x": 1}', f'{{"user_password": {MASK}, "x": 1}}'),
        ("api_key : k1, token='t 1'; a=b", f"api_key : {MASK}, token={MASK}; a=b"),
        ("amqp://user:hunter2@rabbit/", f"amqp://user:{MASK}@rabbit/"),
        ("redis://:hunter2@redis", f"redis://:{MASK}@redis"),
        ("sip:alice:hunter2@example.net;transport=tcp", f"sip:alice:{MASK}@example.net;transport=tcp"),
    ],
)
def test_within_a_text(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked([text]) == [shown]


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@example.net:5060",
        "sip:+441632960000@10.0.0.7;user=phone",
        "<sip:a@h:5060>;tag=1:2@",
        "sip:+49@h:5060;x=sip:u@h",
        "a password is asked for",
        "12:34:56.789 a@b",
    ],
)
def test_a_text_without_one_stays(text: str) -> None:
    assert masked_text(text) == text


@pytest.mark.parametrize("part", ["a-", "a:", "a:a", "token ", 'authorization: "', "password", "sip:a;", "="])
def test_a_long_text_is_looked_through_in_a_moment(part: str) -> None:
    masked_text(part * (1_000_000 // len(part)))  # with steps in the square of it, minutes: the time-out


@given(st.text(min_size=4, alphabet="xyz").filter(lambda word: len(word) < 50), st.text(max_size=5))
def test_no_secret_is_in_what_is_shown(secret: str, around: str) -> None:
    word = f"S{secret}S"
    assert word not in repr(masked({"password": word, "b": [{"apiKey": [around, word]}]}))
    assert word not in masked_text(f'{{"secret":"{word}"}}')

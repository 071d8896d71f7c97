from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.watched import TableError
from consumers.webhook import settings
from consumers.webhook.settings import Hook, Reason, Source, parse
from tests.harness.readme import CONSUMERS, block

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LEAST = 'events = ["e"]\nurls = ["https://f.example.net/hidden?code=hidden"]\n'


def test_the_least() -> None:
    found = parse(LEAST)
    assert (found.name, found.events) == ("webhook", ("e",))
    assert found.urls[0].text == "https://f.example.net/hidden?code=hidden"
    assert found.urls[0].shown == "urls[0] (f.example.net)"
    assert found.retry == {Reason.CONNECT, Reason.BUSY}
    assert "hidden" not in repr(found)


def test_all_that_the_readme_shows() -> None:
    text = block("toml", "events =", CONSUMERS)
    found = parse(text)
    assert set(settings._KEYS) == {line.split(" = ")[0] for line in text.splitlines() if " = " in line}
    plain = Hook(found.name, found.events, found.urls)
    shown = (found.secrets, found.ca_file, found.allow_networks, found.headers)
    assert shown == (
        (Source(file="/run/secrets/webhook"),),
        "/etc/ssl/own-ca.pem",
        (ipaddress.ip_network("10.0.0.0/8"),),
        {"authorization": Source(file="/run/secrets/token")},
    )
    for name in set(Hook.__dataclass_fields__) - {"secrets", "ca_file", "allow_networks", "headers"}:
        assert getattr(found, name) == getattr(plain, name), f"{name}: the default is another one"


def test_what_is_secret_is_not_shown() -> None:
    found = parse(f'{LEAST}secrets = ["{SECRET}"]\nheaders = {{ authorization = "Bearer hush" }}\n')
    assert found.secrets == (Source(SECRET),)
    assert found.headers["authorization"].text == "Bearer hush"
    assert SECRET not in repr(found)
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    "line, told",
    [
        ("name = ", "is no TOML"),
        ("timeuot = 1", r"timeuot: there is no such key; there are name, events, urls, timeout"),
        ('name = "a b"', r"name: 'a b' is no service's name"),
        ("name = 1", r"name: 1 is no service's name"),
        ("timeout = 0", "timeout: 0 is not within 0.001 to 120 seconds"),
        ("timeout = nan", "timeout: nan is not within"),
        ("connect_timeout = true", "connect_timeout: True is not within"),
        ("keep_alive = '5'", "keep_alive: '5' is not within"),
        ("attempts = 0", "attempts: 0 is no whole number from 1 to 20"),
        ("attempts = 1.0", "attempts: 1.0 is no whole number"),
        ("requests = 65536", "requests: 65536 is no whole number from 1 to 65535"),
        ("max_request = true", "max_request: True is no whole number"),
        ("max_response = 2000000", "max_response: 2000000 is no whole number"),
        ("retry = 'connect'", r'retry: is no list; write for example retry = \["connect", "busy"\]'),
        ("retry = ['connect', '4xx']", r"retry\[1\]: '4xx' is none of connect, busy, read, 5xx"),
        ("retry = [5]", r"retry\[0\]: 5 is none of"),
        ("breaker = 5", "breaker: is no table; write for example breaker = { after = 5"),
        ("breaker = { afer = 5 }", r"breaker.afer: there is no such key; there are after, pause"),
        ("breaker = { after = -1 }", "breaker.after: -1 is no whole number from 0"),
        ("breaker = { pause = 0 }", "breaker.pause: 0 is not within"),
        ("secrets = 'x'", "secrets: is no list"),
        ("secrets = [1]", r"secrets\[0\]: is neither a text nor { file = "),
        ("secrets = [{ file = '' }]", r"secrets\[0\]: is neither"),
        ("secrets = [{ fiel = 'x' }]", r"secrets\[0\]: is neither"),
        ("secrets = ['hunter2']", r"secrets\[0\]: does not begin with whsec_; make one by: echo"),
        ("ca_file = 1", "ca_file: is no path"),
        ("allow_networks = ['10.0.0.1/8']", r"allow_networks\[0\]: is no network .* has host bits set"),
        ("allow_networks = ['lan']", r"allow_networks\[0\]: is no network"),
        ("allow_networks = [10]", r"allow_networks\[0\]: is no network"),
        ("headers = []", "headers: is no table"),
        ("headers = { 'a b' = 'x' }", "headers.a b: is no header's name"),
        ("headers = { Host = 'x' }", "headers.Host: is set by the service itself"),
        ("headers = { webhook-id = 'x' }", "headers.webhook-id: is set by the service itself"),
        ("headers = { a = 1 }", "headers.a: is neither a text nor"),
        ('headers = { a = "x\\r\\ny: z" }', "headers.a: is no header's value"),
    ],
)
def test_what_is_wrong_is_told_by_key(line: str, told: str) -> None:
    with pytest.raises(TableError, match=told) as caught:
        parse(f"{LEAST}{line}\n")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text, told",
    [
        ('urls = ["https://x/"]', r'events: is missing; write for example events = \["invite_request"\]'),
        ('events = []\nurls = ["https://x/"]', "events: is missing"),
        ('events = ["e"]', r'urls: is missing; write for example urls = \["https://'),
        ('events = ["e", "e"]\nurls = ["https://x/"]', r"events\[1\]: 'e' is named twice"),
        ('events = [""]\nurls = ["https://x/"]', r"events\[0\]: '' is no event's name"),
    ],
)
def test_what_is_missing_is_told(text: str, told: str) -> None:
    with pytest.raises(TableError, match=told):
        parse(text)


@pytest.mark.parametrize(
    "url, told",
    [
        ("ftp://x/hunter2", "is no https:// URL"),
        ("decide.example.net/hunter2", "is no https:// URL"),
        ("https://", "is no https:// URL"),
        ("https://x/\u00e9hunter2", "is no https:// URL of printable ASCII"),
        ("https://x/hunter2 y", "is no https:// URL"),
        ("https://x:99999/hunter2", "is no URL"),
        ("https://[::1/hunter2", "is no URL"),
        ("https://me:hunter2@x/", "holds a user or password; write headers"),
        ("https://x/#hunter2", "has a fragment"),
        ("http://x/hunter2", r"http:// sends calls unencrypted; write https://, or name .* allow_networks"),
        ("http://127.0.0.1/hunter2", r"127\.0\.0\.1 is not in allow_networks, and http:// is unencrypted"),
        ("https://169.254.169.254/hunter2", r"is no address of the internet"),
        ("https://[::1]/hunter2", r"::1 is no address of the internet"),
    ],
)
def test_a_wrong_url_is_told_and_not_shown(url: str, told: str) -> None:
    with pytest.raises(TableError, match=rf"urls\[1\]: .*{told}") as caught:
        parse(f'events = ["e"]\nurls = ["https://x/", "{url}"]')
    assert "hunter2" not in str(caught.value)


def test_a_private_network_that_is_named() -> None:
    found = parse('events = ["e"]\nurls = ["http://10.1.2.3/", "http://f"]\nallow_networks = ["10.0.0.0/8"]')
    assert [url.encrypted for url in found.urls] == [False, False]


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["https://x/", "10.0.0.0/8", SECRET]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.just("file"), inner),
    max_leaves=4,
)


@given(st.sampled_from(sorted(settings._KEYS)), VALUES)
def test_any_value_is_taken_or_told_by_its_key(key: str, value: object) -> None:
    assert _trouble(key, value).startswith(key)


def _trouble(key: str, value: object) -> str:
    try:
        settings._KEYS[key](value, key)
    except TableError as exc:
        return str(exc)
    return key

"""The settings of a webhook: a TOML file, whose keys ``consumers/README.md`` tells ("HTTP"). Pure."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from adapter.contract import MAX_BODY, MAX_NAME, MAX_REPLY, word
from adapter.watched import TableError
from consumers.webhook.addresses import Network, why_refused
from consumers.webhook.signing import parse_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_REQUEST: Final = 8 * MAX_BODY
"""Bytes: JSON may be six times as long as the msgpack that came (a control character is ``\\u0001``)."""
_LONGEST: Final = 120.0
"""Seconds: no deadline is longer."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE = re.compile(r"[!-~]+")
_VALUE = re.compile(r"[\t -~]*")
_OURS: Final = re.compile(
    r"(host|connection|content-.*|transfer-encoding|accept-encoding|webhook-.*|x-(node|event|service|deadline|"
    r"time-left|correlation-id)|traceparent)",
    re.IGNORECASE,
)
"""Headers that the service itself sets."""


class Reason(StrEnum):
    """Why an attempt brought nothing, as ``retry`` names it."""

    CONNECT = "connect"
    """The request was not sent, or on a kept connection that the server was about to close."""
    BUSY = "busy"
    """429 or 503: the server says that it did not take it."""
    READ = "read"
    """It was sent, and no whole answer came: the function may have run."""
    SERVER = "5xx"
    """Any other 5xx: the function may have run."""


@dataclass(frozen=True, slots=True)
class Source:
    """A value of the file, or the file that holds it. What it says is never shown."""

    text: str = field(default="", repr=False)
    file: str = ""


@dataclass(frozen=True, slots=True)
class Url:
    """Where to POST to. Path and query may hold a key, so only ``shown`` is for logs."""

    text: str = field(repr=False)
    shown: str
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Hook:
    """All settings of one file. Times in seconds, sizes in bytes."""

    name: str
    events: tuple[str, ...]
    urls: tuple[Url, ...]
    timeout: float = 5.0
    connect_timeout: float = 1.0
    attempts: int = 3
    retry: frozenset[Reason] = frozenset({Reason.CONNECT, Reason.BUSY})
    breaker_after: int = 5
    breaker_pause: float = 5.0
    requests: int = 100
    keep_alive: float = 15.0
    max_request: int = 4 * MAX_BODY
    max_response: int = MAX_REPLY
    secrets: tuple[Source, ...] = ()
    ca_file: str = ""
    allow_networks: tuple[Network, ...] = ()
    headers: Mapping[str, Source] = field(default_factory=dict)


def parse(text: str) -> Hook:
    """Read the settings.

    Raises:
        TableError: The text is no TOML, or a key is unknown or wrong. It names the key and what to write.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise TableError(f"is no TOML: {exc}") from exc
    _only(raw, "", *_KEYS)
    made = {key: read(raw[key], key) for key, read in _KEYS.items() if key in raw}
    for key, example in (("events", '["invite_request"]'), ("urls", '["https://decide.example.net/evapi"]')):
        if not made.get(key):
            raise TableError(f"{key}: is missing; write for example {key} = {example}")
    after_and_pause = made.pop("breaker", {})
    hook = Hook(**{"name": "webhook", **made, **after_and_pause})
    for at, url in enumerate(hook.urls):
        _may_be_asked(url, hook.allow_networks, f"urls[{at}]")
    return hook


def _may_be_asked(url: Url, networks: tuple[Network, ...], key: str) -> None:
    """Tell at the start what every connection would be refused for."""
    host = urlsplit(url.text).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not url.encrypted and not networks:
            raise TableError(
                f"{key}: http:// sends calls unencrypted; write https://, or name the private network that "
                f'the host is in: allow_networks = ["10.0.0.0/8"]'
            ) from None
        return
    refused = why_refused(host, networks, encrypted=url.encrypted)
    if refused:
        raise TableError(f"{key}: {refused}")


def _wrong(key: str, problem: str) -> TableError:
    return TableError(f"{key}: {problem}")


def _only(raw: Mapping[str, Any], where: str, *known: str) -> None:
    for key in raw:
        if key not in known:
            raise _wrong(f"{where}{key}", f"there is no such key; there are {', '.join(known)}")


def _name(raw: Any, key: str) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= 100 or word(raw) != raw:
        raise _wrong(key, f"{raw!r} is no service's name: 1 to 100 letters, digits, _ and -")
    return raw


def _list(raw: Any, key: str, example: str) -> list[Any]:
    if not isinstance(raw, list):
        raise _wrong(key, f"is no list; write for example {key} = {example}")
    return raw


def _events(raw: Any, key: str) -> tuple[str, ...]:
    found = _list(raw, key, '["invite_request"]')
    for at, each in enumerate(found):
        if not isinstance(each, str) or not 0 < len(each) <= MAX_NAME:
            raise _wrong(f"{key}[{at}]", f"{each!r} is no event's name: 1 to {MAX_NAME} characters")
        if each in found[:at]:
            raise _wrong(f"{key}[{at}]", f"{each!r} is named twice; take one away")
    return tuple(found)


def _urls(raw: Any, key: str) -> tuple[Url, ...]:
    found = _list(raw, key, '["https://decide.example.net/evapi"]')
    return tuple(_url(each, f"{key}[{at}]") for at, each in enumerate(found))


def _url(raw: Any, key: str) -> Url:
    example = "write for example https://decide.example.net/evapi"
    if not isinstance(raw, str):
        raise _wrong(key, f"is no text; {example}")
    try:
        parts = urlsplit(raw)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _wrong(key, f"is no URL ({exc}); {example}") from exc
    if parts.scheme not in ("https", "http") or not host or not _PRINTABLE.fullmatch(raw):
        raise _wrong(key, f"is no https:// URL of printable ASCII without spaces; {example}")
    if parts.username is not None or parts.password is not None:
        raise _wrong(key, "holds a user or password; write headers = { authorization = { file = ... } }")
    if parts.fragment:
        raise _wrong(key, "has a fragment (#...), which is never sent; take it away")
    shown = f"{key} ({host}{f':{port}' if port is not None else ''})"
    return Url(raw, shown, parts.scheme == "https")


def _seconds(raw: Any, key: str) -> float:
    if type(raw) not in (int, float) or not 0.001 <= raw <= _LONGEST:
        raise _wrong(key, f"{raw!r} is not within 0.001 to {_LONGEST:.0f} seconds")
    return float(raw)


def _whole(least: int, most: int) -> Callable[[Any, str], int]:
    def read(raw: Any, key: str) -> int:
        if type(raw) is not int or not least <= raw <= most:
            raise _wrong(key, f"{raw!r} is no whole number from {least} to {most}")
        return raw

    return read


def _retry(raw: Any, key: str) -> frozenset[Reason]:
    known = ", ".join(Reason)
    found = _list(raw, key, '["connect", "busy"]')
    for at, each in enumerate(found):
        if each not in list(Reason):
            raise _wrong(f"{key}[{at}]", f"{each!r} is none of {known}")
    return frozenset(Reason(each) for each in found)


def _breaker(raw: Any, key: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _wrong(key, f"is no table; write for example {key} = {{ after = 5, pause = 5.0 }}")
    _only(raw, f"{key}.", "after", "pause")
    made: dict[str, Any] = {}
    if "after" in raw:
        made["breaker_after"] = _whole(0, 1_000_000)(raw["after"], f"{key}.after")
    if "pause" in raw:
        made["breaker_pause"] = _seconds(raw["pause"], f"{key}.pause")
    return made


def _source(raw: Any, key: str) -> Source:
    if isinstance(raw, str):
        return Source(text=raw)
    if isinstance(raw, dict) and list(raw) == ["file"] and isinstance(raw["file"], str) and raw["file"]:
        return Source(file=raw["file"])
    raise _wrong(key, 'is neither a text nor { file = "/path/to/it" }')


def _secrets(raw: Any, key: str) -> tuple[Source, ...]:
    found = _list(raw, key, '[{ file = "/run/secrets/webhook" }]')
    made = tuple(_source(each, f"{key}[{at}]") for at, each in enumerate(found))
    for at, each in enumerate(made):
        if not each.file:
            check_secret(each.text, f"{key}[{at}]")
    return made


def check_secret(text: str, key: str) -> bytes:
    """The bytes of a secret. Raises TableError, which names the key and not the secret."""
    try:
        return parse_secret(text)
    except ValueError as exc:
        raise _wrong(key, str(exc)) from None


def _ca_file(raw: Any, key: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise _wrong(key, 'is no path; write for example ca_file = "/etc/ssl/own-ca.pem"')
    return raw


def _networks(raw: Any, key: str) -> tuple[Network, ...]:
    made = []
    for at, each in enumerate(_list(raw, key, '["10.0.0.0/8"]')):
        try:
            made.append(ipaddress.ip_network(each if isinstance(each, str) else repr(each)))
        except ValueError as exc:
            problem = f"is no network such as 10.0.0.0/8, 127.0.0.1 or fd00::/8: {exc}"
            raise _wrong(f"{key}[{at}]", problem) from exc
    return tuple(made)


def _headers(raw: Any, key: str) -> dict[str, Source]:
    if not isinstance(raw, dict):
        raise _wrong(
            key, f'is no table; write for example {key} = {{ authorization = {{ file = "token" }} }}'
        )
    made = {}
    for name, value in raw.items():
        where = f"{key}.{name}"
        if not _HEADER.fullmatch(name):
            raise _wrong(where, "is no header's name: letters, digits and -")
        if _OURS.fullmatch(name):
            raise _wrong(where, "is set by the service itself; take it away")
        made[name] = _source(value, where)
        if not made[name].file:
            check_value(made[name].text, where)
    return made


def check_value(text: str, key: str) -> str:
    """The value of a header. Raises TableError, which names the key and not the value."""
    if not _VALUE.fullmatch(text):
        raise _wrong(key, "is no header's value: one line of printable ASCII")
    return text


_KEYS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "name": _name,
    "events": _events,
    "urls": _urls,
    "timeout": _seconds,
    "connect_timeout": _seconds,
    "attempts": _whole(1, 20),
    "retry": _retry,
    "breaker": _breaker,
    "requests": _whole(1, 65_535),
    "keep_alive": _seconds,
    "max_request": _whole(1, MOST_REQUEST),
    "max_response": _whole(1, MAX_BODY),
    "secrets": _secrets,
    "ca_file": _ca_file,
    "allow_networks": _networks,
    "headers": _headers,
}

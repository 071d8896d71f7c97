"""The servers of a list of URLs, looked at before anybody connects."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from yarl import URL

from adapter.amqp.urls import ADVICE, split_urls, stray_comma
from adapter.errors import SettingsError

_VARIABLE: Final = "EVAPI_AMQP_URL"
FORM: Final = "amqp://user:password@host:port/vhost"


def parse_urls(urls: str) -> list[URL]:
    """The servers to try in turn, of a list separated by commas. Raises SettingsError."""
    found = []
    for number, text in enumerate(split_urls(urls), 1):
        url = None if stray_comma(text) else _parsed(text)
        if url is None:
            # The text is not quoted: it may hold the password.
            raise SettingsError(_VARIABLE, f"URL {number} is no {FORM}; {ADVICE}")
        _check_options(url)
        found.append(url)
    return found


def _parsed(text: str) -> URL | None:
    try:
        url = URL(text)
    except ValueError:
        return None
    good = url.scheme in ("amqp", "amqps") and url.host and url.port != 0
    return url if good else None


def _check_options(url: URL) -> None:
    """The library takes any ``no_verify_ssl`` but 0 for a yes, and a missing file for a server's fault."""
    if url.query.get("no_verify_ssl", "0") not in ("0", "1"):
        raise SettingsError(_VARIABLE, "no_verify_ssl is 1, to trust any certificate, or 0")
    for option in ("cafile", "certfile", "keyfile"):
        path = url.query.get(option)
        if path is not None and not Path(path).is_file():
            raise SettingsError(_VARIABLE, f"{option}: there is no file {path}")


def shown(url: URL) -> str:
    """A URL for people: without password and options."""
    try:
        return str(url.with_password(None).with_query(None))
    except ValueError:
        return f"{url.scheme}:..."  # a URL without host cannot have its password taken out

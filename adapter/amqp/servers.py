"""The servers of a list of URLs, looked at before anybody connects."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from yarl import URL

from adapter.amqp.urls import ADVICE, split_urls, stray_comma
from adapter.errors import SettingsError

_VARIABLE: Final = "EVAPI_AMQP_URL"


def parse_urls(urls: str) -> list[URL]:
    """The servers to try in turn, of a list separated by commas. Raises SettingsError."""
    found = []
    for number, text in enumerate(split_urls(urls), 1):
        if stray_comma(text):
            raise SettingsError(_VARIABLE, f"number {number} of the URLs: {ADVICE}")
        try:
            url = URL(text)
        except ValueError:
            # Neither the text nor the cause is quoted: they may hold the password.
            raise SettingsError(_VARIABLE, f"number {number} of the URLs is none") from None
        if url.scheme not in ("amqp", "amqps") or not url.host:
            raise SettingsError(_VARIABLE, f"{shown(url)} is no amqp://HOST or amqps://HOST")
        _check_options(url)
        found.append(url)
    return found


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

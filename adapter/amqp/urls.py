"""A list of RabbitMQ's servers: URLs separated by commas. Pure."""

from __future__ import annotations

import re
from typing import Final

_BETWEEN: Final = re.compile(r"\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def split_urls(text: str) -> list[str]:
    """The URLs of a list, without white space around them.

    A comma parts two of them where a scheme follows it. Any other belongs to its URL: passwords may
    have one.
    """
    return [url.strip() for url in _BETWEEN.split(text.strip())]


def stray_comma(url: str) -> bool:
    """Whether a comma stands where no URL has one: behind user and password, and before the options."""
    _, _, rest = url.partition("://")
    return "," in rest.rpartition("@")[2].partition("?")[0]


ADVICE: Final = (
    "a comma stands between whole URLs (amqp://HOST1,amqp://HOST2); in a user's name or password it is %2C"
)

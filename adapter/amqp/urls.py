"""A list of RabbitMQ's servers: URLs separated by commas. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def messaging(url: str) -> dict[str, str | int]:
    """What a span says of the server that a message went through.

    Attributes by OpenTelemetry's conventions for messaging (semantic conventions 1.45): ``messaging.system``
    is required, ``server.address`` where it is known. Nothing of user, password or virtual host is in it.
    """
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    said: dict[str, str | int] = {"messaging.system": "rabbitmq"}
    return {**said, "server.address": parts.hostname, "server.port": port} if parts.hostname else said


EMBEDDED: Final[Mapping[str, str | int]] = {"messaging.system": "embedded"}
"""What a span says where no server is between: the embedded broker."""
ADVICE: Final = (
    "a comma stands between whole URLs (amqp://HOST1,amqp://HOST2); in a user's name or password it is %2C"
)

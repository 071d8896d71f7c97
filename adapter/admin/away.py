"""A server that is away, in an operator's words: which one, where, what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapter.errors import StoreUnavailable
from adapter.settings import without_password

if TYPE_CHECKING:
    from adapter.settings import Settings


def redis_away(settings: Settings, exc: StoreUnavailable) -> StoreUnavailable:
    """The same with where it is, and in an operator's words."""
    url, why = settings.redis_url, str(exc)
    where = "" if url is None else f" at {without_password(url.get_secret_value())}"
    why = next((words for pattern, words in _SAYINGS if pattern.search(why)), why)
    return StoreUnavailable(f"Redis{where}: {why}")


_SAYINGS: Final = (
    (
        re.compile("Connect call failed|Connection refused"),
        "connection refused: nothing listens there; is Redis running, and EVAPI_REDIS_URL right?",
    ),
    (
        re.compile("Name or service not known|No address associated"),
        "there is no such host; check the name in EVAPI_REDIS_URL",
    ),
    (re.compile("Temporary failure in name resolution"), "the name cannot be resolved: does DNS work?"),
    (
        re.compile("NOAUTH|WRONGPASS|AuthenticationError|invalid password|invalid username"),
        "the login was refused: check user and password in EVAPI_REDIS_URL",
    ),
    (
        re.compile("no answer within"),
        "no answer: does it hang, does a firewall drop the packets, or is it no Redis?",
    ),
)

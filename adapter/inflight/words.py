"""A Redis that is away, in words: which one, where, what to do. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from adapter.settings import without_password

if TYPE_CHECKING:
    from adapter.settings import Settings


def redis_away(settings: Settings, problem: str) -> str:
    """Return the problem with where Redis is, in an operator's words, and without a password."""
    where = (
        "" if settings.redis_url is None else f" at {without_password(settings.redis_url.get_secret_value())}"
    )
    return f"Redis{where}: {in_words(problem)}"


def in_words(problem: str) -> str:
    """Return what a StoreUnavailable says, as an operator would say it; as it is if it is not known."""
    return next((words for pattern, words in _SAYINGS if pattern.search(problem)), problem)


def logged(problem: str, seen: bool, records: int) -> dict[str, Any]:
    """Return the log's entry of an outage: one that was never there is a mistake in the settings, mostly.

    Args:
        problem: what a StoreUnavailable says.
        seen: whether Redis has answered since the start.
        records: how many records this replica goes on with.
    """
    if seen:
        return {"event": "in-flight store: away", "error": problem, "records": records}
    do = "correct EVAPI_REDIS_URL, or start Redis; what follows meanwhile is in /readyz"
    return {"event": "in-flight store: never there", "error": in_words(problem), "do": do}


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
        re.compile("NoPermission|NOPERM"),
        "the user may not do what an adapter must (NoPermission): `evapi-adapter doctor` names the rights",
    ),
    (
        re.compile("no answer within"),
        "no answer: does it hang, does a firewall drop the packets, or is it no Redis?",
    ),
)

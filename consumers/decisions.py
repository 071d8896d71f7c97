"""What a consumer answers: plain maps, checked before they leave.

A decision may be any map with string keys; these are the ones that the configuration shipped
with the adapter knows. What is wrong with one is told where it is made, not by Kamailio.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.contract import Decision

MAX_URI: Final = 1024
"""Bytes of a URI: Kamailio's own limit."""
MAX_REASON: Final = 128
"""Characters of a reason phrase."""
MAX_CACHE: Final = 365 * 86_400
"""Seconds for which a decision holds, at most."""

# Brackets, quotes and white space would end the URI in a header and begin something else.
URI: Final = "(?:[sS][iI][pP][sS]?|[tT][eE][lL]):[!#-;=?-~]+"
"""A URI, as a regular expression that Python and ECMAScript read alike."""
REJECT_CODES: Final = (400, 699)
REDIRECT_CODES: Final = (300, 399)
"""The SIP status of an action: the lowest and the highest."""

HEADER: Final = "[A-Za-z][A-Za-z0-9-]*"
"""The name of a header that a decision may set."""
MAX_HEADERS: Final = 4000
"""Bytes of all headers of a route or reply, as JSON."""
NOT_SET: Final = frozenset(
    {"via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "contact", "m", "route", "record-route"}
    | {"max-forwards", "content-length", "l", "content-type", "c", "content-encoding", "e"}
)
"""Headers that are Kamailio's to set, in lower case."""

_URI = re.compile(URI)
_HEADER = re.compile(HEADER)


class DecisionError(ValueError):
    """A decision that cannot be carried out; the text says what is wrong with it."""


class Failed(Exception):
    """Raised by a handler: the call is ``failed``, for a reason that the text tells.

    It is logged in a line, without a traceback, and goes with the reply (``x-detail``), so it must hold
    nothing of other people's calls.
    """

    about: ClassVar[str] = ""
    """What the text begins with in the log."""


class NoAnswer(Enum):
    """The type of ``NO_ANSWER``."""

    NO_ANSWER = "no answer"


NO_ANSWER: Final = NoAnswer.NO_ANSWER
"""Returned by a handler that has no say in a call. If the policy names the service, nobody else got the
request: so that is told at once, and the call goes on without it. Else no reply is sent: another service that
is bound to the event decides the call, or nobody until its deadline."""


def route(uri: str, **more: Any) -> dict[str, Any]:
    """Send the call to ``uri``. Raises DecisionError where that is no SIP URI.

    ``more`` is passed on beside it, for a configuration that reads it.
    """
    return {"action": "route", "uri": checked_uri(uri), **more}


def reject(
    code: int, reason: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Refuse the call with a SIP status from 400 to 699, and ``headers`` in the reply.

    Raises DecisionError for anything else.
    """
    made = {"action": "reject", "code": _code(code, *REJECT_CODES), "reason": _reason(reason)}
    if headers is not None:
        made["headers"] = checked_headers(headers)
    return {**made, **more}


def redirect(uris: str | Sequence[str], code: int = 302, **more: Any) -> dict[str, Any]:
    """Send the caller elsewhere, with a SIP status from 300 to 399; the first URI is preferred.

    Raises DecisionError where there is no URI, or one that is no SIP URI.
    """
    found = [uris] if isinstance(uris, str) else list(uris)
    if not found:
        raise DecisionError("redirect: at least one URI is needed")
    checked = [checked_uri(uri) for uri in found]
    return {"action": "redirect", "uris": checked, "code": _code(code, *REDIRECT_CODES), **more}


def allow(**more: Any) -> dict[str, Any]:
    """Let the call go on as it was."""
    return {"action": "allow", **more}


class Cached(dict[str, Any]):
    """A decision that holds for ``seconds`` for calls that are alike: see ``cached``."""

    seconds = 0


def cached(decision: Decision, *, seconds: int) -> dict[str, Any]:
    """Let a decision hold for calls that are alike, where the policy says by which keys they are (``cache``).

    Args:
        decision: any; it is sent as it is.
        seconds: for how long, in whole seconds.

    Raises:
        DecisionError: these are not from 1 to ``MAX_CACHE``.
    """
    if type(seconds) is not int or not 0 < seconds <= MAX_CACHE:
        raise DecisionError(f"cached: {seconds!r} is no number of seconds from 1 to {MAX_CACHE}")
    made = Cached(decision)
    made.seconds = seconds
    return made


def checked_uri(uri: object) -> str:
    """The URI. Raises DecisionError where that is none."""
    if not isinstance(uri, str) or len(uri) > MAX_URI or not _URI.fullmatch(uri):
        raise DecisionError(
            f"{shown(uri)} is no SIP URI such as sip:441632960000@gw1.example.net "
            f"(printable ASCII without spaces, brackets or quotes, at most {MAX_URI} bytes)"
        )
    return uri


def checked_headers(headers: object) -> dict[str, str]:
    """Headers by their names. Raises DecisionError for what Kamailio does not set, and for wrong texts."""
    if not isinstance(headers, Mapping):
        raise DecisionError(f"headers are {shown(headers)}: a map of names to texts is needed")
    for name, text in headers.items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name) or name.lower() in NOT_SET:
            raise DecisionError(f"{shown(name)} is no header that a decision may set")
        if not isinstance(text, str) or not text.isprintable():
            raise DecisionError(f"header {name}: {shown(text)} is no printable line")
    found = dict(headers)
    if len(json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_HEADERS:
        raise DecisionError(f"headers: more than {MAX_HEADERS} bytes")
    return found


def _code(code: object, low: int, high: int) -> int:
    if type(code) is not int or not low <= code <= high:
        raise DecisionError(f"{code!r} is no SIP status from {low} to {high}")
    return code


def _reason(reason: object) -> str:
    if not isinstance(reason, str) or not reason.isprintable() or len(reason) > MAX_REASON:
        raise DecisionError(
            f"{shown(reason)} is no reason phrase: one printable line of at most {MAX_REASON} characters"
        )
    return reason


def shown(value: object) -> str:
    """What somebody gave, for an error: cut short."""
    return repr(str(value)[:100])


def described(found: object) -> str:
    """What somebody gave for a decision, for people."""
    if inspect.iscoroutine(found):
        found.close()
        return "a coroutine (is an await missing?)"
    return type(found).__name__

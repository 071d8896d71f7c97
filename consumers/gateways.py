"""Several gateways in one decision, in turn or at once: ``routes``. Checked before it leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal, Required, TypedDict

from consumers.decisions import URI, DecisionError, checked_headers, checked_uri, shown

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ROUTES: Final = 10
"""Routes of one decision: those behind them are not tried."""
MAX_TIMEOUT: Final = 9_999_999
"""Milliseconds of ``timeout_ms``, at most."""
MAX_DURATION: Final = 99_999_999
"""Seconds of ``max_duration``, at most."""
MAX_REROUTE: Final = 50
"""Entries of ``reroute_on``, at most."""
MAX_CALLER: Final = 255
"""Bytes of a caller: rr keeps twice as many for all that goes into Record-Route."""
SIP_URI: Final = URI.replace("|[tT][eE][lL]", "")
"""A URI that a call can be sent to: tel has no host."""
CALLER: Final = f"[+0-9A-Za-z_.-]+|{SIP_URI}"
"""A caller: a number, or a URI."""
REROUTE: Final = "[3456](?:[0-9]{2}|xx)"
"""An entry of ``reroute_on`` as text: a code, or a class of codes."""
MODES: Final = ("serial", "parallel")

_SIP_URI: Final = re.compile(SIP_URI)
_CALLER: Final = re.compile(CALLER)
_REROUTE: Final = re.compile(REROUTE)


class Route(TypedDict, total=False):
    """One gateway.

    ``uri``: a SIP URI; with a user it is the new request URI, without one the next hop. ``timeout_ms``:
    milliseconds that it has for a final reply, ringing included. ``reroute_on``: the replies after which the
    next route is tried, as codes (503) or classes ("5xx"); by default 408 and 5xx. ``headers``: in place of
    the caller's of these names. ``caller``: a number or a URI for From.
    """

    uri: Required[str]
    timeout_ms: int
    reroute_on: Sequence[int | str]
    headers: Mapping[str, str]
    caller: str


def routes(
    listed: Sequence[str | Route],
    *,
    mode: Literal["serial", "parallel"] = "serial",
    max_duration: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Try gateways until one takes the call.

    Args:
        listed: from 1 to ``MAX_ROUTES`` of them, the preferred one first; a URI alone is a `Route` of that.
        mode: ``serial``, one after the other, or ``parallel``, all at once.
        max_duration: seconds after which Kamailio ends the call that was answered.
        more: is passed on beside it, for a configuration that reads it.

    Raises:
        DecisionError: one of these is wrong; the text names it.
    """
    if isinstance(listed, str) or not 1 <= len(listed) <= MAX_ROUTES:
        raise DecisionError(f"routes: a list of 1 to {MAX_ROUTES} routes is needed")
    if mode not in MODES:
        raise DecisionError(f"routes: mode is {shown(mode)}; write serial or parallel")
    made: dict[str, Any] = {"action": "route", "routes": [_route(one, at) for at, one in enumerate(listed)]}
    if mode != MODES[0]:
        made["mode"] = mode
    if max_duration is not None:
        made["max_duration"] = _whole(max_duration, MAX_DURATION)
    return {**made, **more}


def _route(one: object, at: int) -> dict[str, Any]:
    found = {"uri": one} if isinstance(one, str) else one
    try:
        if not isinstance(found, Mapping) or "uri" not in found:
            raise DecisionError(f"{shown(one)} is no URI, and no map that has one as uri")
        for key in found:
            if key not in _CHECKS:
                near = get_close_matches(str(key), _CHECKS, 1)
                raise DecisionError(f"unknown key {shown(key)}" + (f": {near[0]} is meant?" if near else ""))
        return {key: _CHECKS[key](value) for key, value in found.items()}
    except DecisionError as error:
        raise DecisionError(f"routes[{at}]: {error}") from None


def _uri(uri: object) -> str:
    checked = checked_uri(uri)
    if not _SIP_URI.fullmatch(checked):
        raise DecisionError(f"{shown(uri)} is no SIP URI that Kamailio can send a call to: tel has no host")
    return checked


def _whole(number: object, most: int) -> int:
    if type(number) is not int or not 1 <= number <= most:
        raise DecisionError(f"{shown(number)} is no whole number from 1 to {most}")
    return number


def _timeout(milliseconds: object) -> int:
    return _whole(milliseconds, MAX_TIMEOUT)


def _caller(caller: object) -> str:
    if not isinstance(caller, str) or len(caller) > MAX_CALLER or not _CALLER.fullmatch(caller):
        raise DecisionError(f"{shown(caller)} is no caller: a number such as +442079460000, or a SIP URI")
    return caller


def _reroute_on(entries: object) -> list[int | str]:
    if isinstance(entries, str) or not isinstance(entries, Sequence) or len(entries) > MAX_REROUTE:
        raise DecisionError(f"reroute_on is {shown(entries)}: a list of at most {MAX_REROUTE} is needed")
    for one in entries:
        if type(one) not in (int, str) or not _REROUTE.fullmatch(str(one)):
            raise DecisionError(
                f"reroute_on: {shown(one)} is no code such as 503, and no class such as '5xx'"
            )
    return list(entries)


_CHECKS: Final[Mapping[str, Callable[[object], Any]]] = {
    "uri": _uri,
    "timeout_ms": _timeout,
    "reroute_on": _reroute_on,
    "headers": checked_headers,
    "caller": _caller,
}
